"""Ancestral steps that draw several continuations and go on with one of them, by its reward.

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
from mezzotint.sampler.masks import ask, together, write
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised

Score = Callable[[Noised, Canvas], Tensor]
"""(B,): log-weights of states; constants are of no account."""


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
        return together(self.process, canvas, times)

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        z, t = state.noised.z, state.noised.t
        chosen = bool((t <= self.since).all()) and bool((s > 0).all()) and self.candidates > 1
        count, L = self.candidates if chosen else 1, z.shape[1]
        masked = cond.free & (z == self.process.mask)
        hazard = torch.where(s > 0, self.process.hazard(t, s), 1.0)
        u = _numbers(rng.at("move"), count, L).to(z.device)
        shown = masked[:, None] & (u < hazard[:, None, None])  # (B, M, L)
        if not bool(shown.any()):
            return replace(state, noised=Noised(z, s))
        rows, positions, logits = ask(denoise, state.noised, cond, shown.any(1))
        p_KV = tilt(logits, self.temperature, self.top_p)
        quantile = _numbers(rng.at("token"), count, L).to(z.device)
        ids_MK = torch.stack([inverse_cdf(p_KV, quantile[rows, m, positions]) for m in range(count)])
        ended = ~(masked[:, None] & ~shown).any(2)
        best = (
            self._chosen(z, shown, ended, (rows, positions), ids_MK, s, cond, rng)
            if chosen
            else torch.zeros_like(z[:, 0])
        )
        kept = shown[rows, best[rows], positions]
        drawn = ids_MK[best[rows], torch.arange(len(rows), device=z.device)]
        return write(state, (rows[kept], positions[kept]), drawn[kept], p_KV[kept], s)

    def _chosen(
        self,
        z: Tensor,
        shown: Tensor,
        ended: Tensor,
        at: tuple[Tensor, Tensor],
        ids_MK: Tensor,
        s: Tensor,
        cond: Canvas,
        rng: Rng,
    ) -> Tensor:
        """(B,) which candidate each row goes on with; rows that reveal nothing in any are not scored."""
        rows = shown.any(2).any(1).nonzero()[:, 0]
        scores = []
        for m, ids in enumerate(ids_MK):
            there = shown[at[0], m, at[1]]
            candidate = z.index_put((at[0][there], at[1][there]), ids[there])
            scores.append(self.score(Noised(candidate[rows], s[rows]), cond.rows(rows)))
        scored, without = torch.stack(scores, dim=1).double(), ended[rows]
        share = (~without).double().mean(1, keepdim=True)
        weights = scored.masked_fill(without, -inf).softmax(-1) * share
        weights = torch.where(without, 1 / self.candidates, weights)
        u = rng.at("choice").uniform().to(z.device)
        return torch.zeros_like(z[:, 0]).index_put((rows,), inverse_cdf(weights, u[rows]))


def _numbers(rng: Rng, count: int, length: int) -> Tensor:
    """(B, count, length) float64 in [0, 1): a candidate's numbers do not hang on how wide the canvas is."""
    return torch.stack([rng.at(m).uniform(length) for m in range(count)], dim=1)
