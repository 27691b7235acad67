"""What must not matter: padding, the other rows of a batch, and the moment at which a seed is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import pad as pad_last

from mezzotint.doctor.checked import ROWS, SEED, CheckedRun
from mezzotint.doctor.finding import Skip, Verdict, found
from mezzotint.types import Canvas, Ending

CLOSE = 1e-9
"""Relative difference in float64 that rounding can make."""


def padding(checked: CheckedRun) -> tuple[Verdict, str]:
    """What a text costs must not depend on how much padding stands behind it, or on what is in it."""
    if checked.run.spec.ending is Ending.FILL:
        raise Skip("this run fills whole canvases, and padding is part of what it predicts")
    packed = checked.canvas(checked.rows())
    width = checked.run.spec.canvas
    off = _apart(checked.nats(packed), checked.nats(_widened(packed, width, checked.run.spec.vocab)))
    return found(
        off <= CLOSE,
        f"{ROWS} texts cost the same with padding up to {width} positions, whatever ids stand in it",
        f"padding changes what a text costs, by {off:.1e} of it: something reads positions that are not real",
    )


def batch(checked: CheckedRun) -> tuple[Verdict, str]:
    """A text's cost and its writing must not depend on which other rows are in its batch."""
    canvas = checked.canvas(checked.rows())
    alone = [checked.nats(canvas.rows(slice(i, i + 1)))[0] for i in range(ROWS)]
    off = _apart(checked.nats(canvas), alone)
    if off > CLOSE:
        return Verdict.BAD, f"a text costs something else beside other texts than alone, by {off:.1e} of it"
    request = checked.request()
    single = [replace(request, canvas=request.canvas.rows(slice(i, i + 1)), read=None) for i in range(ROWS)]
    together, apart = checked.written(request), [checked.written(each)[0] for each in single]
    same = sum(a == b for a, b in zip(together, apart, strict=True))
    return found(
        same == ROWS,
        f"{ROWS} texts cost the same, and are written the same, together and one by one (float64)",
        f"only {same} of {ROWS} texts are written the same together and one by one (float64)",
    )


def seed(checked: CheckedRun) -> tuple[Verdict, str]:
    """The same seed gives the same texts, now and after a while; another seed gives others."""
    first = checked.written(checked.request())
    torch.rand(7)  # what others draw meanwhile
    np.random.rand(7)
    if checked.written(checked.request()) != first:
        return Verdict.BAD, "the same seed gave other texts the second time: something draws from a global generator"
    if checked.translates:
        return Verdict.OK, "the same seed gives the same texts"
    other = checked.written(checked.request(seed=SEED + 1))
    return found(
        other != first,
        "the same seed gives the same texts, and another one others",
        "another seed gave the same texts: the seed does not reach what is drawn",
    )


def _widened(canvas: Canvas, width: int, vocab: int) -> Canvas:
    """The same texts with `width` positions; everything behind them is ids that mean nothing."""
    more = (0, width - canvas.ids.shape[1])
    real = pad_last(canvas.real, more)
    noise = torch.from_numpy(np.random.default_rng(SEED).integers(vocab, size=tuple(real.shape)))
    ids = torch.where(real, pad_last(canvas.ids, more), noise)
    return replace(canvas, ids=ids, real=real, given=pad_last(canvas.given, more))


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The greatest relative difference; infinite where something is no number."""
    a, b = np.array(one), np.array(other)
    off = np.abs(a - b) / np.maximum(1.0, np.abs(a))
    return float(off.max()) if np.isfinite(off).all() else float("inf")
