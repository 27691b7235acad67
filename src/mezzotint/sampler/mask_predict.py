"""Mask-predict: all masks are written, and the least confident tokens masked and written again. Approximate.

Source: Ghazvininejad et al. 2019, arXiv:1904.09324, §3.2. After step n of N the share (N - n) / N of the tokens, those
written with the least probability, become masks again; a token that stays keeps the probability with which it was
written. There each token is the likeliest one, as it is here at temperature 0.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.sampler.drive import Grid, State
from mezzotint.sampler.masks import masked_logits, skip_empty_steps, write_tokens
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised


class MaskPredict:
    """At s the share s of the free positions is masked, whatever the schedule; at most `steps` calls a row. Of
    equally confident tokens the last ones are masked.

    The confidence of a token is its probability before temperature and top-p.
    """

    def __init__(self, process: Absorbing, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.process = process
        self.temperature = temperature
        self.top_p = top_p

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        num_free = canvas.free.sum(1, keepdim=True).cpu()
        # Step n + 1 writes what step n left as masks; where that is nothing there is no step.
        num_masks = (num_free * times[:-1] + 1e-9).long()
        slot = torch.where(num_masks > 0, torch.arange(1, len(times)), 0)
        state = State(self.process.prior(canvas), canvas.given, canvas.given.float())
        return skip_empty_steps(slot, times, canvas.ids.device), state

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        z = state.noised.z
        is_moving = (s < state.noised.t)[:, None]
        masked = cond.free & (z == self.process.mask) & is_moving
        rows, positions, logits = masked_logits(denoise, state.noised, cond, masked)
        uniforms = rng.at("token").uniform(z.shape[1]).to(z.device)
        ids = inverse_cdf(tilt(logits, self.temperature, self.top_p), uniforms[rows, positions])
        state = write_tokens(state, (rows, positions), ids, logits.softmax(-1), s)
        num_masks = (cond.free.sum(1) * s + 1e-9).long()
        order = state.confidence.masked_fill(~cond.free, torch.inf).argsort(dim=1, descending=True, stable=True)
        rank = order.argsort(dim=1)
        is_remasked = cond.free & is_moving & (rank >= (z.shape[1] - num_masks)[:, None])
        return replace(
            state,
            noised=Noised(state.noised.z.masked_fill(is_remasked, self.process.mask), s),
            known=state.known & ~is_remasked,
            confidence=state.confidence.masked_fill(is_remasked, 0.0),
        )
