"""Whether a system samples from the distribution that its bound scores: one position of a text, many times over.

With all but one position given, `nll` is -log p of that token, up to a constant; over the whole vocabulary this makes a
distribution p, which the tokens that `sample` puts there have to follow. The measure is KL(sampled || p) in nats,
beside that of as many draws from p itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mezzotint.data.canvas import close_rows
from mezzotint.doctor.checked import SEED, CheckedRun
from mezzotint.doctor.finding import Skip, Verdict, conclude
from mezzotint.evaluate.likelihood import costs
from mezzotint.types import Can, Canvas, Ending, Request

SAMPLES = 1000
SIMULATIONS = 50
"""Simulated samples from p, each of as many draws."""
BOUND_DRAWS = 8
"""Draws of the bound for each token, where the likelihood is not exact."""
BATCH_ROWS = 250
"""Rows of a batch."""
MAX_LENGTH = 12
MAX_VOCAB = 20_000
"""The largest vocabulary that is checked."""
STEPS = 32
BOUND_TOLERANCE, EXACT_TOLERANCE = 0.5, 0.05
"""Nats of divergence that pass, where the NLL of a token is a bound, and where it is exact.

Above the first there is no verdict: a bound can lie far above -log p, by more for one token than for another.
"""


def samples_follow_bound(checked: CheckedRun) -> tuple[Verdict, str]:
    """Tokens sampled into one gap follow the distribution that the bound gives them."""
    run = checked.float64
    if run.spec.vocab > MAX_VOCAB:
        raise Skip(f"the vocabulary has {run.spec.vocab:,} entries, too many to price them all")
    canvas, position = one_gap(checked)
    p, counts = _law(checked, canvas, position), _counts(checked, canvas, position)
    divergence = _divergence(counts, p)
    simulated = np.random.default_rng(SEED).multinomial(SAMPLES, p / p.sum(), SIMULATIONS)
    noise = float(np.mean([_divergence(draws, p) for draws in simulated]))
    is_tight = run.card.exact or run.card.bound.endswith("any-order form")
    tolerance = EXACT_TOLERANCE if is_tight else BOUND_TOLERANCE
    summary = f"one gap, written {counts.sum():,.0f} times, is {divergence:.3f} nats of divergence from the bound's law"
    if not is_tight and divergence > tolerance + noise:
        raise Skip(f"{summary}; that is an {run.card.bound}, whose slack alone can make so much")
    return conclude(
        divergence <= tolerance + noise,
        f"{summary}, of which noise makes {noise:.3f}",
        f"{summary}, where at most {tolerance + noise:.3f} passes: what is written is not what is priced",
    )


def _divergence(counts: NDArray[Any], p: NDArray[np.float64]) -> float:
    """KL(shares || p) in nats, of the shares of counts (V,)."""
    shares = counts / counts.sum()
    nonzero = shares > 0
    return float((shares[nonzero] * (np.log(shares[nonzero]) - np.log(p[nonzero]))).sum())


def one_gap(checked: CheckedRun) -> tuple[Canvas, int]:
    """A text with one free position, and that position."""
    run, can = checked.float64, checked.float64.card.can
    if Can.TRANSLATE in can or not can & {Can.INFILL, Can.CONTINUE}:
        raise Skip(f"{run.card.name} can be given no text of which one position is left open")
    texts = [ids for ids in checked.sample(checked.request(steps=STEPS)) if len(ids) > 1]
    ordinary = [[i for i in ids if i not in run.tokenizer.special] for ids in texts]
    ids = max(ordinary, key=len, default=[])[:MAX_LENGTH]
    if len(ids) < 2:
        ids = checked.rows()[-1].tolist()[:MAX_LENGTH]
    position = len(ids) // 2 if Can.INFILL in can else len(ids) - 1
    row = torch.tensor([ids])
    real = torch.ones_like(row, dtype=torch.bool)
    given = real.clone()
    given[0, position] = False
    canvas = Canvas(row, given, real, torch.tensor([0]))
    if run.spec.ending is Ending.FILL:
        canvas = close_rows(canvas, run.spec.canvas, run.tokenizer.end, run.tokenizer.pad)
    return canvas, position


def _repeat(canvas: Canvas, first: int, count: int) -> Canvas:
    rows = canvas.rows(torch.zeros(count, dtype=torch.int64))
    return replace(rows, ids=rows.ids.clone(), index=torch.arange(first, first + count))


def _law(checked: CheckedRun, canvas: Canvas, position: int) -> NDArray[np.float64]:
    """(V,): the distribution of the free token by the bound."""
    run = checked.float64
    vocab, nats = run.spec.vocab, []
    for first in range(0, vocab, BATCH_ROWS):
        rows = _repeat(canvas, first, min(BATCH_ROWS, vocab - first))
        rows.ids[:, position] = torch.arange(first, first + len(rows.ids))
        draws = costs(run.system, [rows.to(run.device)], 1 if run.card.exact else BOUND_DRAWS, SEED)
        nats.append(draws.mean(1))
    logs = -np.concatenate(nats)
    p = np.exp(logs - logs.max())
    law: NDArray[np.float64] = np.maximum(p / p.sum(), 1e-12)
    return law


def _counts(checked: CheckedRun, canvas: Canvas, position: int) -> NDArray[np.float64]:
    """(V,): how often each token was sampled there."""
    counts = np.zeros(checked.float64.spec.vocab)
    for first in range(0, SAMPLES, BATCH_ROWS):
        rows = _repeat(canvas, first, min(BATCH_ROWS, SAMPLES - first)).to(checked.float64.device)
        *_, frame = checked.float64.system.sample(Request(rows, steps=STEPS, seed=SEED + 1, drafts=False))
        np.add.at(counts, frame.ids[:, position].cpu().numpy(), 1)
    return counts
