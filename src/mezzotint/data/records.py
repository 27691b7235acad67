"""The texts in records, wherever they come from, and who is to blame where there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from mezzotint.errors import DataError

Located = tuple[int, str]
"""Where a text stands, counted from 1, and the text."""
_NUMBER: Final = re.compile(r"\s*[-+]?[0-9.,]*([eE][-+]?[0-9]+)?\s*")


@dataclass(frozen=True)
class Origin:
    """Something with a name that texts come from; it knows how to blame one of its lines or records."""

    name: str
    counts: str = ":"
    """What stands between the name and the number of a line or record."""

    def error(self, line: int, what: str) -> DataError:
        return DataError(f"{self.name}{self.counts}{line}: {what}")

    def checked(self, line: int, text: str) -> str:
        """The text, refused if it holds half a surrogate pair, which JSON can spell."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise self.error(line, "the text holds half a surrogate pair, which is no character; take it out") from None
        return text


T = TypeVar("T")
Gather = Callable[[Origin, Iterable[Located]], list[T]]
"""What is kept of the texts of an origin."""


def texts_of(origin: Origin, located: Iterable[Located]) -> list[str]:
    """Those of the texts that are not blank; DataError if none is left."""
    texts = [origin.checked(line, text) for line, text in located if not is_blank(text)]
    if not texts:
        raise DataError(f"{origin.name} has no text in it, only white space or no records; at least one text is needed")
    return texts


def lines_of(origin: Origin, located: Iterable[Located]) -> list[Located]:
    """All of the texts with their places, blank ones too: for what stands side by side."""
    return [(line, origin.checked(line, text)) for line, text in located]


def fields(origin: Origin, records: Iterator[tuple[int, object]], field: str | None) -> Iterator[Located]:
    """The texts of some records; a record that is itself a text is taken as it is."""
    for line, record in records:
        if isinstance(record, str) and field is None:
            yield line, record
            continue
        if not isinstance(record, dict):
            raise origin.error(line, f"{_kind(record)} stands where an object with {_wanted(field)} is expected")
        field = field if field is not None else only_text_field(origin, line, record)
        if field not in record:
            raise origin.error(line, f"there is no field '{field}'; the record has {listed(record)}")
        value = record[field]
        if not isinstance(value, str):
            raise origin.error(line, f"the field '{field}' is {_kind(value)}, not a text")
        yield line, value


def only_text_field(origin: Origin, line: int, record: Mapping[str, object]) -> str:
    """The field "text", else the only one that holds text; numbers written as text count only if nothing else does."""
    texts = [name for name, value in record.items() if isinstance(value, str)]
    worded = [name for name in texts if not _NUMBER.fullmatch(str(record[name]))]
    for names in ([name for name in texts if name == "text"], texts, worded):
        if len(names) == 1:
            return names[0]
    raise origin.error(line, f"which field is the text is not clear; name one with --field: {listed(texts or record)}")


def is_blank(text: str) -> bool:
    return not text or text.isspace()


def _kind(value: object) -> str:
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
        str: "a text",
    }
    return "null" if value is None else kinds.get(type(value), f"a {type(value).__name__}")


def _wanted(field: str | None) -> str:
    return "fields" if field is None else f"the field '{field}'"


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"
