"""Texts with what is known of them: fields, a part of speech for each word, phrases."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mezzotint.data import bistro
from mezzotint.data.corpus import check
from mezzotint.data.labels import records_of
from mezzotint.data.records import is_blank, listed
from mezzotint.data.textfiles import File
from mezzotint.data.trees import read_tree
from mezzotint.errors import DataError, UsageError
from mezzotint.spec.wanted import Span

SPECIAL = ("fields", "tags", "tree", "spans")
"""Fields of a record that are annotation of a kind of their own."""


@dataclass(frozen=True)
class Annotated:
    """A text, and what is said of it; None where nothing is said."""

    text: str
    fields: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] | None = None
    spans: tuple[Span, ...] | None = None


def bistro_annotated(split: str, n: int) -> list[Annotated]:
    """The gold analyses of the bundled corpus."""
    return [
        Annotated(one.text, {k: v for k, v in asdict(one.fields).items() if v is not None}, one.tags, one.spans)
        for one in bistro.corpus(split, n)
    ]


def read_annotated(data: Sequence[Path | str], name: str | None = None) -> list[Annotated]:
    """The records of some files. The field `name` (by default "text") is the text; `tags` is a list of parts of speech
    or a line of them, `tree` a tree in brackets, `spans` a list of [first word, word after the last, label], `fields`
    an object; every other field that is text is one more of the fields. DataError names file and line.
    """
    check(data)
    found = [one for path in map(Path, data) for one in _read(path, name or "text")]
    if not any(one.fields or one.tags or one.spans is not None for one in found):
        raise DataError(f"{data[0]} says nothing of its texts; a record has fields, tags, a tree or spans beside them")
    return found


def _read(path: Path, name: str) -> Iterator[Annotated]:
    for file, line, record in records_of(path, "annotation"):
        if not isinstance(record, dict) or not isinstance(record.get(name), str):
            has = listed(record) if isinstance(record, dict) else "none"
            named = f"there is no field '{name}' with a text in it; name one with --field"
            raise file.error(line, f"{named}: the record has {has}")
        if not is_blank(record[name]):
            yield _annotated(file, line, record, name)


def _annotated(file: File, line: int, record: Mapping[str, Any], name: str) -> Annotated:
    tags, spans, more = _parsed(record.get("tags")), _parsed(record.get("spans")), _parsed(record.get("fields"))
    tags = tags.split() if isinstance(tags, str) else tags
    if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
        raise file.error(line, "'tags' must be a list of parts of speech, or a line of them")
    if more is not None and not isinstance(more, dict):
        raise file.error(line, "'fields' must be an object")
    if spans is not None and not (isinstance(spans, list) and all(_is_span(span) for span in spans)):
        raise file.error(line, "'spans' must be a list of [first word, word after the last, label]")
    if isinstance(record.get("tree"), str):
        try:
            spans = list(_whole_tree(record["tree"]))
        except UsageError as error:
            raise file.error(line, str(error)) from None
    said = {k: v for k, v in record.items() if k not in (*SPECIAL, name) and isinstance(v, str) and v}
    said |= {str(k): str(v) for k, v in (more or {}).items() if v not in (None, "")}
    return Annotated(
        file.checked(line, record[name]), said, None if tags is None else tuple(tags),
        None if spans is None else tuple((int(a), int(b), str(label)) for a, b, label in spans),
    )  # fmt: skip


def _whole_tree(text: str) -> tuple[Span, ...]:
    """The phrases of a tree; where every word has a bracket of its own, those are parts of speech, whatever they are
    called."""
    own = re.findall(r"\(\s*([^\s()]+)\s+[^\s()]+\s*\)", text)
    tree = read_tree(text)
    return read_tree(text, frozenset(own)).spans if len(own) == tree.words else tree.spans


def _parsed(value: Any) -> Any:
    """JSON in a column of a table, as it would stand in a line of JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return value


def _is_span(value: Any) -> bool:
    whole = isinstance(value, list | tuple) and len(value) == 3
    return whole and type(value[0]) is int and type(value[1]) is int and 0 <= value[0] < value[1]
