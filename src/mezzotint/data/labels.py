"""Texts with a label each, from files of records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mezzotint.data.corpus import check
from mezzotint.data.records import is_blank, listed, only_text_field
from mezzotint.data.textfiles import PACKED, RECORDS, File
from mezzotint.errors import DataError, UsageError


def read_labelled(data: Sequence[Path | str], label: str, field: str | None = None) -> list[tuple[str, str]]:
    """(text, label) of the records of some files whose text is not blank; a label that is no text is written as JSON.

    `label` and `field` name the fields; without `field` the text is "text", else the only other one that is a text.
    DataError or UsageError, naming file and line, for what is no such record, and for kinds of files without records.
    """
    check(data)
    return [pair for path in map(Path, data) for pair in _read(path, label, field)]


def _read(path: Path, label: str, field: str | None) -> Iterator[tuple[str, str]]:
    for file, line, record in records_of(path, "labels"):
        text, said = _pair(file, line, record, label, field)
        if not is_blank(text):
            yield text, said


def records_of(path: Path, what: str) -> Iterator[tuple[File, int, object]]:
    """The records of a file, each with the file and its line. UsageError where that kind of file has none, and so no
    `what`; DataError where it cannot be read."""
    packed = path.suffix.lower() in PACKED
    suffix = (path.with_suffix("") if packed else path).suffix.lower()
    if suffix not in RECORDS:
        raise UsageError(f"{path} has no {what} that can be read; known: {' '.join(RECORDS)}, also packed")
    try:
        with open(path, "rb") as raw:
            opener: Any = PACKED.get(path.suffix.lower())
            with raw if opener is None else opener(raw) as stream:
                file = File(str(path), stream=stream)
                for line, record in RECORDS[suffix](file):
                    yield file, line, record
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None


def _pair(file: File, line: int, record: object, label: str, field: str | None) -> tuple[str, str]:
    if not isinstance(record, dict) or label not in record:
        has = listed(record) if isinstance(record, dict) else "none"
        raise file.error(line, f"there is no field '{label}' that could be the label; the record has {has}")
    rest = {name: value for name, value in record.items() if name != label}
    name = field if field is not None else only_text_field(file, line, rest)
    text, said = record.get(name), record[label]
    if not isinstance(text, str):
        raise file.error(line, f"the field '{name}' is not a text")
    return file.checked(line, text), said if isinstance(said, str) else json.dumps(said)
