"""Where a system differs from its paper: the comments of its source that say so."""

from __future__ import annotations

import re
from functools import cache

from pages.source import SOURCE, imports, passages, path_of

HEAD = """# Departures

Where the code differs from the papers that it cites, or from what their authors published with them, as the source
marks it. What is none of these is as published, or our own and said to be.

"""
MARK = "Departure:"
PARTS = ("space", "process", "net", "objective", "sampler", "guidance", "distill", "spec", "recipes", "systems")
"""The packages that a system is made of."""


def departures(module: str, name: str) -> str:
    """Those of a system's own files, then those of the parts that it imports, by file."""
    own = [f"mezzotint.{package}.{module.rpartition('.')[2]}" for package in ("systems", "spec", "recipes")]
    parts = [part for part in reached(module) if part not in own]
    groups = {"In the system itself:": own, "In the parts that it is made of, which others may share:": parts}
    out = []
    for title, modules in groups.items():
        found = [line for one in modules for line in _lines(one)]
        out += [title, "\n".join(found)] if found else []
    return "\n\n".join(out) or f"None is marked in the source of `{name}`."


def departures_page() -> str:
    """The whole of docs/departures.md: all that the source marks, by file."""
    paths = sorted((SOURCE / "mezzotint").rglob("*.py"))
    names = [".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in paths]
    return HEAD + "\n".join(line for name in names for line in _lines(name)) + "\n"


def reached(module: str) -> list[str]:
    """The modules among the parts that a module imports, directly or through others, in order of their names."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for other in imports(waiting.pop()):
            if other not in seen and other.split(".")[1] in PARTS:
                seen.add(other)
                waiting.append(other)
    return sorted(seen)


@cache
def of_file(module: str) -> list[str]:
    """What a file says after the mark, a sentence or two each."""
    path = path_of(module)
    if path is None:
        return []
    found = []
    for passage in passages(path):
        for paragraph in re.split(r"\n\s*\n", passage):
            found += [" ".join(said.split()) for said in paragraph.split(MARK)[1:]]
    return found


def _lines(module: str) -> list[str]:
    path = path_of(module)
    place = path.relative_to(SOURCE).as_posix() if path else module
    return [f"- `{place}`: {said}" for said in of_file(module)]
