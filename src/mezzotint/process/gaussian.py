"""Gaussian noise on vectors: z_t = alpha(t) z_0 + sigma(t) eps, variance preserving (alpha^2 + sigma^2 = 1).

Sources: Ho et al. 2020 (DDPM), arXiv:2006.11239, §2; Kingma et al. 2021 (VDM), arXiv:2107.00630, §2 and App. A for
times that are not neighbours. The papers' discrete t of T is our t / T; their abar is our alpha^2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mezzotint.rng import Rng
from mezzotint.types import Canvas, Noised

MIN_SHARE = 1e-8
"""The smallest alpha^2. Departure: the published chains cap their last beta at 0.999 instead, which leaves about this
much (2e-9 of SED's cosine)."""
MAX_BETA = 0.999
"""The greatest variance of a step in the published chains."""

MIN_EVIDENCE = -50.0
"""Evidence below the best by more than 50 nats counts as that much. Odds any smaller are denormal numbers somewhere on
their way back, with which a processor multiplies five times as slowly."""


class Variance(ABC):
    """The share of the data's variance left at a time: abar of the papers."""

    @abstractmethod
    def share(self, t: Tensor) -> Tensor:
        """alpha^2 at times t in (0, 1], before it is clamped to [MIN_SHARE, 1]."""


class CosineVariance(Variance):
    """cos^2((t + s) / (1 + s) pi/2), with s such that the first of `steps` steps adds the variance `beta1`.

    Nichol and Dhariwal 2021, arXiv:2102.09672, eq. 17, without its division by the value at t = 0, which no s could
    reconcile with SED's beta_1 = 2e-3 (Strudel et al. 2022, arXiv:2211.04236, §3; s = 0.02829 at 1,000 steps).
    """

    def __init__(self, beta1: float = 2e-3, steps: int = 1000) -> None:
        angle = math.asin(math.sqrt(beta1)) / (math.pi / 2)
        self.offset = (angle - 1 / steps) / (1 - angle)

    def share(self, t: Tensor) -> Tensor:
        return torch.cos((t + self.offset) / (1 + self.offset) * math.pi / 2) ** 2


class FlooredCosineVariance(Variance):
    """The usual cosine chain with every step's variance at least `beta1`: the other reading of SED's §3.

    A chain of `steps` steps; between them log alpha^2 is linear in t.
    """

    def __init__(self, beta1: float = 2e-3, steps: int = 1000) -> None:
        t = torch.arange(steps + 1, dtype=torch.float64) / steps
        offset = 0.008  # Nichol and Dhariwal 2021
        share = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
        beta = (1 - share[1:] / share[:-1]).clamp(beta1, MAX_BETA)
        self.log_share = torch.cat([torch.zeros(1, dtype=torch.float64), (1 - beta).log().cumsum(0)])

    def share(self, t: Tensor) -> Tensor:
        table = self.log_share.to(t.device)
        position = t.double() * (len(table) - 1)
        low = position.floor().long().clamp(0, len(table) - 2)
        return torch.lerp(table[low], table[low + 1], position - low).exp().to(t.dtype)


class SqrtVariance(Variance):
    """(1 - sqrt(t + s)) / (1 - sqrt(s)): Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, App. A, as its code has it.

    The paper's formula has no denominator: it begins at variance sqrt(s) instead of 0. The last of `steps` steps would
    end below zero; it adds the variance MAX_BETA instead.
    """

    offset = 1e-4
    """s of the formula."""

    def __init__(self, steps: int = 2000) -> None:
        self.least = (1 - MAX_BETA) * float(self._formula(torch.tensor(1 - 1 / steps, dtype=torch.float64)))

    def share(self, t: Tensor) -> Tensor:
        return self._formula(t).clamp(min=self.least)

    def _formula(self, t: Tensor) -> Tensor:
        return (1 - (t + self.offset).sqrt()) / (1 - math.sqrt(self.offset))


class RescaledVariance(Variance):
    """Another schedule with 1/factor^2 of its signal-to-noise ratio: abar / (factor^2 - (factor^2 - 1) abar).

    Gao et al. 2022 (Difformer), arXiv:2212.09412: the variance-preserving form of noise times a factor. Vectors of many
    dimensions stay nearest to themselves until little signal is left: with a factor, fewer times are spent where every
    token can still be read off its own vector.
    Departure: the released code rescales the curve before it is divided by its value at 0, which moves the ratio; and
    it then multiplies the noise as well.
    """

    def __init__(self, variance: Variance, factor: float) -> None:
        self.variance = variance
        self.factor = factor

    def share(self, t: Tensor) -> Tensor:
        share, square = self.variance.share(t).clamp(MIN_SHARE, 1.0), self.factor**2
        return share / (square - (square - 1) * share)


class Gaussian:
    """The process. Times (B,) act on states (B, L, D).

    `factor` multiplies all noise, that of the prior too (Difformer's noise factor): the variance is no longer kept.
    With `sigma0` it is the process of a token's vector behind a z_0 that has noise of this deviation already.
    """

    def __init__(self, variance: Variance, factor: float = 1.0, sigma0: float = 0.0) -> None:
        self.variance = variance
        self.factor = factor
        self.sigma0 = sigma0

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma at times t of any shape; exactly 1 and sigma0 at t = 0. Sigma has the factor in it."""
        share = self.variance.share(t.double()).clamp(MIN_SHARE, 1.0)
        share = torch.where(t > 0, share, torch.ones_like(share))
        return share.sqrt(), (self.factor**2 * (1 - share) + self.sigma0**2 * share).sqrt()

    def blur(self, steps: int) -> float:
        """The deviation after the first of `steps` steps, which Diffusion-LM gives its z_0 too (code)."""
        return float(self.alpha_sigma(torch.tensor(1 / steps, dtype=torch.float64))[1])

    def centre(self, noised: Noised, z0: Tensor) -> Tensor:
        """E[e | z_t] from E[z_0 | z_t] (B, L, D), where z_0 = e + sigma0 eps, less the noise of z_0 that z_t shows."""
        alpha, sigma = self.wide(noised.t, z0)
        gain = alpha * self.sigma0**2 / sigma**2
        return (z0 - gain * noised.z) / (1 - alpha * gain)

    def signal_to_noise(self, t: Tensor) -> Tensor:
        """alpha^2 / sigma^2 at times t > 0."""
        alpha, sigma = self.alpha_sigma(t)
        return (alpha / sigma) ** 2

    def corrupt(self, z0: Tensor, t: Tensor, free: Tensor, rng: Rng) -> Noised:
        """z0 (B, L, D) at time t (B,) where free (B, L), untouched elsewhere."""
        alpha, sigma = self.wide(t, z0)
        noise = rng.normal(*z0.shape[1:]).to(z0)
        return Noised(torch.where(free[..., None], alpha * z0 + sigma * noise, z0), t)

    def prior(self, canvas: Canvas, z0: Tensor, rng: Rng) -> Noised:
        """The state at t = 1: normal of deviation `factor` at every free position, z0 (B, L, D) elsewhere."""
        noise = self.factor * rng.normal(*z0.shape[1:]).to(z0)
        t = torch.ones(len(z0), dtype=torch.float64, device=z0.device)
        return Noised(torch.where(canvas.free[..., None], noise, z0), t)

    def posterior(self, noised: Noised, z0: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, L, D) and deviation (B, 1, 1) of q(z_s | z_t, z_0) for s < t (VDM, eq. 32-33; DDPM eq. 6-7)."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = self.wide(noised.t, z0), self.wide(s, z0)
        alpha_ts = alpha_t / alpha_s
        added = sigma_t**2 - alpha_ts**2 * sigma_s**2
        mean = (alpha_ts * sigma_s**2 * noised.z + alpha_s * added * z0) / sigma_t**2
        return mean, added.clamp(min=0).sqrt() * sigma_s / sigma_t

    def evidence(self, noised: Noised, vectors_VD: Tensor) -> Tensor:
        """(B, L, V): log N(z_t; alpha e, sigma^2) of every vector e of the table, less the greatest of its position.

        At least MIN_EVIDENCE. In full also where networks are cast: divided by a small sigma^2, lost digits are nats.
        """
        alpha, sigma = self.wide(noised.t, noised.z)
        with torch.autocast(noised.z.device.type, enabled=False):
            products = noised.z @ vectors_VD.mT
        density = (alpha * products - alpha**2 / 2 * (vectors_VD**2).sum(-1)) / sigma**2
        return (density - density.amax(-1, keepdim=True)).clamp(min=MIN_EVIDENCE)

    def wide(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and sigma of times (B,) as (B, 1, 1), of the type and device of `like`."""
        alpha, sigma = self.alpha_sigma(t)
        return alpha[:, None, None].to(like), sigma[:, None, None].to(like)
