"""Absorbing noise: each free token is replaced by the mask, independently, with probability 1 - alpha(t).

Source: Sahoo et al. 2024 (MDLM), arXiv:2406.07524, §3.1-3.2; Austin et al. 2021 (D3PM) for the process.
Departure: tokens are masked with probability (1 - alpha(t)) / (1 - alpha(1)). As published one in a thousand is still
to be seen at t = 1, where sampling starts from masks alone, and the bound of §3.4 comes out a thousandth too low to be
one. The weights in it are the same for both.
The mask is the id that follows the vocabulary's last one; no tokenizer knows it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.process.schedule import Schedule
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Noised


class Absorbing:
    """The masking process over a vocabulary of `vocab` ids; its mask is the id `vocab`."""

    def __init__(self, schedule: Schedule, vocab: int) -> None:
        self.schedule = schedule
        self.mask = vocab

    def corrupt(self, z0: Tensor, t: Tensor, free: Tensor, rng: Rng) -> Noised:
        """z0 (B, L) with each free position masked with probability survival(t), t (B,): all of them at t = 1."""
        uniforms = _uniforms(free, rng)
        is_masked = free & (uniforms < self.survival(t)[:, None])
        return Noised(z0.masked_fill(is_masked, self.mask), t)

    def corrupt_count(self, z0: Tensor, count: Tensor, free: Tensor, rng: Rng) -> Noised:
        """z0 (B, L) with exactly count (B,) of each row's free positions masked, every choice equally likely.

        The time returned is the share masked, for networks without time conditioning: a number of masks has no time.
        """
        uniforms = _uniforms(free, rng).masked_fill(~free, 2.0)
        rank = uniforms.argsort(dim=1).argsort(dim=1)
        is_masked = free & (rank < count[:, None])
        t = count.double() / free.sum(1).clamp(min=1)
        return Noised(z0.masked_fill(is_masked, self.mask), t)

    def prior(self, canvas: Canvas) -> Noised:
        """The state at t = 1: the mask at every free position, the canvas elsewhere."""
        t = torch.ones(canvas.ids.shape[0], dtype=torch.float64, device=canvas.ids.device)
        return Noised(canvas.ids.masked_fill(canvas.free, self.mask), t)

    def survival(self, t: Tensor) -> Tensor:
        """P(masked at t | masked at 1) = (1 - alpha(t)) / (1 - alpha(1)), elementwise."""
        return (1 - self.schedule.alpha(t)) / (1 - self.schedule.alpha(torch.ones_like(t)))

    def hazard(self, t: Tensor, s: Tensor) -> Tensor:
        """P(revealed by s | masked at t) = (alpha(s) - alpha(t)) / (1 - alpha(t)), elementwise, s <= t (MDLM eq. 7)."""
        return 1 - (1 - self.schedule.alpha(s)) / (1 - self.schedule.alpha(t))


def _uniforms(free: Tensor, rng: Rng) -> Tensor:
    """(B, L) float64 in [0, 1): the k-th free position of a row has its k-th number."""
    rank = (free.cumsum(1) - 1).clamp(min=0)
    return rng.uniform(free.shape[1]).to(free.device).gather(1, rank)
