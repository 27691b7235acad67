"""Ancestral steps that draw several continuations and resample one of them by its reward.

Zheng et al. 2025 (DiDi-Instruct), arXiv:2509.25035, reward-guided ancestral sampling, the late steps. Every candidate
draws anew who is revealed (each masked position with probability (alpha_s - alpha_t) / (1 - alpha_t)) and what. A step
costs a row nothing only if no candidate of it reveals anything. The steps before are plain ancestral ones.
Departure: a state without masks, which no reward was learned for, is drawn and not chosen: such candidates keep their
share, and the reward chooses among the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.sampler.drive import Grid, State
from mezzotint.sampler.masks import begin_all_masked, masked_logits, write_tokens
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised

Score = Callable[[Noised, Canvas], Tensor]
"""(state, canvas) -> (B,) log-weights, up to a constant."""


class Rerank:
    """From the time `since` on, one of `candidates` continuations, those with masks in proportion to exp(score)."""

    def __init__(
        self,
        process: Absorbing,
        score: Score,
        candidates: int,
        since: float,
        temperature: float = 1.0,
        top_p: float = 1.0,
    ) -> None:
        self.process = process
        self.score = score
        self.candidates = candidates
        self.since = since
        self.temperature = temperature
        self.top_p = top_p

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        return begin_all_masked(self.process, canvas, times)

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        z, t = state.noised.z, state.noised.t
        reranks = bool((t <= self.since).all()) and bool((s > 0).all()) and self.candidates > 1
        count, L = self.candidates if reranks else 1, z.shape[1]
        masked = cond.free & (z == self.process.mask)
        hazard = torch.where(s > 0, self.process.hazard(t, s), 1.0)
        u = _candidate_uniforms(rng.at("move"), count, L).to(z.device)
        revealed = masked[:, None] & (u < hazard[:, None, None])  # (B, M, L)
        if not bool(revealed.any()):
            return replace(state, noised=Noised(z, s))
        rows, positions, logits = masked_logits(denoise, state.noised, cond, revealed.any(1))
        p_KV = tilt(logits, self.temperature, self.top_p)
        quantile = _candidate_uniforms(rng.at("token"), count, L).to(z.device)
        ids_MK = torch.stack([inverse_cdf(p_KV, quantile[rows, m, positions]) for m in range(count)])
        is_complete = ~(masked[:, None] & ~revealed).any(2)
        best = (
            self._choose(z, revealed, is_complete, (rows, positions), ids_MK, s, cond, rng)
            if reranks
            else torch.zeros_like(z[:, 0])
        )
        is_written = revealed[rows, best[rows], positions]
        ids = ids_MK[best[rows], torch.arange(len(rows), device=z.device)]
        return write_tokens(state, (rows[is_written], positions[is_written]), ids[is_written], p_KV[is_written], s)

    def _choose(
        self,
        z: Tensor,
        revealed: Tensor,
        is_complete: Tensor,
        at: tuple[Tensor, Tensor],
        ids_MK: Tensor,
        s: Tensor,
        cond: Canvas,
        rng: Rng,
    ) -> Tensor:
        """(B,) the candidate that each row goes on with; rows that reveal nothing in any are not scored."""
        rows = revealed.any(2).any(1).nonzero()[:, 0]
        scores = []
        for m, ids in enumerate(ids_MK):
            is_revealed = revealed[at[0], m, at[1]]
            candidate = z.index_put((at[0][is_revealed], at[1][is_revealed]), ids[is_revealed])
            scores.append(self.score(Noised(candidate[rows], s[rows]), cond.rows(rows)))
        log_weights, is_unmasked = torch.stack(scores, dim=1).double(), is_complete[rows]
        p_masked = (~is_unmasked).double().mean(1, keepdim=True)
        weights = log_weights.masked_fill(is_unmasked, -inf).softmax(-1) * p_masked
        weights = torch.where(is_unmasked, 1 / self.candidates, weights)
        u = rng.at("choice").uniform().to(z.device)
        return torch.zeros_like(z[:, 0]).index_put((rows,), inverse_cdf(weights, u[rows]))


def _candidate_uniforms(rng: Rng, count: int, length: int) -> Tensor:
    """(B, count, length) float64 in [0, 1): a candidate's numbers do not depend on the canvas's width."""
    return torch.stack([rng.at(m).uniform(length) for m in range(count)], dim=1)
