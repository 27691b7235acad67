"""Constraints together: what they fix, what they ban, and how the rest guides a denoiser.

Source: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5.2: losses are summed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.errors import CapabilityError, UsageError
from mezzotint.guidance.constraint import Constraint, Length, View
from mezzotint.guidance.fudge import fudge, prefix_view
from mezzotint.guidance.masked import follow_constraints
from mezzotint.guidance.phrases import Absent, Contains, place_phrase
from mezzotint.process.truncated import UNWRITTEN
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Control, Denoiser, LogitsProcessor, Noised, Prediction, Request, Steering


@dataclass(frozen=True)
class Constraints:
    """A `Control`. `hard` fixes and bans what can be; `soft` guides by probabilities of what `hard` leaves open."""

    parts: Sequence[Constraint]
    steering: Steering = field(default_factory=Steering)
    hard: bool = True
    soft: bool = True

    def canvas(self, canvas: Canvas, vocab: int, forbidden: tuple[int, ...] = ()) -> Canvas:
        """UsageError, before any work, where constraints contradict each other or what is given, or have no room."""
        lengths = {part.tokens for part in self.parts if isinstance(part, Length)}
        if len(lengths) > 1:
            raise UsageError(f"a text cannot be {' and '.join(map(str, sorted(lengths)))} tokens long at once")
        settled = canvas
        for part in sorted(self.parts, key=lambda part: not isinstance(part, Length)):
            settled = part.settle(settled)
        self._refuse_given(settled)
        excluded = self._excluded(settled, vocab, forbidden)
        if bool((excluded.all(-1) & settled.free).any()):
            raise UsageError("every token is forbidden; allow some")
        _refuse_impossible_phrases([part for part in self.parts if isinstance(part, Contains)], settled, excluded)
        return settled if self.hard else canvas

    def _refuse_given(self, canvas: Canvas) -> None:
        """UsageError where a token is given or pinned where it is forbidden."""
        for where, ids in filter(None, (part.banned(canvas) for part in self.parts)):
            conflict = where & canvas.given & torch.isin(canvas.ids, torch.tensor(ids, device=canvas.ids.device))
            if bool(conflict.any()):
                place = int(conflict.any(0).nonzero()[0])
                raise UsageError(
                    f"the token that is given or pinned at position {place} is forbidden; drop one of the two"
                )
        given = replace(canvas, real=canvas.given)
        for part in (part for part in self.parts if isinstance(part, Absent)):
            if not bool(part.holds(canvas.ids, given).all()):
                raise UsageError(
                    f"{part.name or 'a phrase'} is forbidden and stands in what is given; drop one of the two"
                )

    def _excluded(self, canvas: Canvas, vocab: int, forbidden: tuple[int, ...]) -> Tensor:
        """(B, L, V) bool: the tokens that are banned at each position."""
        excluded = torch.zeros(*canvas.ids.shape, vocab, dtype=torch.bool, device=canvas.ids.device)
        excluded[..., list(forbidden)] = True
        for part in self.parts:
            ban = part.banned(canvas)
            if ban is not None:
                excluded |= ban[0][..., None] & _id_mask(ban[1], vocab, canvas.ids.device)
        return excluded

    def excluding(self, denoise: Denoiser) -> Denoiser:
        if not self.hard:
            return denoise

        def excluding(
            noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
        ) -> Prediction:
            prediction = denoise(noised, cond, previous, at)
            logits = prediction.logits
            for ban in filter(None, (part.banned(cond) for part in self.parts)):
                where = ban[0] if at is None else ban[0][at]
                banned = _id_mask(ban[1], logits.shape[-1], logits.device)
                logits = logits.masked_fill(where[..., None] & banned, -inf)
            return Prediction(logits, prediction.estimate, prediction.carry)

        return excluding

    @property
    def _soft_parts(self) -> list[Constraint]:
        """Those that guide by their probabilities: with `hard`, those that it does not enforce."""
        if not self.soft:
            return []
        return [part for part in self.parts if not self.hard or not part.is_enforced]

    def place_words(self, canvas: Canvas, denoise: Denoiser, mask: int, rng: Rng) -> Canvas:
        """With `hard`: every wanted phrase placed in every row that has room, long phrases first.

        One evaluation each, at t = 1.
        """
        phrases = [part for part in self.parts if isinstance(part, Contains)] if self.hard else []
        phrases.sort(key=lambda part: -min(map(len, part.phrases)))
        absent = [part for part in self.parts if isinstance(part, Absent)]
        for number, part in enumerate(phrases):
            if not bool(canvas.free.any()):
                break
            rows, positions = canvas.free.nonzero(as_tuple=True)
            at, t = (rows, positions), torch.ones(len(canvas.ids), dtype=torch.float64, device=canvas.ids.device)
            with torch.no_grad():
                logits = denoise(Noised(canvas.ids.masked_fill(canvas.free, mask), t), canvas, None, at).logits
            odds = logits.new_zeros(*canvas.ids.shape, logits.shape[-1], dtype=torch.float64)
            odds[at] = logits.double().softmax(-1)
            u = rng.at(f"place{number}").uniform()
            canvas = place_phrase(part, canvas, odds, u, phrases[number + 1 :], absent)
        return canvas

    def guided(self, denoise: Denoiser, mask: int) -> Denoiser:
        """The denoiser of masks, guided by the probabilities of the constraints (guidance/masked.py)."""
        hard = [part for part in self.parts if self.hard and not part.is_enforced]
        return follow_constraints(denoise, mask, self._soft_parts, hard, self.steering)

    def loss(self, denoise: Denoiser) -> Callable[[Noised, Canvas], Tensor] | None:
        """The weighted sum of -log p(condition | state); the denoiser is called once, and only if odds are read."""
        parts = self._soft_parts
        if not parts:
            return None

        def weighted_cost(noised: Noised, cond: Canvas) -> Tensor:
            def odds() -> Tensor:
                logits = denoise(noised, cond).logits
                certain = F.one_hot(cond.ids, logits.shape[-1]).double()
                return torch.where(cond.given[..., None], certain, logits.double().softmax(-1))

            view, total = View(noised, cond, odds), noised.z.new_zeros(len(noised.z), dtype=torch.float64)
            for part in parts:
                log_chance = part.log_chance(view)
                total = total if log_chance is None else total - part.weight * log_chance
            return total

        return weighted_cost

    def logits_processor(self, canvas: Canvas, end: int | None, vocab: int) -> LogitsProcessor:
        """Bans next tokens, and reweighs the others by the constraints' probabilities (guidance/fudge.py).

        Nothing predicts that a word will come later, so `Contains` does not guide. That a text will be long enough for
        what is classified of it is taken for granted until it ends.
        """
        parts = [part for part in self._soft_parts if not isinstance(part, Contains)]
        min_tokens, lengths = max((part.min_tokens for part in parts), default=0), canvas.real.sum(1)
        # With the place of the end.
        min_width = min_tokens + 1 if min_tokens and end is not None else min_tokens
        max_lengths = lengths if end is None else lengths.clamp(min=min_width)

        def processor(logits: Tensor, rows: Tensor, before: Tensor) -> Tensor:
            position = before.shape[1]
            if self.hard:
                logits = self._ban_tokens(logits, canvas.rows(rows), before)

            def chance(indices: Tensor, prefixes: Tensor) -> Tensor:
                view = prefix_view(prefixes, max_lengths[rows[indices]], max(position + 1, min_width), end, vocab)
                return sum((_weighted_log_chance(part, view, end) for part in parts), torch.zeros_like(view.noised.t))

            if not parts:
                return logits
            return fudge(logits, before, chance, self.steering.k_left_to_right, self.steering.strength, end)

        return processor

    def _ban_tokens(self, logits: Tensor, canvas: Canvas, prefix: Tensor) -> Tensor:
        """Logits (R, V) of the tokens after `prefix` (R, m), minus infinity for banned ones and, if any other is left,
        for those that make up a banned phrase."""
        position, vocab = prefix.shape[1], logits.shape[-1]
        z = F.pad(prefix, (0, 1), value=UNWRITTEN)
        for ban in filter(None, (part.banned(canvas) for part in self.parts)):
            banned = ban[0][:, position, None] & _id_mask(ban[1], vocab, logits.device)
            logits = logits.masked_fill(banned, -inf)
        breaking = torch.zeros_like(logits, dtype=torch.bool)
        for part in (part for part in self.parts if not part.is_enforced):
            tokens = part.breaking_tokens(z, z == UNWRITTEN, vocab)
            if tokens is not None:
                breaking |= tokens[:, position]
        allowed = logits.masked_fill(breaking, -inf)
        return allowed.where(allowed.isfinite().any(-1, keepdim=True), logits)


def _weighted_log_chance(part: Constraint, view: View, end: int | None) -> Tensor:
    """(N,) nats: a constraint's weighted log-probability of prefixes; minus infinity for those that ended too short."""
    log_chance = part.log_chance(view)
    if log_chance is None:
        return torch.zeros_like(view.noised.t)
    if end is not None and part.min_tokens:
        short = (view.noised.z[:, : part.min_tokens] == end).any(1)
        log_chance = log_chance.masked_fill(short, -inf)
    return part.weight * log_chance


