"""Writing the surest positions first: a fixed share a step, or all that are sure enough. Approximate.

Confidence order comes from Chang et al. 2022 (MaskGIT), arXiv:2202.04200, §3.2, and Nie et al. 2025 (LLaDA),
arXiv:2502.09992; the margin from Kim et al. 2025, arXiv:2502.06768, §4; the threshold from Wu et al. 2025 (Fast-dLLM),
arXiv:2505.22618, §3.3. A score sees a position's distribution, never the token drawn from it. Therefore one token a
call is exact for an exact denoiser, in whatever order (the chain rule), which ordering by the *drawn* token's
probability, as MaskGIT and LLaDA do, is not: that prefers likely tokens. The law is not that of ancestral sampling: a
learned denoiser is asked in an order it was not weighted by, and texts come out likelier and more alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.sampler.drive import Grid, State
from mezzotint.sampler.masks import ask, visits, write
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised

Score = Callable[[Tensor], Tensor]
"""Distributions (K, V) -> how sure each is (K,): the surest are written first."""


def confidence(p_KV: Tensor) -> Tensor:
    """The probability of the likeliest token."""
    return p_KV.amax(dim=-1)


def margin(p_KV: Tensor) -> Tensor:
    """The lead of the likeliest token over the second."""
    best: Tensor = p_KV.topk(2, dim=-1).values
    return best[:, 0] - best[:, 1]


def certainty(p_KV: Tensor) -> Tensor:
    """Minus the entropy, in nats."""
    entropy: Tensor = torch.special.entr(p_KV).sum(-1)
    return -entropy


@dataclass(frozen=True)
class Plan:
    """How many masks a row has left at each of its own steps, and the quantile of every position (B, L)."""

    slot: Tensor
    """(B, L): with k + 1 masks left, the grid step that leaves at most k; 0 beyond the row's free positions."""
    departure: Tensor
    """(B, L + 1) float64: with k masks left, the grid time at which that step begins; 0 for none left."""
    quantile: Tensor

    def share(self, masks: Tensor) -> Tensor:
        """(B,) how many of a row's masks (B,) are due at its next step."""
        k = torch.arange(self.slot.shape[1], device=masks.device)
        step = self.slot.gather(1, (masks - 1).clamp(min=0)[:, None])
        return ((self.slot == step) & (k < masks[:, None])).sum(1)

    def time(self, masks: Tensor) -> Tensor:
        """(B,) where a row with so many masks is."""
        return self.departure.gather(1, masks[:, None])[:, 0]


class Ordered:
    """The share of masks that the schedule leaves at a step are the least sure ones; at most min(steps, masks) calls.

    All positions whose score is at least `enough` are written at once, however many, and the row is done sooner. The
    score is that of the distribution before temperature and top-p, the token is drawn after both. Of equally sure
    positions the first is written first.
    """

    def __init__(
        self, process: Absorbing, score: Score, temperature: float = 1.0, top_p: float = 1.0, enough: float = inf
    ) -> None:
        self.process = process
        self.score = score
        self.temperature = temperature
        self.top_p = top_p
        self.enough = enough

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        device, length = canvas.ids.device, canvas.ids.shape[1]
        free = canvas.free.sum(1, keepdim=True).cpu()
        count = torch.arange(1, length + 1, dtype=torch.float64)
        # The first step whose expected number of masks is below the count; a hair less, so that rounding cannot matter.
        share = (count - 1e-9) / free
        slot = torch.searchsorted(-self.process.survival(times), -share, right=True).clamp(1, len(times) - 1)
        slot = slot.masked_fill(count > free, 0)
        departure = torch.nn.functional.pad(times[(slot - 1).clamp(min=0)], (1, 0))
        plan = Plan(slot.to(device), departure.to(device), rng.at("token").uniform(length).to(device))
        state = State(self.process.prior(canvas), canvas.given, canvas.given.float(), plan)
        return visits(slot, times, device), state

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        plan, z = state.memory, state.noised.z
        assert isinstance(plan, Plan)
        masked = cond.free & (z == self.process.mask)
        masks = masked.sum(1)
        # A row may be ahead of the grid: where it is follows from its masks.
        rows, positions, logits = ask(denoise, Noised(z, plan.time(masks)), cond, masked)
        score = torch.full(z.shape, -inf, dtype=torch.float64, device=z.device)
        score[rows, positions] = self.score(logits.softmax(-1)).double()
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        chosen = (rank < plan.share(masks)[:, None]) | (score >= self.enough)
        now = chosen[rows, positions]
        rows, positions = rows[now], positions[now]
        p_KV = tilt(logits[now], self.temperature, self.top_p)
        ids = inverse_cdf(p_KV, plan.quantile[rows, positions])
        left = masks - (chosen & masked).sum(1)
        state = write(state, (rows, positions), ids, p_KV, plan.time(left))
        return replace(state, done=not bool(left.any()))
