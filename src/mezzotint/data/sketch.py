"""The canvases on which the candidates of some sources are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mezzotint.data.canvas import free
from mezzotint.types import Canvas

APART = 2**32
"""How far apart the streams of two candidates of one source are: the first candidate has the source's own."""


def candidates(source: Canvas, lengths: Sequence[Sequence[int]], pad: int, width: int | None = None) -> Canvas:
    """Empty rows, those of one source side by side; lengths[i] says how long each candidate of source i may get.

    Candidate c of a source draws from the stream index + c * APART, whatever the number of candidates.
    """
    places = [(row, c) for row, each in enumerate(lengths) for c in range(len(each))]
    index = source.index.tolist()
    blank = free([n for each in lengths for n in each], [index[row] + c * APART for row, c in places], pad, width)
    return replace(blank, source=source.rows(torch.tensor([row for row, _ in places], device=source.ids.device)))
