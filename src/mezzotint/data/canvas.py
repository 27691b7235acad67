"""Canvases from rows of tokens, from lengths, from a prefix and from a template with gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import pad as pad_last

from mezzotint.data.template import Template
from mezzotint.data.tokenizer import Tokenizer
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


def pack_sources(rows: Sequence[NDArray[np.int64]], index: Sequence[int], length: int, end: int, pad: int) -> Canvas:
    """The canvas of some whole sources, all given, each closed by the end token: an empty one still has a position."""
    canvas = pack(rows, index, Ending.SYMBOL, length, end, pad)
    return replace(canvas, given=canvas.real)


def free(lengths: Sequence[int], index: Sequence[int], pad: int, width: int | None = None) -> Canvas:
    """An empty canvas: row i has lengths[i] positions to be written. `width` is by default the greatest of them."""
    real = _first(lengths, max(lengths) if width is None else width)
    return Canvas(torch.full(real.shape, pad), torch.zeros_like(real), real, _index(index))


def prefix_canvas(
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


def template_canvas(
    template: Template, tokenizer: Tokenizer, lengths_of_gaps: Sequence[Sequence[int]], index: Sequence[int]
) -> Canvas:
    """Rows of a template, each with its own lengths of the gaps; `index` names their random streams."""
    filled = [template.fill(tokenizer, lengths) for lengths in lengths_of_gaps]
    blank = free([len(ids) for ids, _, _ in filled], index, tokenizer.pad)
    given, start = torch.zeros_like(blank.given), torch.zeros_like(blank.given, dtype=torch.int8)
    for b, (ids, known, demands) in enumerate(filled):
        blank.ids[b, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        given[b, : len(ids)] = torch.tensor(known, dtype=torch.bool)
        start[b, : len(ids)] = torch.tensor(demands, dtype=torch.int8)
    return Canvas(blank.ids, given, blank.real, blank.index, start)


def close_rows(canvas: Canvas, length: int, end: int, pad: int, *, known: bool = True) -> Canvas:
    """The canvas with a given end token behind each row and padding behind that, given where `known`, else free.

    It is `length` wide and all real, as for models that fill whole canvases (Ending.FILL). Rows must be shorter.
    """
    assert canvas.ids.shape[1] < length, f"{canvas.ids.shape[1]} tokens and their end do not fit {length}"
    after = (0, length - canvas.ids.shape[1])
    real = pad_last(canvas.real, after)
    ids = pad_last(canvas.ids, after).masked_fill(~real, pad)
    given = pad_last(canvas.given, after) | (~real & known)
    last = torch.arange(len(ids)), real.sum(1)
    ids[last], given[last] = end, True
    start = None if canvas.start is None else pad_last(canvas.start, after)
    return Canvas(ids, given, torch.ones_like(real), canvas.index, start)


def stack_canvases(canvases: Sequence[Canvas], pad: int) -> Canvas:
    """The rows of some canvases under one another, their streams numbered from 0; narrower ones are padded."""
    width = max(canvas.ids.shape[1] for canvas in canvases)
    rows = sum(len(canvas.ids) for canvas in canvases)

    def under(tensors: Sequence[Tensor], value: int = 0) -> Tensor:
        return torch.cat([pad_last(tensor, (0, width - tensor.shape[1]), value=value) for tensor in tensors])

    starts = [torch.zeros_like(c.ids, dtype=torch.int8) if c.start is None else c.start for c in canvases]
    return Canvas(
        under([c.ids for c in canvases], pad), under([c.given for c in canvases]), under([c.real for c in canvases]),
        _index(range(rows)), under(starts),
    )  # fmt: skip


def pad_canvas(canvas: Canvas, width: int, pad: int) -> Canvas:
    """The canvas with padding behind every row, up to `width` positions."""
    behind = (0, width - canvas.ids.shape[1])
    assert behind[1] >= 0, f"a canvas of {canvas.ids.shape[1]} is wider than {width}"
    start = None if canvas.start is None else pad_last(canvas.start, behind)
    given, real = pad_last(canvas.given, behind), pad_last(canvas.real, behind)
    return Canvas(pad_last(canvas.ids, behind, value=pad), given, real, canvas.index, start)


def shifted_right(ids_BL: Tensor, end: int) -> Tensor:
    """(B, L): the token before each position, `end` before the first, as a causal network reads a text."""
    return pad_last(ids_BL, (1, -1), value=end)


def frame_rows(ids_BL: Tensor, real_BL: Tensor, frame: int) -> tuple[Tensor, Tensor]:
    """ids and real (B, L + 2) with the id `frame` before the first and after the last real position of every row.

    Padding has to come last in a row, as it does in every canvas made here.
    """
    last = 1 + real_BL.sum(1, keepdim=True)
    ids = pad_last(ids_BL, (1, 1), value=frame).scatter(1, last, frame)
    return ids, torch.arange(ids.shape[1], device=ids.device) <= last


def _rounded(length: int) -> int:
    return -(-length // _MULTIPLE) * _MULTIPLE


def _first(lengths: Sequence[int], width: int) -> Tensor:
    """(B, width) bool: True at the first lengths[i] positions of row i."""
    assert max(lengths) <= width
    return torch.arange(width) < torch.tensor(list(lengths)).unsqueeze(1)


def _index(index: Sequence[int]) -> Tensor:
    return torch.tensor([int(i) for i in index], dtype=torch.int64)
