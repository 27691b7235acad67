"""Texts in files that the standard library reads: lines, columns or fields, plain or compressed.

Whatever is wrong with a file is a DataError of one sentence that names the file and the line, counted from 1.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain, groupby
from typing import IO, Final, Protocol

from mezzotint.data.records import Located, Origin, fields, is_blank
from mezzotint.types import Layout

Stream = AbstractContextManager[Iterable[bytes]]
_SPACE: Final = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class File(Origin):
    """An open file of text."""

    stream: Iterable[bytes] = ()

    def lines(self) -> Iterator[str]:
        """The lines with their ends, split at newlines only; a byte-order mark is dropped."""
        number = 0
        try:
            for number, data in enumerate(self.stream, 1):
                yield self._decoded(number, data)
        except (EOFError, lzma.LZMAError, zlib.error, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk's fault; without a number it is gzip or bz2 complaining about the data
            raise self.error(number + 1, "the compressed file is truncated or damaged here; fetch it again") from None

    def _decoded(self, number: int, data: bytes) -> str:
        try:
            return data.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            what = f"byte {error.start + 1} of the line (0x{error.object[error.start]:02x}) is not UTF-8"
            raise self.error(number, f"{what}; save the file as UTF-8") from None


class _Reader(Protocol):
    """What `csv.reader` returns."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


def lines_of_text(file: File, field: str | None, layout: Layout) -> Iterator[Located]:
    """A text a line, or with Layout.WINDOWS the lines between blank ones joined."""
    lines = ((n, line.removesuffix("\n").removesuffix("\r")) for n, line in enumerate(file.lines(), 1))
    if layout is Layout.TEXTS:
        yield from lines
        return
    for blank, group in groupby(lines, lambda line: is_blank(line[1])):
        if not blank:
            numbers, document = zip(*group, strict=True)
            yield numbers[0], "\n".join(document)


def _csv(file: File) -> Iterator[tuple[int, object]]:
    """Between semicolons too, as spreadsheets write it where the comma is the decimal sign."""
    lines = file.lines()
    header = next(lines, "")
    delimiter = ";" if ";" in header and "," not in header else ","
    return _rows(file, csv.reader(chain([header], lines), delimiter=delimiter, strict=True))


def _tsv(file: File) -> Iterator[tuple[int, object]]:
    """Without quoting, as the format's registration has it: a quotation mark is a character like any other."""
    return _rows(file, csv.reader(file.lines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def _json(file: File) -> Iterator[tuple[int, object]]:
    return _elements(file, "".join(file.lines()))


def _rows(file: File, reader: _Reader) -> Iterator[tuple[int, object]]:
    """(line, record) of a table with a header."""
    header: list[str] = []
    for line, row in _cells(file, reader):
        if not header:
            header = row
            if len(set(row)) < len(row):
                raise file.error(line, "two columns have the same name; give each its own")
        elif len(row) != len(header):
            counts = f"{len(header)} in the header, {len(row)} in this record"
            raise file.error(line, f"the numbers of fields differ, {counts}; quote fields that hold a comma")
        else:
            yield line, dict(zip(header, row, strict=True))


def _cells(file: File, reader: _Reader) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of the rows that are not blank; the line is the one where the row begins."""
    usual = csv.field_size_limit(2**31 - 1)  # documents may be longer than the module's 128 KiB
    line = 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error:
        raise file.error(line, "the quotation marks or line ends of the record that begins here do not match") from None
    finally:
        csv.field_size_limit(usual)


def _values(file: File) -> Iterator[tuple[int, object]]:
    """(line, value) of a file with a JSON value a line."""
    for number, line in enumerate(file.lines(), 1):
        if not is_blank(line):
            with _blaming(file, number, number):
                value = json.loads(line.rstrip())  # or what is missing would be missed on the next line
            yield number, value


def _elements(file: File, text: str) -> Iterator[tuple[int, object]]:
    """(line, value) of the elements of one JSON list."""
    scan = json.JSONDecoder().raw_decode
    place = _past_space(text, 0)
    line, counted, mark = 1 + text.count("\n", 0, place), place, text[place : place + 1]
    if mark != "[":
        raise file.error(line, "a .json file must be one list, [ … ]; if it has a value a line, call it .jsonl")
    place = _past_space(text, place + 1)
    mark = text[place] if text[place : place + 1] == "]" else ","
    while mark == ",":
        line, counted = line + text.count("\n", counted, place), place
        with _blaming(file, 1, line):
            value, place = scan(text, place)
        yield line, value
        place = _past_space(text, place)
        mark = text[place : place + 1]
        place = _past_space(text, place + 1) if mark == "," else place
    if mark != "]" or _past_space(text, place + 1) < len(text):
        line += text.count("\n", counted, place)
        raise file.error(line, "not JSON: a comma is missing, or the list does not end where the file ends")


@contextmanager
def _blaming(file: File, first: int, line: int) -> Iterator[None]:
    """Name the line of a JSON error; the text being parsed begins on line `first`, the value on `line`."""
    try:
        yield
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:]
        raise file.error(first + error.lineno - 1, f"not JSON: {what} at column {error.colno}") from None
    except (RecursionError, ValueError):
        raise file.error(line, "this value nests too deeply or holds too long a number to be read") from None


def _past_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _form(records: Records) -> Form:
    return lambda file, field, layout: fields(file, records(file), field)


Form = Callable[[File, "str | None", Layout], Iterator[Located]]
Records = Callable[[File], Iterator[tuple[int, object]]]
RECORDS: Final[Mapping[str, Records]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _values,
    ".ndjson": _values,
    ".json": _json,
}
"""(line, record) of files that have records."""
FORMS: Final[Mapping[str, Form]] = {
    ".txt": lines_of_text,
    **{suffix: _form(records) for suffix, records in RECORDS.items()},
}
PACKED: Final[Mapping[str, Callable[[IO[bytes]], Stream]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
