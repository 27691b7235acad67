"""How surprising texts are to a judge, as they come and at the entropy of the data.

A text that repeats itself surprises nobody: judge NLL is only read beside word entropy, and the fair comparison of
two systems is *at equal entropy*, found by sweeping each over temperature and interpolating.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mezzotint.errors import UsageError
from mezzotint.evaluate.diversity import entropies
from mezzotint.evaluate.judge import JudgeModel, nll_and_tokens, tag
from mezzotint.evaluate.table import Numbers, Score, bootstrap_stderr, ratio, resampled
from mezzotint.evaluate.words import words

Point = tuple[float, float, float]
"""Temperature, word entropy (nats), judge NLL (nats a judge token)."""


def fluency(texts: Sequence[str], judge: JudgeModel) -> Iterator[Score]:
    """judge_nll, the sum of all NLL over the sum of all judge tokens (end symbols included), and its exponential.

    Texts are cut at the first end or padding symbol before they come here; one left empty by that is scored as its
    end symbol, and the note counts them. Standard errors resample texts. Raises UsageError for no texts.
    """
    if not texts:
        raise UsageError("there are no texts to judge; ask for at least one")
    sums, name = nll_and_tokens(texts, judge), tag(judge)
    empty = sum(not text for text in texts)
    note = f"judge {name}" + (f"; empty texts: {empty} of {len(texts)}" if empty else "")
    for metric, statistic in (("judge_nll", ratio), ("perplexity", _perplexity)):
        yield Score(metric, statistic(sums), bootstrap_stderr(sums, statistic), len(texts), note, name)


@dataclass(frozen=True)
class Swept:
    """The texts of one temperature of a sweep, scored one by one."""

    temperature: float
    texts: Numbers
    """(n, 3): word entropy in nats, summed judge NLL in nats, judge tokens."""
    judge: str

    @classmethod
    def of(cls, temperature: float, texts: Sequence[str], judge: JudgeModel) -> Swept:
        """Score the texts that a system wrote at this temperature (top-p 1)."""
        spread = entropies([words(text) for text in texts])
        return cls(temperature, np.column_stack([spread, nll_and_tokens(texts, judge)]), tag(judge))

    @property
    def point(self) -> Point:
        """Where this temperature lies."""
        entropy, nll = _entropy_and_nll(self.texts)
        return self.temperature, entropy, nll


def matched_sweep(sweep: Sequence[Swept], target: float, *, seed: int = 0, draws: int = 500) -> Score:
    """Judge NLL where a sweep over temperature reaches the word entropy `target`; NaN, and "not reached" in the note,
    where it does not (see `nll_at_entropy`).

    The standard error resamples the texts of every temperature: the same places of samples that are equally large,
    since texts of one place share random numbers. `n` is the size of the smallest sample. Raises UsageError where two
    judges meet.
    """
    if len({swept.judge for swept in sweep}) > 1:
        raise UsageError("a sweep must have one judge")
    replicates = [resampled(s.texts, _entropy_and_nll, seed=seed, draws=draws) for s in sweep]
    curves = [
        [(s.temperature, *point) for s, point in zip(sweep, points, strict=True)]
        for points in zip(*replicates, strict=True)
    ]
    reached = [nll for curve in curves if (nll := nll_at_entropy(curve, target)) is not None]
    judge, n = sweep[0].judge if sweep else "", min((len(s.texts) for s in sweep), default=0)
    missed = f"; {draws - len(reached)} of {draws} resamples do not reach it" if len(reached) < draws else ""
    points = [s.point for s in sweep]
    nll = nll_at_entropy(points, target)
    if nll is None:
        spread = [entropy for _, entropy, _ in points]
        span = f"; the sweep spans {min(spread):.3f} to {max(spread):.3f}" if points else ""
        note = f"judge {judge}; entropy {target:.3f} not reached{span}{missed}"
        return Score("judge_nll_matched", float("nan"), None, n, note, judge)
    stderr = float(np.std(reached, ddof=1)) if len(reached) > 1 else None
    note = f"judge {judge}; at entropy {target:.3f}, {len(points)} temperatures{missed}"
    return Score("judge_nll_matched", nll, stderr, n, note, judge)


def nll_at_entropy(points: Sequence[Point], target: float) -> float | None:
    """Judge NLL where the curve through `points` has the entropy `target`; None where it never has.

    Piecewise linear between neighbouring temperatures, never beyond them. Where noise makes it cross the target more
    than once, the worst crossing counts.
    """
    crossings = [_nll_at_crossing(a, b, target) for a, b in pairwise(sorted(points))]
    return max((nll for nll in crossings if nll is not None), default=None)


def _nll_at_crossing(a: Point, b: Point, target: float) -> float | None:
    (_, entropy_a, nll_a), (_, entropy_b, nll_b) = a, b
    if not min(entropy_a, entropy_b) <= target <= max(entropy_a, entropy_b):
        return None
    if entropy_a == entropy_b:
        return max(nll_a, nll_b)
    share = (target - entropy_a) / (entropy_b - entropy_a)
    return nll_a + share * (nll_b - nll_a)


def _entropy_and_nll(texts: Numbers) -> tuple[float, float]:
    return float(texts[:, 0].mean()), ratio(texts[:, 1:])


def _perplexity(pairs: Numbers) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(ratio(pairs)))
