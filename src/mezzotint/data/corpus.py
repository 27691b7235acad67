"""Texts from files: lines, columns or fields, plain or compressed, with the standard library only.

Texts come back as they stand in the file, without any normalisation. Whatever is wrong with a file is a DataError of
one sentence that names the file and the line, counted from 1.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, Final, Protocol

from mezzotint.errors import DataError, UsageError
from mezzotint.types import Layout

_FEWEST: Final = 20
"""Fewer lines or records than this are taken for a mistake."""
_HELD_OUT: Final = 0.05


@dataclass(frozen=True)
class Source:
    """A file that texts came from."""

    path: str
    sha256: str
    """Of the file as it lies there, compressed if it is."""
    texts: int


@dataclass(frozen=True)
class Corpus:
    """Texts to learn from, texts held out from them, and where both came from."""

    train: list[str]
    valid: list[str]
    sources: tuple[Source, ...]
    valid_sources: tuple[Source, ...]
    """Empty where `valid` was held out from `sources`."""


def load_corpus(
    data: Sequence[Path | str],
    valid: Sequence[Path | str] | None = None,
    field: str | None = None,
    layout: Layout = Layout.TEXTS,
) -> Corpus:
    """The texts of some files; without `valid`, 5 % of them are held out by hash, so equal texts stay together.

    DataError for whatever `read` refuses, for fewer than 20 texts where a text is a line or record, and where there
    are not two different texts to divide.
    """
    texts, sources = read(data, field, layout)
    if layout is Layout.TEXTS and len(texts) < _FEWEST:
        raise DataError(f"{_names(data)}: {len(texts)} texts are too few to learn from; at least {_FEWEST} are needed")
    if valid:
        held_out, valid_sources = read(valid, field, layout)
        return Corpus(texts, held_out, sources, valid_sources)
    if len(set(texts)) < 2:
        unit = "texts" if layout is Layout.TEXTS else "documents, parted by blank lines,"
        needed = f"at least 2 different {unit} are needed so that one can be held out"
        raise DataError(f"{_names(data)}: {needed}, and there is 1; add more or name a file with --valid")
    held = _held_out(texts)
    return Corpus([t for t in texts if t not in held], [t for t in texts if t in held], sources, ())


def check(paths: Sequence[Path | str]) -> None:
    """DataError or UsageError unless every path is a file of a known kind; nothing is read."""
    for path in paths:
        _refuse_others_than_files(Path(path))
        _form(Path(path))


def read(paths: Sequence[Path | str], field: str | None, layout: Layout) -> tuple[list[str], tuple[Source, ...]]:
    """The texts of some files in order, and the files.

    A text is a non-blank line of a `.txt` file or a record's field elsewhere; with Layout.WINDOWS a `.txt` file is cut
    at blank lines instead, and its lines stay joined. Without `field`: the field "text", else the only one with text.
    """
    check(paths)
    forms = [_form(Path(path)) for path in paths]
    if field is not None and all(form is _lines_of_text for form in forms):
        raise UsageError(f"{_names(paths)}: a .txt file has no field '{field}'; leave --field out")
    files = [_read_file(Path(path), form, field, layout) for path, form in zip(paths, forms, strict=True)]
    return [text for texts, _ in files for text in texts], tuple(source for _, source in files)


# ---- one file --------------------------------------------------------------------------------------------------------


Located = tuple[int, str]
"""The line a text begins on, and the text."""
_Stream = AbstractContextManager[Iterable[bytes]]
_Form = Callable[["_File", "str | None", Layout], Iterator[Located]]


class _Reader(Protocol):
    """What `csv.reader` returns."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...


@dataclass(frozen=True)
class _File:
    """An open file that knows how to blame a line."""

    path: Path
    stream: Iterable[bytes]

    def error(self, line: int, what: str) -> DataError:
        return DataError(f"{self.path}:{line}: {what}")

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

    def checked(self, line: int, text: str) -> str:
        """The text, refused if it holds half a surrogate pair, which JSON can spell."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.error(line, "the text holds half a surrogate pair, which is no character; take it out") from None
        return text


def _read_file(path: Path, form: _Form, field: str | None, layout: Layout) -> tuple[list[str], Source]:
    try:
        with open(path, "rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
            if not raw.tell():
                raise DataError(f"{path} is empty; at least one text is needed")
            raw.seek(0)
            with _decompressed(path, raw) as stream:
                file = _File(path, stream)
                texts = [file.checked(line, text) for line, text in form(file, field, layout) if not _blank(text)]
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    if not texts:
        raise DataError(f"{path} has no text in it, only white space or no records; at least one text is needed")
    return texts, Source(str(path), digest, len(texts))


def _refuse_others_than_files(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder; name the files in it")
    if not path.exists():
        raise DataError(f"{path} does not exist; check the spelling of its name")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file; save its text to one first")


def _lines_of_text(file: _File, field: str | None, layout: Layout) -> Iterator[Located]:
    lines = ((n, line.removesuffix("\n").removesuffix("\r")) for n, line in enumerate(file.lines(), 1))
    if layout is Layout.TEXTS:
        yield from lines
        return
    for blank, group in groupby(lines, lambda line: _blank(line[1])):
        if not blank:
            numbers, document = zip(*group, strict=True)
            yield numbers[0], "\n".join(document)


def _fields_of_csv(file: _File, field: str | None, layout: Layout) -> Iterator[Located]:
    return _fields(file, _rows(file, csv.reader(file.lines(), strict=True)), field)


def _fields_of_tsv(file: _File, field: str | None, layout: Layout) -> Iterator[Located]:
    """Without quoting, as the format's registration has it: a quotation mark is a character like any other."""
    return _fields(file, _rows(file, csv.reader(file.lines(), delimiter="\t", quoting=csv.QUOTE_NONE)), field)


