"""Blocks of a page that are made, between two comments."""

from __future__ import annotations

import re
from collections.abc import Mapping

from benchmarks.rows import ROOT

DOCS = ROOT / "docs"
_BLOCK = re.compile(r"(<!-- made: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str, made: Mapping[str, str]) -> str:
    """The page with its blocks as they are to be; KeyError for a block that nothing makes."""
    return _BLOCK.sub(lambda found: f"{found[1]}{made[found[2]].strip()}\n{found[3]}", page)


def blocks(page: str) -> list[str]:
    """The names of a page's blocks."""
    return [found[2] for found in _BLOCK.finditer(page)]


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
