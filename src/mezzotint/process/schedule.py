"""Noise schedules: how much of the data is left at time t.

For masking, alpha(t) is the probability that a token is still itself at time t: 1 at t = 0, near 0 at t = 1.
Source: Sahoo et al. 2024 (MDLM), arXiv:2406.07524, §4 and App. E.1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Schedule(ABC):
    """alpha and its derivative, both elementwise on times of any shape."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The share of the data left at t, in [0, 1], falling."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """d alpha / dt, negative."""

    def weight(self, t: Tensor) -> Tensor:
        """-alpha' / (1 - alpha): the weight of a masked token's loss in the continuous-time bound (MDLM eq. 10)."""
        return -self.slope(t) / (1 - self.alpha(t))

    def sigma(self, t: Tensor) -> Tensor:
        """-log alpha: the noise level, which MDLM feeds to its network (App. C)."""
        return -self.alpha(t).log()


class LogLinear(Schedule):
    """1 - alpha = (1 - eps) t, so that the weight is 1/t. MDLM's default, with eps = 1e-3."""

    def __init__(self, eps: float = 1e-3) -> None:
        self.eps = eps

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - (1 - self.eps) * t

    def slope(self, t: Tensor) -> Tensor:
        return torch.full_like(t, -(1 - self.eps))


class Cosine(Schedule):
    """alpha = eps + (1 - eps) cos(pi t / 2): keeps more of the text at small t than LogLinear.

    The bound does not depend on the schedule, its variance does (MDLM table 9).
    """

    eps = 1e-3

    def alpha(self, t: Tensor) -> Tensor:
        return self.eps + (1 - self.eps) * torch.cos(math.pi / 2 * t)

    def slope(self, t: Tensor) -> Tensor:
        return -(1 - self.eps) * math.pi / 2 * torch.sin(math.pi / 2 * t)
