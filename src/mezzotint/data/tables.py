"""Texts in tables: a column of a parquet file, or of a data set on a hub.

A data set is `hf:OWNER/NAME`, with as much of `@REVISION`, `#CONFIG`, `:SPLIT` and `[:N]` after it as is needed, in
this order. Without a split it is the one called train, or the only one. `[:N]` streams the first N records; else the
whole set is fetched once and kept in HF_HOME. Both kinds need the extra `data`, which is loaded when a table is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, Protocol

from mezzotint import hub
from mezzotint.data.records import Gather, Origin, T, fields, listed, only_text_field
from mezzotint.errors import DataError, UsageError, unknown

PARQUET: Final = ".parquet"
HOW: Final = f"{hub.SET}OWNER/NAME for a data set on the hub"
_PART = r"[A-Za-z0-9_][\w.-]*"
_SET = re.compile(
    rf"{hub.SET}(?P<name>{_PART}/{_PART})(@(?P<revision>[\w./-]+))?(#(?P<config>[^@#:\[\]]+))?"
    r"(:(?P<split>[\w.-]+))?(\[:(?P<first>[1-9][0-9]{0,17})\])?",
    re.ASCII,
)
_TEXT = re.compile("(dictionary<values=)?(large_)?string")
"""How types of text are written by pyarrow."""
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class Set:
    """A data set as it is named."""

    name: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    first: int | None = None
    """How many records are streamed; None: all are fetched."""

    def __str__(self) -> str:
        marks = (("@", self.revision), ("#", self.config), (":", self.split))
        first = "" if self.first is None else f"[:{self.first}]"
        return hub.SET + self.name + "".join(mark + said for mark, said in marks if said) + first


def parse_set(text: str) -> Set:
    """The data set that a text names; UsageError if it is not spelt as one."""
    found = _SET.fullmatch(text)
    if found is None:
        written = f"{hub.SET}OWNER/NAME@REVISION#CONFIG:SPLIT[:N], or as much of it as is needed"
        raise UsageError(f"'{text}' names no data set; write {written}")
    first = int(found["first"]) if found["first"] else None
    return Set(found["name"], found["revision"], found["config"], found["split"], first)


def check_set(text: str) -> None:
    """UsageError unless the text names a data set and the library that reads it is there. Nothing is asked."""
    asked = parse_set(text)
    if Path(asked.name).exists():
        raise UsageError(f"{asked.name} is a folder here, and would be read instead of the hub's; run from elsewhere")
    check_extra(text, "datasets")


def check_extra(what: str, *needed: str) -> None:
    """UsageError unless the packages that tables need are there; they are not loaded."""
    found = [find_spec(package) for package in ("pyarrow", *needed)]
    if any(spec is None or spec.origin is None for spec in found):  # without an origin, a folder that is called so
        raise UsageError(f'{what} needs libraries that are not installed: pip install "mezzotint[data]"')


def read_parquet(name: str, raw: IO[bytes], field: str | None, gather: Gather[T]) -> list[T]:
    """What `gather` keeps of the texts in a column of an open parquet file; DataError if it is damaged or has no such
    column."""
    pyarrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    try:
        return _texts(Origin(name, ", record "), _Parquet(parquet.ParquetFile(raw)), field, gather)
    except UnicodeDecodeError:
        raise DataError(f"{name} has bytes that are not UTF-8 in a column of text; write it anew from text") from None
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(f"{name} is damaged or is no parquet file; fetch or write it again") from None


def read_set(text: str, field: str | None, gather: Gather[T]) -> tuple[str, list[T]]:
    """The data set's name, with the commit and the split that were read, and what `gather` keeps of its texts.

    HubError where the hub does not give it; UsageError for an unknown split; DataError where it holds no such texts.
    """
    asked = parse_set(text)
    with hub.hub_errors(asked.name, asked.revision):
        asked = replace(asked, revision=_commit(asked))
        splits = _fetched(asked)
        split = asked.split or (next(iter(splits)) if len(splits) == 1 else "train")
        if split not in splits:
            raise unknown(f"split of {asked.name}", split, splits)
        rows = splits[split] if asked.first is None else splits[split].take(asked.first)
        asked = replace(asked, split=split)
        with _said(asked):
            return str(asked), _texts(Origin(str(asked), ", record "), _Rows(rows), field, gather)


# ---- tables ----------------------------------------------------------------------------------------------------------


class _Table(Protocol):
    """Named columns."""

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def worded(self) -> Sequence[str]:
        """The columns that hold text."""
        ...

    def records(self, columns: Sequence[str]) -> Iterator[Mapping[str, object]]: ...


def _texts(origin: Origin, table: _Table, field: str | None, gather: Gather[T]) -> list[T]:
    if field is None and not table.worded:
        raise DataError(f"{origin.name} has no column of text; it has {listed(table.names)}")
    if field is None:
        first = next(iter(table.records(table.worded)), {table.worded[0]: ""})
        field = only_text_field(origin, 1, first)
    if field not in table.names:
        raise DataError(f"{origin.name} has no column '{field}'; it has {listed(table.names)}")
    return gather(origin, fields(origin, enumerate(map(dict, table.records([field])), 1), field))


@dataclass(frozen=True)
class _Parquet:
    """`pyarrow.parquet.ParquetFile` as a table; a column is read alone, some thousand records at once."""

    file: Any

    @property
    def names(self) -> Sequence[str]:
        return list(self.file.schema_arrow.names)

    @property
    def worded(self) -> Sequence[str]:
        return [column.name for column in self.file.schema_arrow if _TEXT.match(str(column.type))]

    def records(self, columns: Sequence[str]) -> Iterator[Mapping[str, object]]:
        for batch in self.file.iter_batches(columns=list(columns), batch_size=4096):
            yield from batch.to_pylist()


@dataclass(frozen=True)
class _Rows:
    """What `datasets` gives, fetched or streamed, as a table."""

    rows: Any

    @property
    def names(self) -> Sequence[str]:
        return list(self.rows.column_names or next(iter(self.rows), ()))

    @property
    def worded(self) -> Sequence[str]:
        datasets: Any = import_module("datasets")
        texts = (datasets.Value("string"), datasets.Value("large_string"))
        known = self.rows.features
        return [name for name, kind in known.items() if kind in texts] if known else self.names

    def records(self, columns: Sequence[str]) -> Iterator[Mapping[str, object]]:
        yield from self.rows.select_columns(list(columns))


# ---- what `datasets` is asked ----------------------------------------------------------------------------------------


def _commit(asked: Set) -> str:
    """The commit that a revision is now: what is read once can be read again."""
    if asked.revision is not None and _COMMIT.fullmatch(asked.revision):
        return asked.revision
    from huggingface_hub import HfApi

    return str(HfApi(library_name="mezzotint").dataset_info(asked.name, revision=asked.revision).sha)


def _fetched(asked: Set) -> Mapping[str, Any]:
    """The splits of a data set, by name."""
    datasets: Any = import_module("datasets")
    streaming = asked.first is not None
    with _said(asked), _without_bars(datasets):
        found: Mapping[str, Any] = datasets.load_dataset(
            asked.name, asked.config, revision=asked.revision, streaming=streaming
        )
    return found


@contextmanager
def _said(asked: Set) -> Iterator[None]:
    """A DataError with the first words of what `datasets` says when it cannot make records of a repository."""
    datasets: Any = import_module("datasets.exceptions")
    try:
        yield
    except (datasets.DatasetsError, FileNotFoundError, ValueError, TypeError, KeyError) as error:
        what = " ".join(" ".join(str(error.__cause__ or error).splitlines()[:2]).split())
        raise DataError(f"{asked} cannot be read ({what})") from None


@contextmanager
def _without_bars(datasets: Any) -> Iterator[None]:
    """No bars of its own: a command draws one already."""
    were_shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if were_shown:
            datasets.enable_progress_bars()
