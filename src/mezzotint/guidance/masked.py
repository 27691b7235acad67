"""Writing under masks towards a condition: p(token | state) times a power of p(condition | state and token), by place.

Nisonoff et al. 2024, arXiv:2406.01572, §3: for every token by the slope of log p(condition | state), which is exact
where that probability is linear in the odds of each place, or by asking a classifier of each token. Departure: of
classifiers only the tokens that look best by the slope are asked, and the others are not written (from left to right:
Yang and Klein 2021, FUDGE, arXiv:2104.05218, §3, whose is the power, too). The slope alone says little: it is taken at
a mixture of all tokens, from where a network cannot see which of them is, say, a verb (docs/decisions/0024). What is
contained, or absent, needs no classifier, and follows the slope.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.guidance.constraint import Classified, Constraint, View
from mezzotint.types import Canvas, Denoiser, Noised, Prediction, Steering

LEAST = 0.01
"""The least by which the slope of a classifier multiplies the odds of a token: it is not certain."""
NEVER = 1e-9
"""A ratio of probabilities within this of zero is zero."""
CHUNK = 512
"""States that are read at once: of each, phrases are told from all pairs of words."""
RANGE = 9.0
"""Nats by which a token may be behind the one that looks best, for a classifier to be asked of it: one in 8,000. Asking
more takes twice as long and leads no better (docs/decisions/0024)."""
NUMBERS = 2**25
"""Odds of so many tokens at once are made for a classifier of the user's own, which may ask for all of them."""


class Filled(View):
    """States (N,) of a `whole`: each is one of its `rows` (N,) with a token of `ids` (N,) put in at `places` (N,)."""

    def __init__(self, whole: View, rows: Tensor, places: Tensor, ids: Tensor) -> None:
        self.whole, self.rows, self.places, self.ids = whole, rows, places, ids
        noised = Noised(self._put(whole.noised.z[rows], ids), whole.noised.t[rows])
        super().__init__(noised, whole.canvas.rows(rows), self._certain)

    def weighted(self, table: Tensor) -> Tensor:
        """Departure from what stands in `whole` at one place only, so the rest is not multiplied again."""
        return self._put(self.whole.weighted(table)[self.rows], table[self.ids])

    def _certain(self) -> Tensor:
        odds = self.whole.odds[self.rows]
        return self._put(odds, F.one_hot(self.ids, odds.shape[-1]).to(odds))

    def _put(self, states: Tensor, one: Tensor) -> Tensor:
        """States (N, L, ...) with `one` (N, ...) at the places; `states` is a copy already."""
        states[torch.arange(len(states), device=states.device), self.places] = one
        return states


def guided(
    denoise: Denoiser, mask: int, led: Sequence[Constraint], barring: Sequence[Constraint], steering: Steering
) -> Denoiser:
    """A denoiser whose tokens lean towards what is `led`, and avoid what `barring` says would break a rule."""
    if not led and not barring:
        return denoise
    close = [part for part in led if isinstance(part, Classified)]

    def guided_denoise(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        assert at is not None, "a denoiser of masks is asked about masked positions: say which"
        open_BL = cond.free & (noised.z == mask)
        assert bool(open_BL[at].all()), "a denoiser of masks was asked about a position that is not masked"
        rows, places = open_BL.nonzero(as_tuple=True)
        masked = (rows, places)
        logits = denoise(noised, cond, previous, masked).logits
        p_KV = logits.detach().double().softmax(-1)
        known = F.one_hot(noised.z.clamp(max=p_KV.shape[1] - 1), p_KV.shape[1]).double()
        gains = [_gain(part, noised, cond, known, masked, p_KV).to(logits.dtype) for part in led]
        moved = sum(gains, logits)
        for part in barring:
            barred = part.completing(noised.z, open_BL, moved.shape[-1])
            moved = moved if barred is None else moved.masked_fill(barred[masked], -inf)
        moved = moved.where(moved.isfinite().any(-1, keepdim=True), logits)
        number = torch.zeros_like(noised.z).index_put(masked, torch.arange(len(moved), device=moved.device))[at]
        if not close:
            return Prediction(moved[number])
        with torch.no_grad():
            whole = View(noised, cond, lambda: known.index_put(masked, p_KV))
            plain = logits + sum(
                gain for part, gain in zip(led, gains, strict=True) if not isinstance(part, Classified)
            )
            return Prediction(_asked(whole, close, at, moved[number], plain[number], steering))

    return guided_denoise


def _asked(
    whole: View,
    close: Sequence[Constraint],
    at: tuple[Tensor, Tensor],
    ranked: Tensor,
    logits: Tensor,
    steering: Steering,
) -> Tensor:
    """Logits (K, V) of the positions `at`, those of the tokens ranked highest raised by what `close` say of each, all
    others minus infinity."""
    best = ranked.topk(min(steering.k_masked, ranked.shape[1]), -1)
    ids, asked = best.indices, best.values >= best.values[:, :1] - RANGE
    each, tokens = asked.nonzero()[:, 0], ids[asked]
    chances = []
    chunk = max(1, min(CHUNK, NUMBERS // (whole.noised.z.shape[1] * ranked.shape[1])))
    for some, chosen in zip(each.split(chunk), tokens.split(chunk), strict=True):
        view = Filled(whole, at[0][some], at[1][some], chosen)
        told = [part.weight * log_chance for part in close if (log_chance := part.log_chance(view)) is not None]
        chances.append(sum(told, torch.zeros_like(view.noised.t)))
    gain = torch.cat(chances).to(logits.dtype)
    gain = torch.where(gain == -inf, gain, steering.strength * gain)
    raised = torch.full_like(best.values, -inf)
    raised[asked] = logits.gather(1, ids)[asked] + gain
    moved = torch.full_like(logits, -inf).scatter(1, ids, raised)
    return moved.where(moved.isfinite().any(-1, keepdim=True), ranked)


def _gain(
    part: Constraint, noised: Noised, cond: Canvas, known: Tensor, masked: tuple[Tensor, Tensor], p_KV: Tensor
) -> Tensor:
    """(K, V) nats: what each token at each masked position does to a constraint's log-probability by its slope."""
    with torch.enable_grad():
        leaf = p_KV.detach().requires_grad_()
        log_chance = part.log_chance(View(noised, cond, lambda: known.index_put(masked, leaf)))
        if log_chance is None or not log_chance.requires_grad:
            return torch.zeros_like(p_KV)
        (slope,) = torch.autograd.grad(log_chance.sum(), leaf)
    change = slope - (slope * p_KV).sum(-1, keepdim=True)
    if not part.multilinear:
        return part.weight * change.clamp(min=LEAST - 1).log1p()
    return part.weight * torch.where(change > NEVER - 1, change.clamp(min=NEVER - 1).log1p(), -inf)
