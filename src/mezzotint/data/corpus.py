"""Texts from files and from data sets of a hub: which are learned from, and which are held out.

Texts come back as they stand there, without any normalisation. Whatever is wrong is one sentence that names the file
and the line or record, counted from 1. Nothing but the standard library is loaded until a table is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from mezzotint import hub
from mezzotint.data import tables
from mezzotint.data.records import Gather, T, texts_of
from mezzotint.data.textfiles import FORMS, PACKED, File, Form, lines_of_text
from mezzotint.errors import DataError, UsageError
from mezzotint.types import Layout

_FEWEST: Final = 20
"""Fewer lines or records than this are taken for a mistake."""
_HELD_OUT: Final = 0.05


@dataclass(frozen=True)
class Source:
    """A file, or a data set of a hub, that texts came from."""

    path: str
    """Of a data set: its name with the commit, the configuration and the split that were read."""
    sha256: str
    """Of the file as it lies there, compressed if it is; of a data set, of the texts."""
    texts: int


@dataclass(frozen=True)
class Corpus:
    """Texts to learn from, texts held out from them, and where both came from."""

    train: list[str]
    valid: list[str]
    sources: tuple[Source, ...]
    valid_sources: tuple[Source, ...]
    """Empty where `valid` was held out from `sources`."""
    train_from: list[str] | None = None
    """What each text of `train` is written from; None for texts by themselves."""
    valid_from: list[str] | None = None
    notes: tuple[str, ...] = ()
    """Sentences about what was left out."""

    @property
    def all_train(self) -> list[str]:
        """Both sides of what is learned from."""
        return [*(self.train_from or ()), *self.train]

    @property
    def all_valid(self) -> list[str]:
        """Both sides of what is held out."""
        return [*(self.valid_from or ()), *self.valid]


def load_corpus(
    data: Sequence[Path | str],
    valid: Sequence[Path | str] | None = None,
    field: str | None = None,
    layout: Layout = Layout.TEXTS,
) -> Corpus:
    """The texts of some files or data sets; without `valid`, 5 % are held out by hash, so equal texts stay together.

    DataError for whatever `read` refuses, for fewer than 20 texts where a text is a line or record, and where there
    are not two different texts to divide.
    """
    texts, sources = read(data, field, layout)
    if layout is Layout.TEXTS:
        enough(texts, data)
    if valid:
        held_out, valid_sources = read(valid, field, layout)
        return Corpus(texts, held_out, sources, valid_sources)
    if len(set(texts)) < 2:
        unit = "texts" if layout is Layout.TEXTS else "documents, parted by blank lines,"
        needed = f"at least 2 different {unit} are needed so that one can be held out"
        raise DataError(f"{names(data)}: {needed}, and there is 1; add more or name a file with --valid")
    held = withheld(texts)
    return Corpus([t for t in texts if t not in held], [t for t in texts if t in held], sources, ())


def check(data: Sequence[Path | str]) -> None:
    """DataError or UsageError unless everything named can be read: a file of a known kind, or a data set of a hub for
    which the library is there. Nothing is read."""
    for path in map(Path, data):
        if str(path).startswith(hub.SET):
            tables.check_set(str(path))
            continue
        _refuse_others_than_files(path)
        if _is_parquet(path):
            tables.check_extra(str(path))
        else:
            _form(path)


def read(data: Sequence[Path | str], field: str | None, layout: Layout) -> tuple[list[str], tuple[Source, ...]]:
    """The texts of some files and data sets in order, and where each came from.

    A text is a non-blank line of a `.txt` file or a record's field elsewhere; with Layout.WINDOWS a `.txt` file is cut
    at blank lines instead, and its lines stay joined. Without `field`: the field "text", else the only one with text.
    """
    check(data)
    if field is not None and all(is_plain(path) for path in data):
        raise UsageError(f"{names(data)}: a .txt file has no field '{field}'; leave --field out")
    found = [gathered(path, field, layout, texts_of) for path in data]
    return [text for texts, _ in found for text in texts], tuple(source for _, source in found)


# ---- one source ------------------------------------------------------------------------------------------------------


def gathered(path: Path | str, field: str | None, layout: Layout, gather: Gather[T]) -> tuple[list[T], Source]:
    """What `gather` keeps of the texts of one file or data set, and where it came from."""
    if str(path).startswith(hub.SET):
        name, texts = tables.read_set(str(path), field, gather)
        return texts, Source(name, digest(map(str, texts)), len(texts))
    try:
        with open(path, "rb") as raw:
            sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
            if not raw.tell():
                raise DataError(f"{path} is empty; at least one text is needed")
            raw.seek(0)
            texts = _texts(Path(path), raw, field, layout, gather)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    return texts, Source(str(path), sha256, len(texts))


def _texts(path: Path, raw: IO[bytes], field: str | None, layout: Layout, gather: Gather[T]) -> list[T]:
    if _is_parquet(path):
        return tables.read_parquet(str(path), raw, field, gather)
    opener: Any = PACKED.get(path.suffix.lower())
    with raw if opener is None else opener(raw) as stream:
        file = File(str(path), stream=stream)
        return gather(file, _form(path)(file, field, layout))


def _refuse_others_than_files(path: Path) -> None:
    if path.is_dir():
        raise DataError(f"{path} is a folder; name the files in it")
    if str(path) == "-":
        raise DataError("texts are read from files, not from standard input; save them to one first")
    if not path.exists():
        raise DataError(f"{path} does not exist; check the spelling of its name")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file; save its text to one first")


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == tables.PARQUET


def is_plain(path: Path | str) -> bool:
    """Whether it is a file of lines, which have no fields."""
    is_table = str(path).startswith(hub.SET) or _is_parquet(Path(path))
    return not is_table and _form(Path(path)) is lines_of_text


def _form(path: Path) -> Form:
    name = path.with_suffix("") if path.suffix.lower() in PACKED else path
    if name.suffix.lower() not in FORMS:
        kinds = f"{' '.join(FORMS)}, each also with {' '.join(PACKED)}; {tables.PARQUET}; or {tables.HOW}"
        raise UsageError(f"{path} is of a kind that cannot be read; known: {kinds}")
    return FORMS[name.suffix.lower()]


def digest(texts: Iterable[str]) -> str:
    """SHA-256 of some texts and of where each ends, in hexadecimal."""
    total = hashlib.sha256()
    for text in texts:
        data = text.encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()


def enough(texts: Sequence[str], data: Sequence[Path | str]) -> None:
    """DataError where there are too few texts to learn from."""
    if len(texts) < _FEWEST:
        raise DataError(f"{names(data)}: {len(texts)} texts are too few to learn from; at least {_FEWEST} are needed")


def withheld(texts: Iterable[str]) -> frozenset[str]:
    """The texts whose hash falls below 5 %: at least one, and not all of them."""
    place = {text: int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) for text in texts}
    held = {text for text, hashed in place.items() if hashed < _HELD_OUT * 2**64} or {min(place, key=place.__getitem__)}
    return frozenset(held if len(held) < len(place) else held - {max(place, key=place.__getitem__)})


def names(paths: Sequence[Path | str]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
