"""Time conditioning: sinusoids, a small network, and scales and shifts of the norms (adaLN).

Source: Peebles and Xie 2022 (DiT), arXiv:2212.09748, §3.2, in the form of the MDLM network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 256


def sinusoids(value: Tensor, width: int) -> Tensor:
    """(B, width) float32 from (B,): cosines, then sines, of frequencies from 1 down to 1/10000."""
    half = width // 2
    k = torch.arange(half, dtype=torch.float32, device=value.device)
    angle = value.float()[:, None] * torch.exp(-math.log(10000) * k / half)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """sigma (B,) to a condition (B, C). The noise level sigma = -log alpha is what MDLM feeds, not t."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(FEATURES, width)
        self.down = nn.Linear(width, width)

    def forward(self, sigma: Tensor) -> Tensor:
        features = sinusoids(sigma, FEATURES).to(self.up.weight.dtype)
        return F.silu(self.down(F.silu(self.up(features))))


class Modulation(nn.Linear):
    """A condition (B, C) to `count` vectors (B, 1, D) each; zero at first, so that training begins unconditioned."""

    def __init__(self, width: int, dim: int, count: int) -> None:
        super().__init__(width, count * dim)
        self.count = count
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def vectors(self, condition: Tensor) -> tuple[Tensor, ...]:
        return super().forward(condition)[:, None].chunk(self.count, dim=-1)
