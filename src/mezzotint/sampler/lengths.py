"""Lengths of open gaps, drawn from their posterior given the surrounding tokens.

p(lengths | given) is proportional to p(length of the text) p(given | lengths), the gaps unknown throughout. The second
factor is replaced by its any-order bound (Ou et al. 2024, arXiv:2406.03736, §3), averaged over some draws. Every
combination meets the same draws: what they have in common cancels in the comparison, and noise with it.

Too many combinations are drawn gap by gap in reading order, each gap given the lengths that the others have by then:
one sweep of the Gibbs sampler (Geman and Geman 1984), from the middle of every range. One sweep is not the joint law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import torch
from torch import Tensor

from mezzotint.data.template import Gap
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Infiller

MAX_COMBINATIONS = 64
"""The most combinations of lengths that are drawn jointly; where there are more, the gaps are drawn in turn."""

DRAWS = 16
"""Draws of the bound for each combination."""

Lengths = tuple[int, ...]
"""One length for each gap, in reading order."""


@torch.no_grad()
def log_evidence(system: Infiller, canvas: Canvas, seed: int, draws: int = DRAWS) -> float:
    """log p(length, given tokens) of a canvas (1, L), free positions unknown, in nats: the mean bound over draws.

    The draws depend on the seed alone, and the canvas shares its batch with no other, so that rounding is the same.
    """
    rows = canvas.rows(torch.zeros(draws, dtype=torch.int64, device=canvas.ids.device))
    nats = system.evidence(rows, Rng(seed, range(draws), "evidence", total=draws))
    return -float(nats.double().mean())


@dataclass(frozen=True)
class GapLengths:
    """The lengths of a row's gaps."""

    lengths: Lengths
    nfe: int
    """Network evaluations, those shared with other rows counted in full."""


class GapLengthSampler:
    """Draws the lengths of a template's gaps, `room` tokens at most in all.

    `weigh` gives log p(length of the text, given tokens) of some lengths, up to a constant, for `calls` network
    evaluations; its results are cached.
    """

    def __init__(self, gaps: Sequence[Gap], room: int, weigh: Callable[[Lengths], float], calls: int) -> None:
        assert sum(gap.low for gap in gaps) <= room, "the gaps do not fit at their shortest"
        self.gaps = gaps
        self.room = room
        self.weigh = cache(weigh)
        self.calls = calls

    def __call__(self, rng: Rng, temperature: float = 1.0, top_p: float = 1.0) -> list[GapLengths]:
        """One choice for each row of `rng`, whatever the other rows are.

        Temperature and nucleus tilt this choice as they do that of a token; temperature 0 takes the likeliest.
        """
        u = rng.at("gap").uniform(len(self.gaps))
        options = list(islice(combinations(self.gaps, self.room), MAX_COMBINATIONS + 1))
        if len(options) <= MAX_COMBINATIONS:
            nfe = self.calls * len(options) if len(options) > 1 else 0
            return [GapLengths(lengths, nfe) for lengths in self._draw(options, u[:, 0], temperature, top_p)]
        return [self._gibbs_sweep(row, temperature, top_p) for row in u.split(1)]

    def _gibbs_sweep(self, u: Tensor, temperature: float, top_p: float) -> GapLengths:
        """The choice at the quantiles u (1, gaps)."""
        lengths, scored = middle(self.gaps, self.room), set[Lengths]()
        for i, gap in enumerate(self.gaps):
            available = self.room - sum(lengths) + lengths[i]
            options = [(*lengths[:i], n, *lengths[i + 1 :]) for n in range(gap.low, min(gap.high, available) + 1)]
            (lengths,) = self._draw(options, u[:, i], temperature, top_p)
            scored |= set(options) if len(options) > 1 else set()
        return GapLengths(lengths, self.calls * len(scored))

    def _draw(self, options: Sequence[Lengths], u: Tensor, temperature: float, top_p: float) -> list[Lengths]:
        """The options at the quantiles u (B,); the only one is not weighed."""
        if len(options) == 1:
            return [options[0]] * len(u)
        log_p = torch.tensor([[self.weigh(lengths) for lengths in options]], dtype=torch.float64)
        p = tilt(log_p, temperature, top_p).expand(len(u), -1)
        return [options[i] for i in inverse_cdf(p, u).tolist()]


def combinations(gaps: Sequence[Gap], room: int) -> Iterator[Lengths]:
    """All combinations of lengths of at most `room` tokens in all, the shortest first, without dead ends."""
    if not gaps:
        yield ()
        return
    gap, *rest = gaps
    for length in range(gap.low, min(gap.high, room - sum(g.low for g in rest)) + 1):
        yield from ((length, *others) for others in combinations(rest, room - length))


def middle(gaps: Sequence[Gap], room: int) -> Lengths:
    """The middle of each gap's range, or as near to it as an equal share of the room allows."""
    share = (room - sum(gap.low for gap in gaps)) // max(1, len(gaps))
    return tuple(gap.low + min((gap.high - gap.low) // 2, share) for gap in gaps)
