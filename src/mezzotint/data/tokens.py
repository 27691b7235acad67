"""Token ids of a corpus, in a memory-mapped cache shared by all runs on the same texts and tokenizer.

On disk every text is closed by one end token. A text, a window of joined texts and a selection of texts are therefore
all the same thing, spans of one array, and none of them copies it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import DataError

Ids = NDArray[np.uint16] | NDArray[np.uint32]
_FORMAT = 1


@dataclass(frozen=True)
class Tokens:
    """Rows of token ids: spans of one flat array."""

    ids: Ids
    """All ids, uint16 or uint32, usually memory-mapped; each text is followed by one end token."""
    starts: NDArray[np.int64]
    """(n,) where each row begins in `ids`."""
    stops: NDArray[np.int64]
    """(n,) where it stops."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> NDArray[np.int64]:
        return np.asarray(self.ids[self.starts[row] : self.stops[row]], dtype=np.int64)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) tokens in each row."""
        return self.stops - self.starts

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) what rows of one batch should have about as much of: their lengths."""
        return self.lengths


@dataclass(frozen=True)
class Pairs:
    """Rows of a source and a text each."""

    source: Tokens
    target: Tokens

    def __len__(self) -> int:
        return len(self.target)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) tokens in each text."""
        return self.target.lengths

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) tokens on both sides: what rows of one batch should have about as many of."""
        return self.target.lengths + self.source.lengths

    def within(self, source: int, target: int) -> tuple[Pairs, int]:
        """The pairs of at most so many tokens on each side, and how many were left out."""
        keep = (self.source.lengths <= source) & (self.target.lengths <= target)
        kept = (Tokens(side.ids, side.starts[keep], side.stops[keep]) for side in (self.source, self.target))
        return Pairs(*kept), int((~keep).sum())


def cache_folder() -> Path:
    """Where token caches live: `$MEZZOTINT_CACHE`, else `~/.cache/mezzotint`."""
    named = os.environ.get("MEZZOTINT_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "mezzotint"


def build_tokens(texts: Sequence[str], tokenizer: Tokenizer, folder: Path) -> Tokens:
    """The ids of each text, from the cache in `folder` if they are there and whole, else encoded and put there.

    DataError if the folder cannot be written. A build that is cut off leaves nothing that a later one would open.
    """
    place = Path(folder) / _key(texts, tokenizer)
    found = _open(place)
    if found is not None:
        return found
    try:
        _write(place, texts, tokenizer)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"the token cache {folder} cannot be written ({reason}); set MEZZOTINT_CACHE to a folder that can be"
        ) from None
    written = _open(place)
    assert written is not None
    return written


def windows(tokens: Tokens, length: int, end: int) -> Tokens:
    """Rows of exactly `length` tokens: documents, each closed by `end`, one after another, the last incomplete row
    dropped. DataError if there is no whole one."""
    total = int(tokens.stops[-1]) + 1 - int(tokens.starts[0]) if len(tokens) else 0
    if total < length:
        raise DataError(f"there are {total} tokens of text, fewer than one window of {length}; give it more text")
    assert int(tokens.ids[tokens.stops[-1]]) == end and (tokens.starts[1:] == tokens.stops[:-1] + 1).all()
    starts = tokens.starts[0] + length * np.arange(total // length, dtype=np.int64)
    return Tokens(tokens.ids, starts, starts + length)


def without_long(tokens: Tokens, cap: int) -> tuple[Tokens, int]:
    """The rows of at most `cap` tokens, and how many were left out."""
    keep = tokens.lengths <= cap
    return Tokens(tokens.ids, tokens.starts[keep], tokens.stops[keep]), int((~keep).sum())


def _key(texts: Sequence[str], tokenizer: Tokenizer) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {tokenizer.fingerprint} {len(texts)}".encode())
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _open(place: Path) -> Tokens | None:
    """The cache in a folder, or None if it is missing or damaged in any way that its sizes can show."""
    try:
        meta = json.loads((place / "meta.json").read_text())
        ids = np.load(place / "ids.npy", mmap_mode="r", allow_pickle=False)
        offsets = np.load(place / "offsets.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = meta == _meta(ids, offsets) and int(offsets[-1]) == len(ids) and bool((np.diff(offsets) > 0).all())
    return Tokens(ids, offsets[:-1], offsets[1:] - 1) if whole else None


def _meta(ids: Ids, offsets: NDArray[np.int64]) -> dict[str, object]:
    return {"format": _FORMAT, "dtype": str(ids.dtype), "ids": list(ids.shape), "offsets": list(offsets.shape)}


def _write(place: Path, texts: Sequence[str], tokenizer: Tokenizer) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".building-", dir=place.parent))
    try:
        ids, offsets = _flat(texts, tokenizer)
        np.save(aside / "ids.npy", ids)
        np.save(aside / "offsets.npy", offsets)
        (aside / "meta.json").write_text(json.dumps(_meta(ids, offsets)))
        _install(aside, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _install(aside: Path, place: Path) -> None:
    """Move the finished folder into place; if another process was faster, its folder is as good as ours."""
    if place.exists() and _open(place) is None:
        os.replace(place, aside / "damaged")
    try:
        os.replace(aside, place)
    except OSError:
        if _open(place) is None:
            raise


def _flat(texts: Sequence[str], tokenizer: Tokenizer) -> tuple[Ids, NDArray[np.int64]]:
    dtype = np.uint16 if tokenizer.size <= 2**16 else np.uint32
    rows = [np.array([*row, tokenizer.end], dtype=dtype) for row in tokenizer.encode_each(texts)]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return np.concatenate([np.zeros(0, dtype), *rows]), offsets
