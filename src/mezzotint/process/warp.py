"""Times drawn where the loss falls: a learned clock.

Source: Dieleman et al. 2022 (CDCD), arXiv:2211.15089, §3.3 "time warping": a monotone F(t) is fitted to the loss at t,
and times are drawn so that the loss expected of them is uniform.

Departure: F is parted evenly in t, not at places of its own; a share FLOOR of the times stays uniform, so that no time
is ever forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

BINS = 32
FLOOR = 0.1
LEAST = 1e-4
"""Of F(1): the least that F climbs in a part when it is filled."""


class Warp(nn.Module):
    """F(t), linear within each of `BINS` equal parts of (0, 1], with F(0) = 0; at first a straight line to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.tenth = nn.Parameter(torch.full((BINS,), -math.log(BINS) / 10))

    @torch.no_grad()
    def fill(self, level: Callable[[Tensor], Tensor]) -> None:
        """Make F what a function of times (BINS,) above 0 says, where that rises."""
        heights = level(torch.arange(1, BINS + 1, dtype=torch.float64) / BINS)
        climbs = heights.diff(prepend=heights.new_zeros(1)).clamp(min=LEAST * float(heights[-1]))
        self.tenth.copy_(climbs.log() / 10)

    @property
    def climbs(self) -> Tensor:
        """(BINS,) float64: how far F climbs in each part. A tenth of the logarithms is stored: they have far to go."""
        return (10 * self.tenth.double()).exp()

    def forward(self, t: Tensor) -> Tensor:
        """F at times t of any shape, float64."""
        return _interpolated(self.climbs, t.double())

    @torch.no_grad()
    def times(self, u: Tensor) -> Tensor:
        """Times (N,) in [0, 1] of uniform numbers u (N,), float64; 0 and 1 stay what they are."""
        return _inverted(self._density / BINS, u.to(self.tenth.device).double())

    def misfit(self, t: Tensor, loss: Tensor) -> Tensor:
        """(B,): squared distance of F from the losses (B,) at times (B,) that `times` gave, weighed so that every time
        counts alike."""
        drawn = self._density[_part(t.double())]
        misfit: Tensor = (self(t) - loss.detach()) ** 2 / drawn
        return misfit

    @property
    def _density(self) -> Tensor:
        """(BINS,) of mean 1: that of the times."""
        climbs = self.climbs.detach()
        return (1 - FLOOR) * climbs / climbs.mean() + FLOOR


def _part(t: Tensor) -> Tensor:
    return (t * BINS).long().clamp(0, BINS - 1)


def _interpolated(climbs: Tensor, t: Tensor) -> Tensor:
    part = _part(t)
    return (climbs.cumsum(0) - climbs)[part] + climbs[part] * (t * BINS - part)


def _inverted(climbs: Tensor, height: Tensor) -> Tensor:
    """Where a line that climbs so to 1 is as high as this."""
    reached = climbs.cumsum(0)
    part = torch.searchsorted(reached, height).clamp(max=BINS - 1)
    inside = (height - (reached - climbs)[part]) / climbs[part]
    return ((part + inside) / BINS).clamp(0.0, 1.0)
