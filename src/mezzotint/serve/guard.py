"""What every request passes: the key, where it comes from, how large it is; and the headers of every answer."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mezzotint.serve.refusals import Refusal, answer
from mezzotint.serve.settings import Access, Limits, is_loopback

OPEN = ("/", "/page.css", "/page.js", "/healthz")
"""What needs no key: the page, which asks for one, and a sign of life."""

HEADERS: Mapping[bytes, bytes] = {
    b"content-security-policy": b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    b"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
    b"cache-control": b"no-store",
}


class Guard:
    """Around the whole server."""

    def __init__(self, app: ASGIApp, access: Access, limits: Limits, answers: Counter[tuple[str, int]]) -> None:
        self.app = app
        self.access = access
        self.limits = limits
        self.answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message["headers"], *HEADERS.items()]}
                self.answers[_path(scope), message["status"]] += 1
            await send(message)

        scope["arrived"] = time.monotonic()
        try:
            self._admit(_headers(scope), scope["path"])
            if scope["method"] == "POST":
                receive = _replay(await self._body(receive), receive)
                # What is posted is JSON, whatever it is called: curl's -d calls it a form.
                kept = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
                scope["headers"] = [*kept, (b"content-type", b"application/json")]
        except Refusal as refusal:
            await answer(refusal)(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _admit(self, headers: Mapping[str, str], path: str) -> None:
        """Refusal of who has no key, and of pages of other sites, which a browser here may have open."""
        host = _hostname(f"//{headers.get('host', '')}")
        if self.access.is_local and self.access.key is None and not is_loopback(host or ""):
            raise Refusal(403, "this server answers to localhost only", "wrong_host")
        origin = headers.get("origin")
        if origin is not None and origin.partition("//")[2].lower() != headers.get("host", "").lower():
            raise Refusal(403, "pages of other sites may not ask this server", "wrong_origin")
        if self.access.key is None or path in OPEN:
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(key.strip().encode("latin-1"), self.access.key.encode("latin-1"))
        if scheme.lower() != "bearer" or not same:
            raise Refusal(401, "this server asks for its key, as in `Authorization: Bearer KEY`", "invalid_api_key")

    async def _body(self, receive: Receive) -> bytes:
        body, more, ends = bytearray(), True, time.monotonic() + self.limits.seconds
        while more:
            try:
                message = await asyncio.wait_for(receive(), max(0, ends - time.monotonic()))
            except TimeoutError:
                raise Refusal(408, f"the request was not there after {self.limits.seconds:g} seconds") from None
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
            if len(body) > self.limits.body_bytes:
                raise Refusal(413, f"a request has at most {self.limits.body_bytes} bytes here")
        return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body which has been read once more, then what comes after it."""
    left = [body]

    async def read() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return read


def _headers(scope: Scope) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _hostname(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def _path(scope: Scope) -> str:
    """The route's address, so that nobody can fill the metrics with made-up ones."""
    return str(getattr(scope.get("route"), "path", "other"))
