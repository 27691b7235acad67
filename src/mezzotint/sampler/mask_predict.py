"""Mask-predict: all masks are written at once, and the least sure tokens are masked and written again. Approximate.

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
from mezzotint.sampler.masks import ask, visits, write
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised


class MaskPredict:
    """At s the share s of the free positions is masked, whatever the schedule; at most `steps` calls a row. Of equally
    sure tokens the last ones are masked.

    How sure a token is, is its probability before temperature and top-p.
    """

    def __init__(self, process: Absorbing, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.process = process
        self.temperature = temperature
        self.top_p = top_p

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        free = canvas.free.sum(1, keepdim=True).cpu()
        # Step n + 1 writes what step n left as masks; where that is nothing there is no step.
        left = (free * times[:-1] + 1e-9).long()
        slot = torch.where(left > 0, torch.arange(1, len(times)), 0)
        state = State(self.process.prior(canvas), canvas.given, canvas.given.float())
        return visits(slot, times, canvas.ids.device), state

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        z = state.noised.z
        going = (s < state.noised.t)[:, None]
        masked = cond.free & (z == self.process.mask) & going
        rows, positions, logits = ask(denoise, state.noised, cond, masked)
        quantile = rng.at("token").uniform(z.shape[1]).to(z.device)
        ids = inverse_cdf(tilt(logits, self.temperature, self.top_p), quantile[rows, positions])
        state = write(state, (rows, positions), ids, logits.softmax(-1), s)
        count = (cond.free.sum(1) * s + 1e-9).long()
        surest = state.confidence.masked_fill(~cond.free, torch.inf).argsort(dim=1, descending=True, stable=True)
        rank = surest.argsort(dim=1)
        hidden = cond.free & going & (rank >= (z.shape[1] - count)[:, None])
        return replace(
            state,
            noised=Noised(state.noised.z.masked_fill(hidden, self.process.mask), s),
            known=state.known & ~hidden,
            confidence=state.confidence.masked_fill(hidden, 0.0),
        )
