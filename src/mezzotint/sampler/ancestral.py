"""Ancestral sampling of absorbing noise as published: a draw at every masked position at every grid step.

Source: Sahoo et al. 2024 (MDLM), arXiv:2406.07524, eq. 7 and §4 ("ddpm"). Kept for one reason: with float32 Gumbel
noise it reproduces the sharpened samples of older tables. Same law as `p_reveal` up to that rounding, at many times
its cost.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Grid, State
from mezzotint.sampler.masks import masked_logits, write_tokens
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised


class LegacyAncestral:
    """Gumbel-argmax over the vocabulary and the mask, in float32, with the cut that float32 uniforms bring."""

    def __init__(self, process: Absorbing, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.process = process
        self.temperature = temperature
        self.top_p = top_p

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        grid = times.to(canvas.ids.device)[:, None].expand(-1, len(canvas.ids))
        noised = self.process.prior(canvas)
        return Grid(grid[:-1], grid[1:]), State(noised, canvas.given, canvas.given.float())

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        z, t = state.noised.z, state.noised.t
        masked = cond.free & (z == self.process.mask)
        if not bool(masked.any()):
            return replace(state, noised=Noised(z, s))
        rows, positions, logits = masked_logits(denoise, state.noised, cond, masked)
        p_KV = tilt(logits, self.temperature, self.top_p)
        p_reveal = self.process.hazard(t, s)[rows, None].float()
        p_KW = torch.cat([p_KV * p_reveal, 1 - p_reveal], dim=1)
        uniforms = self._uniforms(rng, rows, positions, p_KW.shape[1]).to(z.device)
        drawn = (p_KW / (1e-10 - (uniforms + 1e-10).log())).argmax(-1)
        is_token = drawn != self.process.mask
        return write_tokens(state, (rows[is_token], positions[is_token]), drawn[is_token], p_KV[is_token], s)

    @staticmethod
    def _uniforms(rng: Rng, rows: Tensor, positions: Tensor, count: int) -> Tensor:
        """(K, width) float32 uniforms on the grid of 2^-24 that torch.rand has: the largest is what cuts the tail."""
        u = rng.at("gumbel").pairs(rows.tolist(), positions.tolist()).uniform(count)
        return ((u * 2**24).floor() * 2**-24).float()
