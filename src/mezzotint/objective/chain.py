"""The bound on -log p of a discrete chain of Gaussian steps, down to the tokens.

Sources: Ho et al. 2020 (DDPM), arXiv:2006.11239, eq. 5; Kingma et al. 2021 (VDM), arXiv:2107.00630, eq. 13: where both
sides of a step have the posterior's variance, its KL is half the gain in signal-to-noise times the squared error.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.objective.context_free import context_free_losses
from mezzotint.objective.regression import squared_error
from mezzotint.objective.rounding import row_nll
from mezzotint.process.gaussian import Gaussian
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Denoiser

POINTS = 16
"""Times at which the weight of a step is measured."""


def chain_bound(
    denoise: Denoiser,
    process: Gaussian,
    vectors_VD: Tensor,
    batch: Canvas,
    steps: int,
    rng: Rng,
    readout: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """(B,) float64 nats: one draw of the bound for the free tokens of each row, under a chain of `steps` equal steps.

    KL(q(z_1) || prior) + sum over i of KL(q(z_{i-1} | z_i, e) || p(z_{i-1} | z_i)) - log p(w | z at the chain's end),
    where e is the token's vector and one i is drawn for the sum, stratified over the global batch. The chain ends one
    step before t = 0, where the denoiser names the tokens; if `readout` gives logits (B, L, V) of states (B, L, D), it
    ends at t = 0 and that does: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §4.1, whose z_0 has noise of its own.
    """
    e = F.embedding(batch.ids, vectors_VD)
    u = rng.at("time").stratified()
    times = torch.arange(1 if readout is None else 0, steps + 1, dtype=torch.float64) / steps
    ratios = process.signal_to_noise(times)
    gains = -ratios.diff()
    p = _step_probabilities(process, vectors_VD.detach(), times, gains)
    i = torch.searchsorted(p.cumsum(0), u, right=True).clamp(max=len(p) - 1)
    weight, t = ((gains / p)[i] / 2).to(e.device), times[i + 1].to(e.device)
    noised = process.corrupt(e, t, batch.free, rng.at("noise"))
    estimate = denoise(noised, batch).estimate
    assert estimate is not None
    error = squared_error(estimate, e, batch.free).double() * e.shape[-1]
    end = process.corrupt(e, torch.full_like(t, float(times[0])), batch.free, rng.at("start"))
    logits = denoise(end, batch).logits if readout is None else readout(end.z)
    return weight * error + row_nll(logits, batch.ids, batch.free).double() + _prior(process, e, batch)


def _step_probabilities(process: Gaussian, vectors_VD: Tensor, times: Tensor, gains: Tensor) -> Tensor:
    """(N,) of drawing each step: half by what it would weigh if the numbers of the vectors were normal draws, half by
    what it weighs for a denoiser without context. Uniform draws hardly ever meet the few steps that weigh thousands of
    times what others do; the first half alone spends most where the loss is next to nothing."""
    size = float((vectors_VD**2).mean())
    normal = -torch.log1p(size * process.signal_to_noise(times)).diff()
    points = torch.linspace(1, len(times) - 1, min(POINTS, len(times) - 1)).long()
    _, errors = context_free_losses(process, vectors_VD, times[points])
    errors = F.interpolate(errors[None, None].double().cpu(), size=len(gains), mode="linear", align_corners=True)[0, 0]
    context_free = gains * errors
    return (normal / normal.sum() + context_free / context_free.sum()) / 2


def _prior(process: Gaussian, z0: Tensor, batch: Canvas) -> Tensor:
    """KL(N(alpha z_0, sigma^2) || prior) at t = 1, summed over free positions; next to nothing."""
    alpha, sigma = (float(v) / process.factor for v in process.alpha_sigma(torch.ones(1)))
    per_number = (sigma**2 - 1) / 2 - torch.tensor(sigma, dtype=torch.float64).log()
    numbers = (alpha**2 / 2 * z0.double() ** 2 + per_number).sum(-1)
    return (numbers * batch.free).sum(1)