def _id_mask(ids: tuple[int, ...], vocab: int, device: torch.device) -> Tensor:
    """(V,) bool: which ids are among these."""
    return torch.zeros(vocab, dtype=torch.bool, device=device).index_fill(0, torch.tensor(ids, device=device), True)


# ---- of a request ----------------------------------------------------------------------------------------------------


def settled_request(request: Request, vocab: int) -> Request:
    """The request with its canvas settled by its control; UsageError where no text can satisfy it.

    CapabilityError for texts written block by block: positions would not be the text's.
    """
    if request.control is None:
        return request
    if request.block is not None:
        raise CapabilityError("a text that is written in blocks cannot be controlled; leave length and block out")
    return replace(request, canvas=request.control.canvas(request.canvas, vocab, request.forbidden))


def excluding(denoise: Denoiser, control: Control | None) -> Denoiser:
    """The denoiser under which what a control excludes has probability zero."""
    return denoise if control is None else control.excluding(denoise)


# ---- what cannot be --------------------------------------------------------------------------------------------------


def _refuse_impossible_phrases(phrases: Sequence[Contains], canvas: Canvas, excluded: Tensor) -> None:
    """UsageError where a wanted phrase is forbidden, or has no room in the shortest row.

    Phrases that could share a position count once, so that nothing possible is refused.
    """
    for row in range(len(canvas.ids)):
        free, allowed = canvas.free[row], ~excluded[row]
        open_ids = allowed[free].any(0)
        groups: list[tuple[set[int], int]] = []
        for part in phrases:
            if bool(part.holds(canvas.ids[row : row + 1], _given_part(canvas, row))[0]):
                continue
            given_ids = set(canvas.ids[row][canvas.given[row]].tolist())
            possible = [p for p in part.phrases if all(bool(open_ids[i]) or i in given_ids for i in p)]
            if not possible:
                name = part.name or f"ids {part.phrases}"
                raise UsageError(f"what the text is to contain ({name}) is forbidden or has no free place")
            tokens = min(1 if given_ids & set(p) else len(p) for p in possible)
            groups = _merge_group(groups, {i for p in possible for i in p}, tokens)
        required, room = sum(tokens for _, tokens in groups), int(free.sum())
        if required > room:
            raise UsageError(f"a text with {room} free tokens has no room for {required} that are required")


def _merge_group(groups: list[tuple[set[int], int]], ids: set[int], need: int) -> list[tuple[set[int], int]]:
    """The groups (ids, tokens needed) with one more, merged with those it shares ids with; the greatest need counts."""
    disjoint = [group for group in groups if not group[0] & ids]
    for other_ids, other_need in (group for group in groups if group[0] & ids):
        ids, need = ids | other_ids, max(need, other_need)
    return [*disjoint, (ids, need)]


def _given_part(canvas: Canvas, row: int) -> Canvas:
    """A row's canvas in which only what is given is real."""
    only_row = canvas.rows(slice(row, row + 1))
    return Canvas(only_row.ids, only_row.given, only_row.given, only_row.index)
