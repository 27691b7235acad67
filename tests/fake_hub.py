"""A hub in the test process: the few routes that fetching and pushing use, over real HTTP."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote

import pytest


@dataclass
class Repo:
    """A repository: the files of each of its commits, the last one being `main`."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: bool = False

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: dict[str, bytes]) -> str:
        """Add or replace files; returns the commit's name."""
        before = self.commits[self.head] if self.commits else {}
        name = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[name] = before | files
        return name


@dataclass
class Hub:
    """What the server holds: repositories by kind and name, such as "models/jane/reviews", and what it was asked."""

    repos: dict[str, Repo] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    status: int = 0
    """Where it is not 0, the answer to everything."""

    @property
    def broken(self) -> bool:
        return self.status == 503

    @broken.setter
    def broken(self, is_broken: bool) -> None:
        self.status = 503 if is_broken else 0

    def repo(self, name: str, files: dict[str, bytes]) -> Repo:
        self.repos[name] = Repo()
        self.repos[name].commit(files)
        return self.repos[name]


class _Routes(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._route()

    def do_HEAD(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def log_message(self, format: str, *args: object) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")

    def _route(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
        if self.hub.status:
            self._answer(self.hub.status, b"{}")
        elif parts[:3] == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts[0] == "api" and parts[1] == "validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif parts[0] == "api" and parts[1] in ("models", "datasets") and len(parts) >= 3:
            named = 3 if "/".join(parts[1:3]) in self.hub.repos else 4
            self._api("/".join(parts[1:named]), parts[named:], body)
        elif "resolve" in parts:
            place = parts.index("resolve")
            kind = "" if parts[0] == "datasets" else "models/"
            self._file(kind + "/".join(parts[:place]), parts[place + 1], "/".join(parts[place + 2 :]))
        else:
            self._answer(404, b"{}")

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization', 'jane')}/{asked['name']}"
        self.hub.created.append(asked)
        if f"models/{name}" in self.hub.repos:
            self._answer(409, json.dumps({"url": f"{self.hub.url}/{name}"}).encode())
            return
        self.hub.repos[f"models/{name}"] = Repo(
            {"0" * 40: {}}, asked.get("visibility") == "private" or bool(asked.get("private"))
        )
        self._json({"url": f"{self.hub.url}/{name}"})

    def _api(self, name: str, rest: list[str], body: bytes) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            self._missing("RepoNotFound")
            return
        what = rest[0] if rest else "revision"
        revision = rest[1] if len(rest) > 1 else "main"
        commit = repo.head if revision == "main" else revision
        if commit not in repo.commits:
            self._missing("RevisionNotFound")
        elif what == "revision":
            names = [{"rfilename": path} for path in repo.commits[commit]]
            self._json({"id": name.partition("/")[2], "sha": commit, "siblings": names, "private": repo.private})
        elif what == "tree":
            self._tree(repo.commits[commit], "/".join(rest[2:]), "recursive=true" in self.path.lower())
        elif what == "paths-info":
            asked = parse_qs(body.decode())["paths"]
            self._json([self._entry(p, d) for p, d in repo.commits[commit].items() if p in asked])
        elif what == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            self._json({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
        elif what == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            made = repo.commit({file["path"]: base64.b64decode(file["content"]) for file in files})
            self._json({"commitOid": made, "commitUrl": f"{self.hub.url}/{name.partition('/')[2]}/commit/{made}"})
        else:
            self._answer(404, b"{}")

    def _tree(self, files: dict[str, bytes], folder: str, deep: bool) -> None:
        below = {path: data for path, data in files.items() if path.startswith(folder and f"{folder}/")}
        depth = len(folder.split("/")) if folder else 0
        parents = ("/".join(path.split("/")[: i + 1]) for path in below for i in range(depth, path.count("/")))
        found = [{"type": "directory", "path": path, "oid": "0"} for path in dict.fromkeys(parents)]
        found += [self._entry(path, data) for path, data in below.items()]
        if folder and not found:
            self._missing("EntryNotFound")
        else:
            self._json([entry for entry in found if deep or str(entry["path"]).count("/") == depth])

    def _entry(self, path: str, data: bytes) -> dict[str, Any]:
        return {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}

    def _file(self, name: str, revision: str, path: str) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            self._missing("RepoNotFound")
            return
        commit = repo.head if revision == "main" else revision
        data = repo.commits.get(commit, {}).get(path)
        if data is None:
            self._missing("EntryNotFound")
            return
        first, last = 0, len(data) - 1
        if ranged := self.headers.get("Range"):
            begin, _, end = ranged.removeprefix("bytes=").partition("-")
            first, last = int(begin), min(int(end or last), last)
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if ranged:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self._answer(206 if ranged else 200, data[first : last + 1], headers)

    def _missing(self, what: str) -> None:
        self._answer(404, b"{}", {"X-Error-Code": what})

    def _json(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def reach(hub: Hub, patch: pytest.MonkeyPatch, cache: Path) -> None:
    """Let the libraries ask this hub, with an empty cache: they read the environment when they are loaded, long ago."""
    from huggingface_hub import constants

    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", hub.url)
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    patch.setenv("HF_TOKEN", "hf_not_to_be_told")


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    hub = Hub()
    routes = type("Routes", (_Routes,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), routes)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
