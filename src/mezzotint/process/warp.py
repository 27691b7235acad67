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
MIN_CLIMB = 1e-4
"""The least climb of F in a bin when it is filled, as a share of F(1)."""


class Warp(nn.Module):
    """F(t), linear within each of `BINS` equal bins of (0, 1], with F(0) = 0; at first a straight line to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.tenth = nn.Parameter(torch.full((BINS,), -math.log(BINS) / 10))

    @torch.no_grad()
    def fill(self, level: Callable[[Tensor], Tensor]) -> None:
        """Fit F to a function of times (BINS,) above 0, where that rises."""
        heights = level(torch.arange(1, BINS + 1, dtype=torch.float64) / BINS)
        climbs = heights.diff(prepend=heights.new_zeros(1)).clamp(min=MIN_CLIMB * float(heights[-1]))
        self.tenth.copy_(climbs.log() / 10)

    @property
    def climbs(self) -> Tensor:
        """(BINS,) float64: the climb of F in each bin. A tenth of the logarithms is stored: they have far to go."""
        return (10 * self.tenth.double()).exp()

    def forward(self, t: Tensor) -> Tensor:
        """F at times t of any shape, float64."""
        return _interpolate(self.climbs, t.double())

    @torch.no_grad()
    def times(self, u: Tensor) -> Tensor:
        """Times (N,) in [0, 1] of uniform numbers u (N,), float64; 0 and 1 stay what they are."""
        return _invert(self._density / BINS, u.to(self.tenth.device).double())

    def misfit(self, t: Tensor, loss: Tensor) -> Tensor:
        """(B,): squared distance of F from the losses (B,) at times (B,) that `times` gave, weighted so that every time
        counts alike."""
        density = self._density[_bin(t.double())]
        misfit: Tensor = (self(t) - loss.detach()) ** 2 / density
        return misfit

    @property
    def _density(self) -> Tensor:
        """(BINS,) the density of the times drawn, of mean 1."""
        climbs = self.climbs.detach()
        return (1 - FLOOR) * climbs / climbs.mean() + FLOOR


def _bin(t: Tensor) -> Tensor:
    return (t * BINS).long().clamp(0, BINS - 1)


def _interpolate(climbs: Tensor, t: Tensor) -> Tensor:
    bin_index = _bin(t)
    return (climbs.cumsum(0) - climbs)[bin_index] + climbs[bin_index] * (t * BINS - bin_index)


def _invert(climbs: Tensor, height: Tensor) -> Tensor:
    """The inverse of `_interpolate` for climbs that sum to 1."""
    cumulative = climbs.cumsum(0)
    bin_index = torch.searchsorted(cumulative, height).clamp(max=BINS - 1)
    offset = (height - (cumulative - climbs)[bin_index]) / climbs[bin_index]
    return ((bin_index + offset) / BINS).clamp(0.0, 1.0)
