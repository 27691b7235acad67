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

MIN_FACTOR = 0.01
"""The least factor by which the slope of a classifier, an approximation, changes the odds of a token."""
ZERO = 1e-9
"""A ratio of probabilities below this is zero."""
CHUNK = 512
"""States that are read at once: of each, phrases are classified for all pairs of words."""
RANGE = 9.0
"""Nats by which a token may be behind the one that looks best, to be a candidate for classifiers: one in 8,000. More
candidates take twice as long and lead no better (docs/decisions/0024)."""
MAX_ODDS = 2**25
"""Entries of the odds made at once, for a classifier of the user's own that may read all of them."""


class Filled(View):
    """States (N,) of a `base`: each is one of its `rows` (N,) with a token of `ids` (N,) put in at `places` (N,)."""

    def __init__(self, base: View, rows: Tensor, places: Tensor, ids: Tensor) -> None:
        self.base, self.rows, self.places, self.ids = base, rows, places, ids
        noised = Noised(self._replaced(base.noised.z[rows], ids), base.noised.t[rows])
        super().__init__(noised, base.canvas.rows(rows), self._filled_odds)

    def weighted(self, table: Tensor) -> Tensor:
        """As in `base` but for one position, so the rest is not multiplied again."""
        return self._replaced(self.base.weighted(table)[self.rows], table[self.ids])

    def _filled_odds(self) -> Tensor:
        odds = self.base.odds[self.rows]
        return self._replaced(odds, F.one_hot(self.ids, odds.shape[-1]).to(odds))

    def _replaced(self, states: Tensor, values: Tensor) -> Tensor:
        """States (N, L, ...), changed in place to `values` (N, ...) at the filled positions."""
        states[torch.arange(len(states), device=states.device), self.places] = values
        return states


def follow_constraints(
    denoise: Denoiser, mask: int, soft: Sequence[Constraint], hard: Sequence[Constraint], steering: Steering
) -> Denoiser:
    """The denoiser guided by the probabilities of `soft`, under which no token breaks a rule of `hard`."""
    if not soft and not hard:
        return denoise
    classified = [part for part in soft if isinstance(part, Classified)]

    def guided(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        assert at is not None, "a denoiser of masks is asked about masked positions: say which"
        open_BL = cond.free & (noised.z == mask)
        assert bool(open_BL[at].all()), "a denoiser of masks was asked about a position that is not masked"
        rows, positions = open_BL.nonzero(as_tuple=True)
        masked = (rows, positions)
        logits = denoise(noised, cond, previous, masked).logits
        p_KV = logits.detach().double().softmax(-1)
        known_odds = F.one_hot(noised.z.clamp(max=p_KV.shape[1] - 1), p_KV.shape[1]).double()
        gains = [_gain(part, noised, cond, known_odds, masked, p_KV).to(logits.dtype) for part in soft]
        raised = sum(gains, logits)
        for part in hard:
            breaking = part.breaking_tokens(noised.z, open_BL, raised.shape[-1])
            raised = raised if breaking is None else raised.masked_fill(breaking[masked], -inf)
        raised = raised.where(raised.isfinite().any(-1, keepdim=True), logits)
        pair_number = torch.zeros_like(noised.z).index_put(masked, torch.arange(len(raised), device=raised.device))[at]
        if not classified:
            return Prediction(raised[pair_number])
        with torch.no_grad():
            base = View(noised, cond, lambda: known_odds.index_put(masked, p_KV))
            unguided = logits + sum(
                gain for part, gain in zip(soft, gains, strict=True) if not isinstance(part, Classified)
            )
            return Prediction(_reweighed(base, classified, at, raised[pair_number], unguided[pair_number], steering))

    return guided


def _reweighed(
    base: View,
    classified: Sequence[Constraint],
    at: tuple[Tensor, Tensor],
    ranked: Tensor,
    logits: Tensor,
    steering: Steering,
) -> Tensor:
    """Logits (K, V) of the positions `at`, with the weighted log-probabilities of `classified` added for the tokens
    ranked highest; all others are minus infinity."""
    best = ranked.topk(min(steering.k_masked, ranked.shape[1]), -1)
    ids, is_candidate = best.indices, best.values >= best.values[:, :1] - RANGE
    candidate_pairs, candidate_ids = is_candidate.nonzero()[:, 0], ids[is_candidate]
    chunk_gains = []
    chunk = max(1, min(CHUNK, MAX_ODDS // (base.noised.z.shape[1] * ranked.shape[1])))
    for pairs, chunk_ids in zip(candidate_pairs.split(chunk), candidate_ids.split(chunk), strict=True):
        view = Filled(base, at[0][pairs], at[1][pairs], chunk_ids)
        log_chances = ((part.weight, part.log_chance(view)) for part in classified)
        gains = [weight * log_chance for weight, log_chance in log_chances if log_chance is not None]
        chunk_gains.append(sum(gains, torch.zeros_like(view.noised.t)))
    gain = torch.cat(chunk_gains).to(logits.dtype)
    gain = torch.where(gain == -inf, gain, steering.strength * gain)
    raised = torch.full_like(best.values, -inf)
    raised[is_candidate] = logits.gather(1, ids)[is_candidate] + gain
    reweighed = torch.full_like(logits, -inf).scatter(1, ids, raised)
    return reweighed.where(reweighed.isfinite().any(-1, keepdim=True), ranked)


def _gain(
    part: Constraint, noised: Noised, cond: Canvas, known_odds: Tensor, masked: tuple[Tensor, Tensor], p_KV: Tensor
) -> Tensor:
    """(K, V) nats: the first-order change of a constraint's log-probability by each token at each masked position."""
    with torch.enable_grad():
        leaf = p_KV.detach().requires_grad_()
        log_chance = part.log_chance(View(noised, cond, lambda: known_odds.index_put(masked, leaf)))
        if log_chance is None or not log_chance.requires_grad:
            return torch.zeros_like(p_KV)
        (slope,) = torch.autograd.grad(log_chance.sum(), leaf)
    change = slope - (slope * p_KV).sum(-1, keepdim=True)
    if not part.is_multilinear:
        return part.weight * change.clamp(min=MIN_FACTOR - 1).log1p()
    return part.weight * torch.where(change > ZERO - 1, change.clamp(min=ZERO - 1).log1p(), -inf)
