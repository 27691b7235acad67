"""Whose work this stands on, and under which licences: read from the metadata of what is installed."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, metadata

from packaging.requirements import Requirement

from benchmarks.rows import ROOT
from pages.blocks import table

HEAD = """# Licences

Mezzotint is under the Apache License 2.0. What it needs to run is under the licences below, as the packages themselves
declare them (`python -m pages licences` reads them anew); what only tests and these pages need is not listed. A part of
the whole that is under the GPL, `mauve-text`, is not installed unless its extra is named, and not loaded unless
`evaluate --mauve` asks for it. The list for machines, with versions, is the SBOM that `make sbom` writes.

"""
LEFT_OUT = ("dev", "docs")
ABSENT = "(not installed where this was made)"


def licences_page() -> str:
    """The whole of docs/licences.md."""
    found: dict[str, set[str]] = {}
    for name, extra in _direct():
        for package in closure(name):
            found.setdefault(package, set()).add(extra)
    rows = [[package, _licence(package), _for(extras)] for package, extras in sorted(found.items())]
    return HEAD + table(["package", "licence", "for"], rows) + "\n"


def direct() -> list[str]:
    """The packages that pyproject.toml asks for."""
    return sorted({name for name, _ in _direct()})


def _direct() -> Iterator[tuple[str, str]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in asked.items():
        if extra not in LEFT_OUT:
            yield from ((_plain(Requirement(requirement).name), extra) for requirement in requirements)


def closure(name: str) -> set[str]:
    """A package and all that it needs here."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in seen or one.startswith(("nvidia-", "cuda-", "triton")):
            continue
        seen.add(one)
        try:
            needed = map(Requirement, distribution(one).requires or ())
        except PackageNotFoundError:
            continue
        waiting += [_plain(r.name) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return seen


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _for(extras: set[str]) -> str:
    return "all" if "" in extras else ", ".join(f"extra `{extra}`" for extra in sorted(extras))


def _licence(name: str) -> str:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return ABSENT
    kinds = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier") or () if c.startswith("License ::")]
    written = (told["License"] or "").strip().splitlines()
    short = written[0] if written and len(written[0]) < 60 else ""
    return told["License-Expression"] or ", ".join(k for k in kinds if k != "OSI Approved") or short or "see its files"
