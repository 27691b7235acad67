"""Canvases from rows of tokens, from lengths, from a prefix and from a template with gaps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import UsageError
from mezzotint.types import Canvas, Ending

_MULTIPLE = 8
"""Canvas lengths are multiples of this, which matrix kernels prefer."""


def room(length: int, ending: Ending) -> int:
    """The most tokens a text may have to fit a canvas of `length`: all of it, or one less for an end token."""
    return length if ending is Ending.LENGTH else length - 1


def canvas_length(lengths: ArrayLike, ending: Ending, cap: int) -> int:
    """The smallest multiple of 8 that holds 99 % of texts with these lengths (n,), but at most `cap`."""
    most = int(np.quantile(np.asarray(lengths), 0.99, method="inverted_cdf"))
    return min(_rounded(most + 1 - room(1, ending)), cap)


def pack(
    rows: Sequence[NDArray[np.int64]], index: Sequence[int], ending: Ending, length: int, end: int, pad: int
) -> Canvas:
    """The canvas of some whole texts, nothing given; `index` names the random streams of the rows.

    With Ending.FILL it is exactly `length` wide and all real; else as wide as the longest row needs, rounded up to a
    multiple of 8, at most `length`. Every row must fit (see `room`).
    """
    tail = [] if ending is Ending.LENGTH else [end]
    closed = [np.concatenate([row, tail]).astype(np.int64) for row in rows]
    widest = max(map(len, closed))
    assert widest <= length, f"a row of {widest} symbols does not fit a canvas of {length}"
    fill = ending is Ending.FILL
    width = length if fill else min(_rounded(widest), length)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    for i, row in enumerate(closed):
        ids[i, : len(row)] = row
    real = _first([width] * len(rows) if fill else [len(row) for row in closed], width)
    return Canvas(torch.from_numpy(ids), torch.zeros_like(real), real, _index(index))


def free(lengths: Sequence[int], index: Sequence[int], pad: int, width: int | None = None) -> Canvas:
    """An empty canvas: row i has lengths[i] positions to be written. `width` is by default the greatest, rounded up
    to a multiple of 8."""
    real = _first(lengths, _rounded(max(lengths)) if width is None else width)
    return Canvas(torch.full(real.shape, pad), torch.zeros_like(real), real, _index(index))


def prefixed(
    prefix_ids: Sequence[int], lengths: Sequence[int], index: Sequence[int], pad: int, start: int = 0
) -> Canvas:
    """A canvas whose rows all begin with a given prefix; `lengths` count it too.

    `start` is what the first token after it must do: 1 begin with a space, -1 not begin with one, 0 either.
    """
    assert min(lengths) > len(prefix_ids)
    blank = free(lengths, index, pad)
    ids, given, starts = blank.ids, blank.given, torch.zeros_like(blank.ids, dtype=torch.int8)
    ids[:, : len(prefix_ids)] = torch.tensor([int(i) for i in prefix_ids], dtype=torch.int64)
    given[:, : len(prefix_ids)] = True
    starts[:, len(prefix_ids)] = start
    return Canvas(ids, given, blank.real, blank.index, starts)


@dataclass(frozen=True)
class Given:
    """Text of a template that comes back byte for byte."""

    text: str


@dataclass(frozen=True)
class Gap:
    """A gap of `low` to `high` tokens."""

    low: int
    high: int


@dataclass(frozen=True)
class Template:
    """A text with gaps; given pieces and gaps alternate."""

    pieces: tuple[Given | Gap, ...]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps, in reading order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Gap))

    def fill(self, tokenizer: Tokenizer, lengths: Sequence[int]) -> tuple[list[int], list[bool], list[int]]:
        """ids, given and start of a row whose gaps have these lengths; padding stands in the gaps.

        One space before a gap is left out of the given tokens and asked of the gap's first token instead (start 1;
        -1 if there is none), because both kinds of tokenizer keep a space with the word after it.
        """
        ids: list[int] = []
        given: list[bool] = []
        start: list[int] = []
        for text, demand, length in self._sections(lengths):
            known = tokenizer.encode(text, virtual_space=False) if text else []
            ids += known + [tokenizer.pad] * length
            given += [True] * len(known) + [False] * length
            start += [0] * len(known) + [demand][:length] + [0] * (length - 1)
        return ids, given, start

    def text(self, tokenizer: Tokenizer, ids: Sequence[int], lengths: Sequence[int] | None = None) -> str:
        """The given pieces byte for byte, with the texts of the gaps from a filled row between them.

        `lengths` of the gaps may be left out where none of them is open.
        """
        chosen = self._fixed() if lengths is None else lengths
        done, place = "", 0
        for text, demand, length in self._sections(chosen):
            place += len(tokenizer.encode(text, virtual_space=False)) if text else 0
            gap = tokenizer.decode(ids[place : place + length], virtual_space=False)
            done += text + (" " + gap.removeprefix(" ") if demand > 0 else gap)
            place += length
        return done.removeprefix(" ")

    def _fixed(self) -> list[int]:
        assert all(gap.low == gap.high for gap in self.gaps), "the lengths of open gaps are needed"
        return [gap.low for gap in self.gaps]

    def _sections(self, lengths: Sequence[int]) -> Iterator[tuple[str, int, int]]:
        """(given text, demand on the gap after it, length of that gap), the virtual space in front."""
        assert len(lengths) == len(self.gaps)
        text, rest = " ", iter(lengths)
        for piece in self.pieces:
            if isinstance(piece, Given):
                text += piece.text
            else:
                yield text.removesuffix(" "), 1 if text.endswith(" ") else -1, next(rest)
                text = ""
        if text:
            yield text, 0, 0


_MARK = re.compile(r"(?P<slashes>\\*)\[(?P<body>(?P<low>[0-9]{1,9})(?:-(?P<high>[0-9]{1,9}))?\]| ?\])?")


def parse_template(text: str) -> Template:
    r"""A template from text: `[n]` is a gap of n tokens, `[a-b]` of a to b, `[ ]` of 1 to 8.

    `\[` is a bracket and `\\` before a bracket a backslash; a bracket followed by anything else is text. Neighbouring
    gaps are one. UsageError for an empty gap, for a range that runs backwards and for a text without any gap.
    """
    pieces: list[Given | Gap] = []
    after = 0
    for mark in _MARK.finditer(text):
        escapes, escaped = divmod(len(mark["slashes"]), 2)
        gap = mark["body"] is not None and not escaped
        _add(pieces, Given(text[after : mark.start()] + "\\" * escapes + ("" if gap else mark[0].lstrip("\\"))))
        if gap:
            _add(pieces, _gap(mark))
        after = mark.end()
    _add(pieces, Given(text[after:]))
    if not any(isinstance(piece, Gap) for piece in pieces):
        raise UsageError(f"there is no gap in '{text}'; write [3] for three tokens")
    return Template(tuple(pieces))


def template_canvas(
    template: Template, tokenizer: Tokenizer, lengths_of_gaps: Sequence[int], n: int, first_index: int = 0
) -> Canvas:
    """n equal rows of a template, with the random streams `first_index` and following."""
    ids, given, start = template.fill(tokenizer, lengths_of_gaps)
    row = torch.tensor(ids, dtype=torch.int64), torch.tensor(given), torch.tensor(start, dtype=torch.int8)
    ids_L, given_L, start_L = (tensor.repeat(n, 1) for tensor in row)
    index = torch.arange(first_index, first_index + n)
    return Canvas(ids_L, given_L, torch.ones_like(given_L), index, start_L)


def _gap(mark: re.Match[str]) -> Gap:
    if mark["low"] is None:
        return Gap(1, 8)
    low, high = int(mark["low"]), int(mark["high"] or mark["low"])
    if not 1 <= low <= high:
        shown = mark[0].lstrip("\\")
        raise UsageError(f"the gap {shown} cannot be filled; write [3] for three tokens or [2-5] for two to five")
    return Gap(low, high)


def _add(pieces: list[Given | Gap], piece: Given | Gap) -> None:
    """Append a piece, merged with the one before it if that is of its kind."""
    last = pieces[-1] if pieces else None
    if isinstance(piece, Gap) and isinstance(last, Gap):
        pieces[-1] = Gap(last.low + piece.low, last.high + piece.high)
    elif isinstance(piece, Given) and isinstance(last, Given):
        pieces[-1] = Given(last.text + piece.text)
    elif piece != Given(""):
        pieces.append(piece)


def _rounded(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE


def _first(lengths: Sequence[int], width: int) -> Tensor:
    """(B, width) bool: True at the first lengths[i] positions of row i."""
    assert max(lengths) <= width
    return torch.arange(width) < torch.tensor(list(lengths)).unsqueeze(1)


def _index(index: Sequence[int]) -> Tensor:
    return torch.tensor([int(i) for i in index], dtype=torch.int64)
