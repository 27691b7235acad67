"""The bound on -log p of a discrete chain of Gaussian steps, down to the tokens.

Sources: Ho et al. 2020 (DDPM), arXiv:2006.11239, eq. 5; Kingma et al. 2021 (VDM), arXiv:2107.00630, eq. 13: where both
sides of a step have the posterior's variance, its KL is half the gain in signal-to-noise times the squared error.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.objective.regression import squared_error
from mezzotint.objective.rounding import token_nll
from mezzotint.process.gaussian import Gaussian
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Denoiser


def chain_bound(
    denoise: Denoiser, process: Gaussian, vectors_VD: Tensor, batch: Canvas, steps: int, rng: Rng
) -> Tensor:
    """(B,) float64 nats: one draw of the bound for the free tokens of each row, under a chain of `steps` equal steps.

    KL(q(z_1) || prior) + sum over i = 2..steps of KL(q(z_{i-1} | z_i, z_0) || p(z_{i-1} | z_i)) - log p(w | z at the
    first step), where z_0 is the vector itself and one i is drawn for the sum, stratified over the global batch.
    """
    z0 = F.embedding(batch.ids, vectors_VD)
    i = 2 + (rng.at("time").stratified() * (steps - 1)).long().clamp(max=steps - 2)
    t, s = ((place / steps).to(z0.device) for place in (i.double(), i.double() - 1))
    noised = process.corrupt(z0, t, batch.free, rng.at("noise"))
    estimate = denoise(noised, batch).estimate
    assert estimate is not None
    gain = process.signal_to_noise(s) - process.signal_to_noise(t)
    error = squared_error(estimate, z0, batch.free).double() * z0.shape[-1]
    start = process.corrupt(z0, torch.full_like(t, 1 / steps), batch.free, rng.at("start"))
    read = token_nll(denoise(start, batch).logits, batch.ids, batch.free).double()
    return (steps - 1) * gain / 2 * error + read + _prior(process, z0, batch)


def _prior(process: Gaussian, z0: Tensor, batch: Canvas) -> Tensor:
    """KL(N(alpha z_0, sigma^2) || prior) at t = 1, summed over free positions; next to nothing."""
    alpha, sigma = (float(v) / process.factor for v in process.alpha_sigma(torch.ones(1)))
    per_number = (sigma**2 - 1) / 2 - torch.tensor(sigma, dtype=torch.float64).log()
    numbers = (alpha**2 / 2 * z0.double() ** 2 + per_number).sum(-1)
    return (numbers * batch.free).sum(1)
