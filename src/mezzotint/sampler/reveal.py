"""The exact sampler for absorbing noise: every reveal time and every quantile is drawn before the first call.

Under absorbing noise a position's reveal time is independent of the rest and of the network. An ancestral trajectory on
any grid (Sahoo et al. 2024 (MDLM), arXiv:2406.07524, eq. 7) is therefore a function of two uniform numbers a position:
u decides when it is revealed (it is masked at t as long as u < survival(t)), v which quantile of the network's
distribution it takes. Grid steps at which a row reveals nothing cost it nothing, and logits are computed only at the
positions being revealed. The law is that of ancestral sampling on the same grid, for time-conditioned networks too, and
stays exact under temperature, nucleus or any other tilting of the token distributions. (First-hitting sampling, Zheng
et al. 2024, arXiv:2409.02908, is the limit of many steps.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.sampler.drive import Grid, State
from mezzotint.sampler.masks import masked_logits, skip_empty_steps, write_tokens
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser


@dataclass(frozen=True)
class RevealPlan:
    """All that is random in a trajectory: the time each position is revealed, and its quantile (B, L)."""

    until: Tensor
    """(B, L) float64: the grid time at which the position is revealed; -1 where there is nothing to reveal."""
    quantile: Tensor


class Reveal:
    """Exact ancestral sampling by reveal times; at most min(steps, masked positions) calls a row."""

    def __init__(self, process: Absorbing, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.process = process
        self.temperature = temperature
        self.top_p = top_p

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        device, length = canvas.ids.device, canvas.ids.shape[1]
        u = self.reveal_uniforms(canvas, rng.at("reveal"))
        survival = self.process.survival(times)
        # The first grid point whose survival is at most u; the last one is t = 0, where nothing stays masked.
        slot = torch.searchsorted(-survival, -u).clamp(1, len(times) - 1)
        slot = slot.masked_fill(~canvas.free.cpu(), 0)
        until = torch.where(slot > 0, times[slot], -1.0).to(device)
        noised = self.process.prior(canvas)
        plan = RevealPlan(until, rng.at("token").uniform(length).to(device))
        state = State(noised, canvas.given, canvas.given.float(), plan)
        return skip_empty_steps(slot, times, device), state

    def reveal_uniforms(self, canvas: Canvas, rng: Rng) -> Tensor:
        """u (B, L) float64 in [0, 1) on the CPU: a position is masked as long as u < survival(t)."""
        return rng.uniform(canvas.ids.shape[1])

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        plan = state.memory
        assert isinstance(plan, RevealPlan)
        is_due = (plan.until == s[:, None]) & (s < state.noised.t)[:, None]
        rows, positions, logits = masked_logits(denoise, state.noised, cond, is_due)
        p_KV = tilt(logits, self.temperature, self.top_p)
        ids = inverse_cdf(p_KV, plan.quantile[rows, positions])
        return write_tokens(state, (rows, positions), ids, p_KV, s)
