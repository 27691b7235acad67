"""Writing the most confident positions first: a fixed share a step, or all above a threshold. Approximate.

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
from mezzotint.sampler.masks import masked_logits, skip_empty_steps, write_tokens
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised

Score = Callable[[Tensor], Tensor]
"""Distributions (K, V) -> confidence (K,): the highest are written first."""


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
    """The number of masks that a row has left at each of its own steps, and the quantile of every position (B, L)."""

    slot: Tensor
    """(B, L): with k + 1 masks left, the grid step that leaves at most k; 0 beyond the row's free positions."""
    departure: Tensor
    """(B, L + 1) float64: with k masks left, the grid time at which that step begins; 0 for none left."""
    quantile: Tensor

    def share(self, num_masks: Tensor) -> Tensor:
        """(B,) how many of a row's masks (B,) are due at its next step."""
        k = torch.arange(self.slot.shape[1], device=num_masks.device)
        step = self.slot.gather(1, (num_masks - 1).clamp(min=0)[:, None])
        return ((self.slot == step) & (k < num_masks[:, None])).sum(1)

    def time(self, num_masks: Tensor) -> Tensor:
        """(B,) the time of a row with so many masks."""
        return self.departure.gather(1, num_masks[:, None])[:, 0]


class Ordered:
    """The schedule sets how many masks a step leaves, the least confident ones; at most min(steps, masks) calls.

    All positions whose score is at least `threshold` are written at once, however many, and the row is done sooner. The
    score is that of the distribution before temperature and top-p, the token is drawn after both. Of equally
    confident positions the first is written first.
    """

    def __init__(
        self, process: Absorbing, score: Score, temperature: float = 1.0, top_p: float = 1.0, threshold: float = inf
    ) -> None:
        self.process = process
        self.score = score
        self.temperature = temperature
        self.top_p = top_p
        self.threshold = threshold

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        device, length = canvas.ids.device, canvas.ids.shape[1]
        num_free = canvas.free.sum(1, keepdim=True).cpu()
        counts = torch.arange(1, length + 1, dtype=torch.float64)
        # The first step whose expected number of masks is below the count; a hair less, so that rounding cannot matter.
        share = (counts - 1e-9) / num_free
        slot = torch.searchsorted(-self.process.survival(times), -share, right=True).clamp(1, len(times) - 1)
        slot = slot.masked_fill(counts > num_free, 0)
        departure = torch.nn.functional.pad(times[(slot - 1).clamp(min=0)], (1, 0))
        plan = Plan(slot.to(device), departure.to(device), rng.at("token").uniform(length).to(device))
        state = State(self.process.prior(canvas), canvas.given, canvas.given.float(), plan)
        return skip_empty_steps(slot, times, device), state

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        plan, z = state.memory, state.noised.z
        assert isinstance(plan, Plan)
        masked = cond.free & (z == self.process.mask)
        num_masks = masked.sum(1)
        # A row may be ahead of the grid: where it is follows from its masks.
        rows, positions, logits = masked_logits(denoise, Noised(z, plan.time(num_masks)), cond, masked)
        score = torch.full(z.shape, -inf, dtype=torch.float64, device=z.device)
        score[rows, positions] = self.score(logits.softmax(-1)).double()
        rank = score.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        is_chosen = (rank < plan.share(num_masks)[:, None]) | (score >= self.threshold)
        is_due = is_chosen[rows, positions]
        rows, positions = rows[is_due], positions[is_due]
        p_KV = tilt(logits[is_due], self.temperature, self.top_p)
        ids = inverse_cdf(p_KV, plan.quantile[rows, positions])
        num_left = num_masks - (is_chosen & masked).sum(1)
        state = write_tokens(state, (rows, positions), ids, p_KV, plan.time(num_left))
        return replace(state, done=not bool(num_left.any()))
