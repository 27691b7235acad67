"""Texts that a student writes in two steps, with the probability of each: one forward pass a state serves both.

Zheng et al. 2025 (DiDi-Instruct), arXiv:2509.25035: "intermediate-state matching", log p(x) = log P(x_tau | all masked)
+ log P(x | x_tau). Whose turn it is in the first step is decided by the process, not by the student, and has no
gradient.
Departure: the second step goes to t = 0, not 1e-3, so no mask is left.
Departure: members of a group start from the same state, which the student is asked about once for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.types import Canvas, Denoiser, Noised


@dataclass(frozen=True)
class StateLogits:
    """A state, its masked pairs, and the student's logits there."""

    noised: Noised
    canvas: Canvas
    at: tuple[Tensor, Tensor]
    """The masked pairs, (rows (K,), positions (K,))."""
    logits: Tensor
    """(K, V), with the gradient."""


@dataclass(frozen=True)
class Rollout:
    """R = B * G texts of a student."""

    canvas: Canvas
    """Their R rows: G of each row of the batch, one after another."""
    ids: Tensor
    """(R, L)"""
    log_prob: Tensor
    """(R,) nats, with the gradient: of the tokens, given in which step each is revealed."""
    first: StateLogits
    """All masked: B rows, each of which stands for its group."""
    second: StateLogits
    """The state at the split: R rows."""


def members(canvas: Canvas, group: int) -> Canvas:
    """Every row of a canvas `group` times, each with a stream of random numbers of its own."""
    rows = torch.arange(len(canvas.ids), device=canvas.ids.device).repeat_interleave(group)
    index = (canvas.index[:, None] * group + torch.arange(group)).flatten()
    return replace(canvas.rows(rows), index=index)


def streams(rng: Rng, group: int) -> Rng:
    """The random numbers of the members of groups, where each group had one stream."""
    index = [stream * group + member for stream in rng.index for member in range(group)]
    return Rng(rng.seed, index, rng.purpose, None if rng.total is None else rng.total * group)


def roll_out(denoise: Denoiser, process: Absorbing, canvas: Canvas, split: Tensor, rng: Rng) -> Rollout:
    """Texts for the rows of a canvas, R / B each, in the steps 1 -> split and split -> 0; split (R,), `rng` of R rows.

    The law is that of ancestral sampling (Sahoo et al. 2024 (MDLM), eq. 7) on those two steps.
    """
    group = len(split) // len(canvas.ids)
    rows = members(canvas, group)
    L, device = canvas.ids.shape[1], canvas.ids.device
    quantile = rng.at("token").uniform(L).to(device)
    early = rows.free & (rng.at("reveal").uniform(L).to(device) >= process.survival(split)[:, None])

    first = _state_logits(denoise, process.prior(canvas), canvas, canvas.free)
    pair = torch.zeros_like(canvas.ids).index_put(first.at, torch.arange(len(first.at[0]), device=device))
    at = early.nonzero(as_tuple=True)
    ids, log_prob = _draw(first.logits[pair[at[0] // group, at[1]]], quantile[at])
    z = process.prior(rows).z.index_put(at, ids)
    total = torch.zeros(len(split), device=device).index_add(0, at[0], log_prob)

    second = _state_logits(denoise, Noised(z, split), rows, rows.free & ~early)
    ids, log_prob = _draw(second.logits, quantile[second.at])
    total = total.index_add(0, second.at[0], log_prob)
    return Rollout(rows, z.index_put(second.at, ids), total, first, second)


def _state_logits(denoise: Denoiser, noised: Noised, canvas: Canvas, masked: Tensor) -> StateLogits:
    rows, positions = masked.nonzero(as_tuple=True)
    logits = denoise(noised, canvas, None, (rows, positions)).logits
    return StateLogits(noised, canvas, (rows, positions), logits)


def _draw(logits: Tensor, quantile: Tensor) -> tuple[Tensor, Tensor]:
    """Ids (K,) at the quantiles (K,) of the distributions, and log p of each (K,) with the gradient."""
    log_p = logits.float().log_softmax(-1)
    ids = inverse_cdf(log_p.detach().exp(), quantile)
    return ids, log_p.gather(1, ids[:, None])[:, 0]
