"""The divergence of two samples of texts: MAUVE, over a judge's features.

Pillutla et al. 2021, "MAUVE: Measuring the Gap Between Neural Text and Human Text using Divergence Frontiers",
arXiv:2102.01454, computed by the authors' library mauve-text: vectors of both samples are put into shared clusters, a
tenth as many as texts, and the score is the area under the divergence curve of the two histograms: 1 for equal ones, 0
where no cluster is shared.
Departure: the vectors are those of our judge, so the score cannot be compared with one on features of GPT-2; hence the
name. Departure: k-means starts from five seeds and the scores are averaged: one start moves the score by a hundredth.

The score rises and falls with the number of texts: it is only read beside that of as many held-out texts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np

from mezzotint.errors import UsageError
from mezzotint.evaluate.judge import JudgeModel, tag
from mezzotint.evaluate.table import Numbers, Score

LEAST = 500
"""Fewer texts make fewer than 50 clusters, and scores that say little (the paper takes 5,000 texts)."""

CLUSTERINGS = 5
DRAWS = 200
SCALING = 5.0
"""The paper's c (§2): KL divergences are weighed by it before the exponential."""
MIXTURES = 25


def divergence(texts: Sequence[str], others: Sequence[str], judge: JudgeModel, *, seed: int = 0) -> Score:
    """mauve[judge], from 0 (nothing in common) to 1 (the same distribution), of two samples of at least 500 texts each.

    Neither the order of texts nor which sample is which changes it. The standard error resamples texts with the
    clusters held fixed. Raises UsageError for too few texts.
    """
    n = min(len(texts), len(others))
    if n < LEAST:
        raise UsageError(f"mauve compares samples of at least {LEAST} texts; here one has {n}")
    first, second = (judge.features(sample) for sample in sorted([sorted(texts), sorted(others)]))
    compute: Any = import_module("mauve").compute_mauve
    scores, errors = [], []
    for k in range(CLUSTERINGS):
        with _quiet():
            result = compute(p_features=first, q_features=second, seed=seed + 10 * k)  # which adds up to 5 itself
        scores.append(float(result.mauve))
        errors.append(_area_stderr(result.p_hist, result.q_hist, (len(first), len(second)), seed))
    spread = f"{CLUSTERINGS} clusterings, {min(scores):.3f} to {max(scores):.3f}"
    note = f"features of judge {tag(judge)}; {spread}"
    return Score("mauve[judge]", float(np.mean(scores)), float(np.mean(errors)), n, note, tag(judge))


def area(p: Numbers, q: Numbers) -> Numbers:
    """(...,) the area under the divergence curve (§2, eq. 2) of histograms p and q (..., buckets).

    For standard errors only: the score itself is the library's, whose mixtures and end points these are.
    """
    weights = np.linspace(1e-6, 1 - 1e-6, MIXTURES)[:, None]
    p, q = p[..., None, :], q[..., None, :]
    mixed = weights * p + (1 - weights) * q
    x, y = (_with_ends(np.exp(-SCALING * _kl(side, mixed)), *ends) for side, ends in ((q, (1.0, 0.0)), (p, (0.0, 1.0))))
    return np.asarray(-(np.diff(x) * (y[..., 1:] + y[..., :-1]) / 2).sum(-1))


def _kl(p: Numbers, r: Numbers) -> Numbers:
    """KL(p | r) in nats over the last axis; r is positive wherever p is."""
    ratio = np.divide(p, r, out=np.ones(np.broadcast(p, r).shape), where=p > 0)
    return np.asarray((p * np.log(ratio)).sum(-1))


def _with_ends(curve: Numbers, first: float, last: float) -> Numbers:
    """The curve (..., n) with its two end points."""
    end = np.ones_like(curve[..., :1])
    return np.concatenate([first * end, curve, last * end], axis=-1)


def _area_stderr(p: Numbers, q: Numbers, sizes: tuple[int, int], seed: int) -> float:
    """Standard error of the area where the texts behind histograms p and q are drawn anew, `sizes` of them."""
    rng = np.random.default_rng(seed)
    resamples = [rng.multinomial(n, hist, size=DRAWS) / n for n, hist in zip(sizes, (p, q), strict=True)]
    return float(area(*resamples).std(ddof=1))


@contextmanager
def _quiet() -> Iterator[None]:
    """Standard error closed to the process: below Python, k-means warns each time that it would like more texts."""
    sys.stderr.flush()
    original, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(devnull)
