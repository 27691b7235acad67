"""ReMDM: written tokens can return to the mask and be written again. Another process with the same marginals.

Wang et al. 2025, "Remasking Discrete Diffusion Models with Inference-Time Scaling", arXiv:2503.00307, §3 and §4.1. A
written token is masked with probability sigma, a masked one is written with probability
(alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t). Whatever sigma, the marginals at s stay those of masking: with an exact
denoiser the law is the data's, but for what writing several tokens in one call loses, as in ancestral sampling. With a
learned one it is another law than that of ancestral sampling. sigma = 0 is ancestral sampling itself.
Departure: alpha is the probability of being written given the mask at t = 1, so marginals are exact from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.sampler.drive import Grid, State
from mezzotint.sampler.masks import begin_all_masked, masked_logits, write_tokens
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised

Sigma = Callable[[Tensor], Tensor]
"""The greatest sigma that a step allows -> the sigma to be used, both (B,)."""


def capped(strength: float) -> Sigma:
    """min(strength, greatest): ReMDM-cap (§4.1)."""
    return lambda greatest: greatest.clamp(max=strength)


def rescaled(strength: float) -> Sigma:
    """strength times greatest: ReMDM-rescale (§4.1)."""
    return lambda greatest: greatest * strength


class Remask:
    """Remasking along the grid of times; at most `steps` calls a row, and none where nothing is written."""

    def __init__(self, process: Absorbing, sigma: Sigma, temperature: float = 1.0, top_p: float = 1.0) -> None:
        self.process = process
        self.sigma = sigma
        self.temperature = temperature
        self.top_p = top_p

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        return begin_all_masked(self.process, canvas, times)

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        z, t = state.noised.z, state.noised.t
        p_hide, p_show = self._chances(t, s)
        masked = cond.free & (z == self.process.mask)
        u = rng.at("move").uniform(z.shape[1]).to(z.device)
        is_written = masked & (u < p_show[:, None])
        is_hidden = cond.free & ~masked & (u < p_hide[:, None])
        if bool(is_written.any()):
            rows, positions, logits = masked_logits(denoise, state.noised, cond, is_written)
            p_KV = tilt(logits, self.temperature, self.top_p)
            quantile = rng.at("token").uniform(z.shape[1]).to(z.device)
            ids = inverse_cdf(p_KV, quantile[rows, positions])
            state = write_tokens(state, (rows, positions), ids, p_KV, s)
        z, confidence = state.noised.z, state.confidence
        return replace(
            state,
            noised=Noised(z.masked_fill(is_hidden, self.process.mask), s),
            known=state.known & ~is_hidden,
            confidence=confidence.masked_fill(is_hidden, 0.0),
        )

    def _chances(self, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) each: the probability of a written token to be masked, and of a masked one to be written."""
        kept_t, kept_s = 1 - self.process.survival(t), 1 - self.process.survival(s)
        greatest = ((1 - kept_s) / kept_t.clamp(min=torch.finfo(kept_t.dtype).tiny)).clamp(max=1.0)
        p_hide = self.sigma(greatest)
        p_show = (kept_s - (1 - p_hide) * kept_t) / (1 - kept_t)
        # Nothing stays masked at t = 0, however the fraction rounds.
        return p_hide, torch.where(s == 0, 1.0, p_show)
