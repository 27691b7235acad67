"""The bound on -log p of masked diffusion, in two forms with the same expectation.

Source: Sahoo et al. 2024 (MDLM), arXiv:2406.07524, §3.3-3.4, eq. 10: with the two SUBS substitutions only masked
positions count, and L = E_t E_z [ -alpha'/(1-alpha) * sum over masked of -log p(x | z_t) ].

The integral over t of a binomial number of masks gives every number n of masks from 1 to N the same weight 1/N, so the
same bound is E_{n uniform on 1..N} [ N/n * sum over masked of -log p ]: an average over random orders of writing (Ou
et al. 2024, arXiv:2406.03736, §3). Its variance is lower, and it has no cut at small t.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.objective.length import LengthCost
from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Denoiser, Noised

EARLIEST = 1e-3
"""The smallest time in training, as in MDLM's code: below it the weight 1/t is large and a mask is rare."""


def timed_bound(denoise: Denoiser, process: Absorbing, batch: Canvas, rng: Rng) -> Tensor:
    """(B,) nats: one draw of the continuous-time bound for each row, times stratified over the global batch."""
    u = rng.at("time").stratified().to(batch.ids.device)
    t = EARLIEST + (1 - EARLIEST) * u
    noised = process.corrupt(batch.ids, t, batch.free, rng.at("mask"))
    return process.schedule.weight(t).float() * _masked_nll(denoise, process, noised, batch)


def counted_bound(denoise: Denoiser, process: Absorbing, batch: Canvas, rng: Rng) -> Tensor:
    """(B,) nats: one draw of the any-order form for each row, numbers of masks stratified over the global batch."""
    nll, count = counted_nll(denoise, process, batch, rng)
    return (batch.free.sum(1).clamp(min=1) / count).float() * nll


def counted_nll(
    denoise: Denoiser, process: Absorbing, batch: Canvas, rng: Rng, smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """(B,) nats of the masked tokens of each row, and (B,) how many are masked: 1 to all of them, equally likely,
    stratified over the global batch.

    Not weighted by their number this is the loss of Ghazvininejad et al. 2019 (CMLM), arXiv:1904.09324, §3.1.
    `smoothing` mixes that share of the mean over all ids into it.
    """
    free = batch.free.sum(1).clamp(min=1)
    u = rng.at("time").stratified().to(batch.ids.device)
    count = (u * free).long().clamp(max=free - 1) + 1
    noised = process.corrupt_count(batch.ids, count, batch.free, rng.at("mask"))
    return _masked_nll(denoise, process, noised, batch, smoothing), count


def _masked_nll(denoise: Denoiser, process: Absorbing, noised: Noised, batch: Canvas, smoothing: float = 0.0) -> Tensor:
    rows, positions = ((noised.z == process.mask) & batch.free).nonzero(as_tuple=True)
    logits = denoise(noised, batch, None, (rows, positions)).logits
    nll = F.cross_entropy(logits, batch.ids[rows, positions], reduction="none", label_smoothing=smoothing)
    return torch.zeros(len(batch.ids), dtype=nll.dtype, device=nll.device).index_add(0, rows, nll)


def text_bound(
    denoise: Denoiser, process: Absorbing, length: LengthCost, timed: bool, batch: Canvas, rng: Rng
) -> Tensor:
    """(B,) float64 nats: one draw of the bound on each text, the cost of its length included.

    `timed` is for networks with a time condition; the others have the form of lower variance.
    """
    bound = timed_bound if timed else counted_bound
    return bound(denoise, process, batch, rng).double() + length(batch.real).double()


def complement(canvas: Canvas, process: Absorbing) -> Canvas:
    """The canvas whose bound is that on the given tokens: they are free, and what was free is masked at all times."""
    return replace(canvas, ids=canvas.ids.masked_fill(canvas.free, process.mask), given=canvas.free)
