"""The reference of the library: one entry for each name that `mezzotint` exports, written out by mkdocstrings."""

from __future__ import annotations

import mezzotint

HEAD = """# Library

What `import mezzotint` offers; nothing else is a promise. Each name is loaded when it is first used.

"""
TITLES = {
    "drafts": "A trained run",
    "run": "A trained run",
    "launch": "Making runs",
    "tasks": "What is asked for",
    "spec.wanted": "What a text is to be like",
    "translation.write": "From a source",
    "assess.cost": "Scores",
    "assess.scores": "Scores",
    "assess.showcase": "Scores",
    "held_out": "Scores",
    "evaluate.table": "Scores",
    "film.reel": "Films",
    "types": "Records",
    "errors": "Errors",
    "systems": "Systems",
}
"""What a module's exports are about; those of other modules serve the command and the server."""


def library_page() -> str:
    """The whole of docs/library.md."""
    groups: dict[str, list[str]] = {title: [] for title in [*TITLES.values(), "For surfaces of one's own"]}
    for name in mezzotint.__all__:
        home = mezzotint._HOME[name]  # read, so that nothing has to be loaded
        groups[TITLES.get(home, "For surfaces of one's own")].append(f"mezzotint.{home}.{name}")
    parts = [_section(title, paths) for title, paths in groups.items() if paths]
    return HEAD + "\n".join(parts)


def _section(title: str, paths: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"::: {path}\n" for path in paths)
