"""Whether a system writes by the law that its bound prices: one position of a text is written many times over.

With all but one position given, -log p of that token is what `nll` says, up to a constant; over the whole vocabulary
it makes a law p, and the tokens that `sample` puts there have to follow it. What is measured is the divergence
KL(seen || p), beside what as many draws from p itself have of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mezzotint.data.canvas import close_rows
from mezzotint.doctor.checked import SEED, CheckedRun
from mezzotint.doctor.finding import Skip, Verdict, found
from mezzotint.evaluate.likelihood import costs
from mezzotint.types import Can, Canvas, Ending, Request

SAMPLES = 1000
SIMULATED = 50
"""How often as many draws are made from p."""
PRICED = 8
"""Draws of the bound for each token, where it is one."""
TOGETHER = 250
"""Rows at once."""
LONGEST = 12
MOST = 20_000
"""Entries of a vocabulary whose law is written out."""
STEPS = 32
LOOSE, TIGHT = 0.5, 0.05
"""Nats of divergence that pass, where what one token costs is bounded, and where it is exact.

Above the first there is no verdict: a bound can lie far above -log p, by more for one token than for another.
"""


def written_as_priced(checked: CheckedRun) -> tuple[Verdict, str]:
    """What is written in one gap follows the law that the bound gives it."""
    run = checked.exact
    if run.spec.vocab > MOST:
        raise Skip(f"the vocabulary has {run.spec.vocab:,} entries, too many to price them all")
    canvas, place = gap(checked)
    p, counts = _law(checked, canvas, place), _counts(checked, canvas, place)
    divergence = _divergence(counts, p)
    again = np.random.default_rng(SEED).multinomial(SAMPLES, p / p.sum(), SIMULATED)
    noise = float(np.mean([_divergence(each, p) for each in again]))
    tight = run.card.exact or run.card.bound.endswith("any-order form")
    most = TIGHT if tight else LOOSE
    said = f"one gap, written {counts.sum():,.0f} times, is {divergence:.3f} nats of divergence from the bound's law"
    if not tight and divergence > most + noise:
        raise Skip(f"{said}; that is an {run.card.bound}, whose slack alone can make so much")
    return found(
        divergence <= most + noise,
        f"{said}, of which noise makes {noise:.3f}",
        f"{said}, where at most {most + noise:.3f} passes: what is written is not what is priced",
    )


def _divergence(counts: NDArray[Any], p: NDArray[np.float64]) -> float:
    """KL(seen || p) in nats, of counts (V,)."""
    seen = counts / counts.sum()
    used = seen > 0
    return float((seen[used] * (np.log(seen[used]) - np.log(p[used]))).sum())


def gap(checked: CheckedRun) -> tuple[Canvas, int]:
    """A text of which one position is free, and where that is."""
    run, can = checked.exact, checked.exact.card.can
    if Can.TRANSLATE in can or not can & {Can.INFILL, Can.CONTINUE}:
        raise Skip(f"{run.card.name} can be given no text of which one position is left open")
    texts = [ids for ids in checked.written(checked.request(steps=STEPS)) if len(ids) > 1]
    plain = [[i for i in ids if i not in run.tokenizer.special] for ids in texts]
    ids = max(plain, key=len, default=[])[:LONGEST]
    if len(ids) < 2:
        ids = checked.rows()[-1].tolist()[:LONGEST]
    place = len(ids) // 2 if Can.INFILL in can else len(ids) - 1
    row = torch.tensor([ids])
    real = torch.ones_like(row, dtype=torch.bool)
    given = real.clone()
    given[0, place] = False
    canvas = Canvas(row, given, real, torch.tensor([0]))
    if run.spec.ending is Ending.FILL:
        canvas = close_rows(canvas, run.spec.canvas, run.tokenizer.end, run.tokenizer.pad)
    return canvas, place


def _repeated(canvas: Canvas, first: int, count: int) -> Canvas:
    rows = canvas.rows(torch.zeros(count, dtype=torch.int64))
    return replace(rows, ids=rows.ids.clone(), index=torch.arange(first, first + count))


def _law(checked: CheckedRun, canvas: Canvas, place: int) -> NDArray[np.float64]:
    """(V,): the law of the free token as the bound has it."""
    run = checked.exact
    vocab, nats = run.spec.vocab, []
    for first in range(0, vocab, TOGETHER):
        rows = _repeated(canvas, first, min(TOGETHER, vocab - first))
        rows.ids[:, place] = torch.arange(first, first + len(rows.ids))
        drawn = costs(run.system, [rows.to(run.device)], 1 if run.card.exact else PRICED, SEED)
        nats.append(drawn.mean(1))
    logs = -np.concatenate(nats)
    p = np.exp(logs - logs.max())
    law: NDArray[np.float64] = np.maximum(p / p.sum(), 1e-12)
    return law


def _counts(checked: CheckedRun, canvas: Canvas, place: int) -> NDArray[np.float64]:
    """(V,): how often each token was written there."""
    counts = np.zeros(checked.exact.spec.vocab)
    for first in range(0, SAMPLES, TOGETHER):
        rows = _repeated(canvas, first, min(TOGETHER, SAMPLES - first)).to(checked.exact.device)
        *_, frame = checked.exact.system.sample(Request(rows, steps=STEPS, seed=SEED + 1, drafts=False))
        np.add.at(counts, frame.ids[:, place].cpu().numpy(), 1)
    return counts
