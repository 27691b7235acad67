"""Pairs of texts, a source and what is written from it, out of records and out of two parallel files.

Records name the fields of both sides. Two .txt files without field names are parallel: line n of the first is the
source of line n of the second. A pair with a blank side teaches nothing and is left out, which is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mezzotint import hub
from mezzotint.data.corpus import Corpus, Source, check, digest, enough, gathered, is_plain, names, withheld
from mezzotint.data.records import is_blank, lines_of
from mezzotint.errors import DataError, UsageError
from mezzotint.types import Layout

Both = tuple[list[str], list[str]]
"""Sources and texts, side by side."""


@dataclass(frozen=True)
class Columns:
    """The names of the fields of both sides; None in files that have no fields."""

    source: str | None = None
    target: str | None = None


def check_columns(data: Sequence[Path | str], columns: Columns) -> None:
    """UsageError unless it is clear which texts of `data` stand side by side. Nothing is read."""
    named = columns.source is not None, columns.target is not None
    if not all(is_plain(path) for path in data):
        if not all(named):
            missing = "--source" if not named[0] else "--target"
            raise UsageError(f"which field a text is written from, and which is the text, is not clear; name {missing}")
        if columns.source == columns.target:
            raise UsageError(f"--source and --target are both '{columns.source}'; a text is not written from itself")
        return
    if any(named):
        raise UsageError(f"{names(data)}: a .txt file has no fields; leave --source and --target out")
    if len(data) != 2:
        raise UsageError(f"{names(data)}: pairs in .txt files are two files with as many lines, sources first")


def load_pairs(data: Sequence[Path | str], valid: Sequence[Path | str] | None, columns: Columns) -> Corpus:
    """The pairs of some files; without `valid`, 5 % are held out by the hash of the source, so no source is in both.

    DataError for whatever cannot be read, for fewer than 20 pairs and where there are not two different sources.
    """
    (sources, texts), files, notes = read_pairs(data, columns)
    enough(texts, data)
    if valid:
        (held_sources, held), valid_files, more = read_pairs(valid, columns)
        return Corpus(texts, held, files, valid_files, sources, held_sources, notes + more)
    if len(set(sources)) < 2:
        raise DataError(f"{names(data)}: all pairs have one source; at least 2 are needed so that one can be held out")
    out = withheld(sources)
    kept = [i for i, source in enumerate(sources) if source not in out]
    rest = [i for i, source in enumerate(sources) if source in out]
    sides = [[side[i] for i in rows] for rows in (kept, rest) for side in (texts, sources)]
    return Corpus(sides[0], sides[2], files, (), sides[1], sides[3], notes)


def read_pairs(data: Sequence[Path | str], columns: Columns) -> tuple[Both, tuple[Source, ...], tuple[str, ...]]:
    """Sources and texts of some files in order, where they came from, and a sentence on what was left out."""
    check(data)
    check_columns(data, columns)
    if all(is_plain(path) for path in data):
        sides = [gathered(path, None, Layout.TEXTS, lines_of) for path in data]
        both, files = _aligned(data, *(lines for lines, _ in sides)), tuple(file for _, file in sides)
    else:
        found = [_of_records(path, columns) for path in data]
        both, files = [pair for pairs, _ in found for pair in pairs], tuple(file for _, file in found)
    whole = [pair for pair in both if not (is_blank(pair[0]) or is_blank(pair[1]))]
    if not whole:
        raise DataError(f"{names(data)}: there is no pair with text on both sides; at least one is needed")
    blank = len(both) - len(whole)
    notes = (f"{blank:,} of {len(both):,} pairs of {names(data)} have a blank side and were left out",) if blank else ()
    return ([source for source, _ in whole], [text for _, text in whole]), files, notes


def _of_records(path: Path | str, columns: Columns) -> tuple[list[tuple[str, str]], Source]:
    sources, _ = gathered(path, columns.source, Layout.TEXTS, lines_of)
    texts, file = gathered(path, columns.target, Layout.TEXTS, lines_of)
    if str(path).startswith(hub.SET):
        file = replace(file, sha256=digest(text for _, text in [*sources, *texts]))
    return [(source, text) for (_, source), (_, text) in zip(sources, texts, strict=True)], file


def _aligned(
    data: Sequence[Path | str], sources: list[tuple[int, str]], texts: list[tuple[int, str]]
) -> list[tuple[str, str]]:
    if len(sources) != len(texts):
        counts = f"{data[0]} has {len(sources):,} lines and {data[1]} {len(texts):,}"
        raise DataError(f"{counts}; line n of the first is the source of line n of the second")
    return [(source, text) for (_, source), (_, text) in zip(sources, texts, strict=True)]
