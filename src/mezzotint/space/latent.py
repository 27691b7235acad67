"""One vector for a whole text: its posterior, how an encoder gives it, and how a decoder is conditioned on it.

Posterior and prior: Kingma and Welling 2013, arXiv:1312.6114, §3. Latent Attention and both infusions: Tu et al. 2022
(AdaVAE), arXiv:2205.05862; pseudo self-attention: Ziegler et al. 2019, arXiv:1908.06938; memory: Li et al. 2020
(Optimus), arXiv:2004.04092. Z is the number of dimensions of the latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.net.attention import Slot
from mezzotint.rng import Rng
from mezzotint.types import Posterior

MAX_LOGVAR = 10.0
"""Log variances are clamped to this range around zero: beyond it, training can become NaN."""


Prior = Callable[[Rng], Tensor]
"""Random streams -> a point (B, Z) for each."""


def standard_normal(dimensions: int, rng: Rng) -> Tensor:
    """The prior under which texts are trained and scored."""
    return rng.normal(dimensions)


def draw(q: Posterior, rng: Rng) -> Tensor:
    """(B, Z): mean + deviation * noise, one normal number a dimension from each row's stream.

    Departure: the authors' multi-sample evaluation takes the log variance for the deviation.
    """
    noise = rng.normal(q.mean.shape[1]).to(q.mean)
    return q.mean + (0.5 * q.logvar).exp() * noise


def log_normal(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """(...,) the log density at z (..., Z) of a diagonal normal distribution."""
    density: Tensor = -0.5 * (math.log(2 * math.pi) + logvar + (z - mean) ** 2 * (-logvar).exp()).sum(-1)
    return density


def log_prior(z: Tensor) -> Tensor:
    """(B,) the log density at z (B, Z) of the prior, which is standard normal."""
    return log_normal(z, torch.zeros_like(z), torch.zeros_like(z))


@dataclass(frozen=True)
class NormalLaw:
    """A normal distribution: mean (Z,) and a factor (Z, Z) of its covariance."""

    mean: Tensor
    factor: Tensor

    def points(self, rng: Rng) -> Tensor:
        """(B, Z), one for each of the streams."""
        z: Tensor = self.mean + rng.normal(len(self.mean)).to(self.mean) @ self.factor.T
        return z


def moments(q: Posterior) -> NormalLaw:
    """The normal law with mean and covariance of the mixture of posteriors: of all normal laws, the one from which the
    mixture diverges least (Bishop 2006, "Pattern Recognition and Machine Learning", §10.7)."""
    mean = q.mean.double().mean(0)
    centred = q.mean.double() - mean
    covariance = centred.T @ centred / len(centred) + q.logvar.double().exp().mean(0).diag()
    return NormalLaw(mean.to(q.mean), torch.linalg.cholesky(covariance).to(q.mean))


def within_bounds(mean: Tensor, logvar: Tensor) -> Posterior:
    """The posterior of a network's outputs (B, Z): in float32 at least, and no variance beyond MAX_LOGVAR."""
    exact = torch.promote_types(mean.dtype, torch.float32)
    return Posterior(mean.to(exact), logvar.to(exact).clamp(-MAX_LOGVAR, MAX_LOGVAR))


class LatentAttention(nn.Module):
    """Hidden vectors (B, L, D) to one (B, D): the mean under weights softmax(relu(key of h) / sqrt(D)).

    Departure: the authors' code divides by the square root of the batch's size, so that what a text's latent is depends
    on what it is read with.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.key = nn.Linear(dim, 1)

    def forward(self, h_BLD: Tensor, real: Tensor) -> Tensor:
        scores = F.relu(self.key(h_BLD)[..., 0]) / math.sqrt(h_BLD.shape[-1])
        weights = scores.masked_fill(~real, -math.inf).softmax(-1)
        pooled: Tensor = (weights[..., None] * h_BLD).sum(1)
        return pooled


class PosteriorHead(nn.Module):
    """Hidden vectors to a posterior: Latent Attention, then a linear map each for mean and log variance."""

    def __init__(self, dim: int, latent: int) -> None:
        super().__init__()
        self.pool = LatentAttention(dim)
        self.mean = nn.Linear(dim, latent)
        self.logvar = nn.Linear(dim, latent)

    def forward(self, h_BLD: Tensor, real: Tensor) -> Posterior:
        pooled = self.pool(h_BLD, real)
        return within_bounds(self.mean(pooled), self.logvar(pooled))


class Infusion(nn.Module):
    """A latent (B, Z) to keys and values for every block.

    `pairs` gives each block a key and a value (pseudo self-attention), `memory` one vector that is both; with both,
    two positions. `projection`: the width of a shared first linear layer, or 0 for none.
    """

    def __init__(
        self, latent: int, dim: int, depth: int, heads: int, *, pairs: bool, memory: bool, projection: int = 0
    ) -> None:
        super().__init__()
        self.heads = heads
        width = projection or latent
        self.shared = nn.Linear(latent, projection, bias=False) if projection else None
        self.pairs = nn.ModuleList(nn.Linear(width, 2 * dim) for _ in range(depth)) if pairs else None
        self.memory = nn.ModuleList(nn.Linear(width, dim, bias=False) for _ in range(depth)) if memory else None

    def forward(self, z: Tensor) -> list[Slot]:
        """A slot of (B, H, 1 or 2, E) for each block.

        Departure: in the authors' code a memory takes the place of the cache, so that what was written before is not
        seen while writing; a slot is given beside the cache with every call.
        """
        z = z.to(next(self.parameters()).dtype)
        projected = z if self.shared is None else self.shared(z)
        keys_and_values = []
        if self.pairs is not None:
            keys_and_values.append([linear(projected).chunk(2, dim=-1) for linear in self.pairs])
        if self.memory is not None:
            keys_and_values.append([(linear(projected),) * 2 for linear in self.memory])
        blocks = zip(*keys_and_values, strict=True)
        return [
            (self._split_heads([k for k, _ in pairs]), self._split_heads([v for _, v in pairs])) for pairs in blocks
        ]

    def _split_heads(self, vectors: list[Tensor]) -> Tensor:
        """Vectors (B, D) stacked and split into heads: (B, H, their number, E)."""
        B, n, D = (stacked := torch.stack(vectors, dim=1)).shape
        return stacked.view(B, n, self.heads, D // self.heads).transpose(1, 2)
