"""Invariances: to padding, to the other rows of a batch, and to the time at which a seed is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn.functional import pad as pad_last

from mezzotint.doctor.checked import ROWS, SEED, CheckedRun
from mezzotint.doctor.finding import Skip, Verdict, conclude
from mezzotint.types import Canvas, Ending

TOLERANCE = 1e-9
"""Relative difference that rounding in float64 can make."""


def padding(checked: CheckedRun) -> tuple[Verdict, str]:
    """The NLL of a text must not depend on how much padding follows it, or on the ids in the padding."""
    if checked.run.spec.ending is Ending.FILL:
        raise Skip("this run fills whole canvases, and padding is part of what it predicts")
    packed = checked.canvas(checked.rows())
    width = checked.run.spec.canvas
    difference = _difference(checked.nats(packed), checked.nats(_widen(packed, width, checked.run.spec.vocab)))
    return conclude(
        difference <= TOLERANCE,
        f"{ROWS} texts cost the same with padding up to {width} positions, whatever ids stand in it",
        f"padding changes what a text costs, by {difference:.1e} of it: something reads positions that are not real",
    )


def batch(checked: CheckedRun) -> tuple[Verdict, str]:
    """The NLL and the sampling of a text must not depend on the other rows of its batch."""
    canvas = checked.canvas(checked.rows())
    alone = [checked.nats(canvas.rows(slice(i, i + 1)))[0] for i in range(ROWS)]
    difference = _difference(checked.nats(canvas), alone)
    if difference > TOLERANCE:
        return Verdict.BAD, f"a text costs something else beside other texts than alone, by {difference:.1e} of it"
    request = checked.request()
    single_requests = [replace(request, canvas=request.canvas.rows(slice(i, i + 1)), read=None) for i in range(ROWS)]
    together, one_by_one = checked.sample(request), [checked.sample(each)[0] for each in single_requests]
    equal = sum(a == b for a, b in zip(together, one_by_one, strict=True))
    return conclude(
        equal == ROWS,
        f"{ROWS} texts cost the same, and are written the same, together and one by one (float64)",
        f"only {equal} of {ROWS} texts are written the same together and one by one (float64)",
    )


def seed(checked: CheckedRun) -> tuple[Verdict, str]:
    """The same seed gives the same texts, now and after a while; another seed gives others."""
    first = checked.sample(checked.request())
    torch.rand(7)  # what others draw meanwhile
    np.random.rand(7)
    if checked.sample(checked.request()) != first:
        return Verdict.BAD, "the same seed gave other texts the second time: something draws from a global generator"
    if checked.is_translator:
        return Verdict.OK, "the same seed gives the same texts"
    other = checked.sample(checked.request(seed=SEED + 1))
    return conclude(
        other != first,
        "the same seed gives the same texts, and another one others",
        "another seed gave the same texts: the seed does not reach what is drawn",
    )


def _widen(canvas: Canvas, width: int, vocab: int) -> Canvas:
    """The same texts with `width` positions; the padding holds random ids."""
    extra = (0, width - canvas.ids.shape[1])
    real = pad_last(canvas.real, extra)
    noise = torch.from_numpy(np.random.default_rng(SEED).integers(vocab, size=tuple(real.shape)))
    ids = torch.where(real, pad_last(canvas.ids, extra), noise)
    return replace(canvas, ids=ids, real=real, given=pad_last(canvas.given, extra))


def _difference(one: Sequence[float], other: Sequence[float]) -> float:
    """The greatest relative difference; infinite where a value is not finite."""
    a, b = np.array(one), np.array(other)
    difference = np.abs(a - b) / np.maximum(1.0, np.abs(a))
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")