def _fields_of_json_lines(file: _File, field: str | None, layout: Layout) -> Iterator[Located]:
    return _fields(file, _values(file), field)


def _fields_of_json(file: _File, field: str | None, layout: Layout) -> Iterator[Located]:
    return _fields(file, _elements(file, "".join(file.lines())), field)


def _rows(file: _File, reader: _Reader) -> Iterator[tuple[int, object]]:
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


def _cells(file: _File, reader: _Reader) -> Iterator[tuple[int, list[str]]]:
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


def _values(file: _File) -> Iterator[tuple[int, object]]:
    """(line, value) of a file with a JSON value a line."""
    for number, line in enumerate(file.lines(), 1):
        if not _blank(line):
            with _blaming(file, number, number):
                value = json.loads(line.rstrip())  # or what is missing would be missed on the next line
            yield number, value


def _elements(file: _File, text: str) -> Iterator[tuple[int, object]]:
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
def _blaming(file: _File, first: int, line: int) -> Iterator[None]:
    """Name the line of a JSON error; the text being parsed begins on line `first`, the value on `line`."""
    try:
        yield
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:]
        raise file.error(first + error.lineno - 1, f"not JSON: {what} at column {error.colno}") from None
    except (RecursionError, ValueError):
        raise file.error(line, "this value nests too deeply or holds too long a number to be read") from None


def _fields(file: _File, records: Iterator[tuple[int, object]], field: str | None) -> Iterator[Located]:
    """The texts of some records; a record that is itself a text is taken as it is."""
    for line, record in records:
        if isinstance(record, str) and field is None:
            yield line, record
            continue
        if not isinstance(record, dict):
            raise file.error(line, f"{_kind(record)} stands where an object with {_wanted(field)} is expected")
        field = field if field is not None else _only_text_field(file, line, record)
        if field not in record:
            raise file.error(line, f"there is no field '{field}'; the record has {_listed(record)}")
        value = record[field]
        if not isinstance(value, str):
            raise file.error(line, f"the field '{field}' is {_kind(value)}, not a text")
        yield line, value


def _only_text_field(file: _File, line: int, record: Mapping[str, object]) -> str:
    """The field "text", else the only one that holds text; numbers written as text count only if nothing else does."""
    texts = [name for name, value in record.items() if isinstance(value, str)]
    worded = [name for name in texts if not _NUMBER.fullmatch(str(record[name]))]
    for names in ([name for name in texts if name == "text"], texts, worded):
        if len(names) == 1:
            return names[0]
    raise file.error(line, f"which field is the text is not clear; name one with --field: {_listed(texts or record)}")


# ---- small facts -----------------------------------------------------------------------------------------------------

_FORMS: Final[Mapping[str, _Form]] = {
    ".txt": _lines_of_text,
    ".csv": _fields_of_csv,
    ".tsv": _fields_of_tsv,
    ".jsonl": _fields_of_json_lines,
    ".ndjson": _fields_of_json_lines,
    ".json": _fields_of_json,
}
_PACKED: Final[Mapping[str, Callable[[IO[bytes]], _Stream]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_NUMBER: Final = re.compile(r"\s*[-+]?[0-9.,]*([eE][-+]?[0-9]+)?\s*")
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def _form(path: Path) -> _Form:
    name = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    if name.suffix.lower() not in _FORMS:
        kinds = f"{' '.join(_FORMS)}, each also with {' '.join(_PACKED)}"
        raise UsageError(f"{path} is of a kind that cannot be read; known: {kinds}")
    return _FORMS[name.suffix.lower()]


def _decompressed(path: Path, raw: IO[bytes]) -> _Stream:
    opener = _PACKED.get(path.suffix.lower())
    return raw if opener is None else opener(raw)


def _held_out(texts: Iterable[str]) -> frozenset[str]:
    """The texts whose hash falls below 5 %: at least one, and not all of them."""
    place = {text: int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) for text in texts}
    held = {text for text, hashed in place.items() if hashed < _HELD_OUT * 2**64} or {min(place, key=place.__getitem__)}
    return frozenset(held if len(held) < len(place) else held - {max(place, key=place.__getitem__)})


def _blank(text: str) -> bool:
    return not text or text.isspace()


def _past_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _kind(value: object) -> str:
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        str: "a text",
    }
    return kinds.get(type(value), "null")


def _wanted(field: str | None) -> str:
    return "fields" if field is None else f"the field '{field}'"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _names(paths: Sequence[Path | str]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
