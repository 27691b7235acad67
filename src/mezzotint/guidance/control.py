"""Constraints together: what they settle, what they exclude, and how the rest bends what a denoiser says.

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
from mezzotint.guidance.fudge import begun, foreseen
from mezzotint.guidance.masked import guided
from mezzotint.guidance.phrases import Absent, Contains, placed
from mezzotint.process.truncated import UNWRITTEN
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Control, Denoiser, LogitsProcessor, Noised, Prediction, Request, Steering


@dataclass(frozen=True)
class Constraints:
    """A `Control`. `hard` settles and excludes what can be; `soft` follows probabilities, of what hard leaves open."""

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
        _refuse_absent([part for part in self.parts if isinstance(part, Contains)], settled, excluded)
        return settled if self.hard else canvas

    def _refuse_given(self, canvas: Canvas) -> None:
        """UsageError where a token is given or pinned where it is forbidden."""
        for where, ids in filter(None, (part.banned(canvas) for part in self.parts)):
            wrong = where & canvas.given & torch.isin(canvas.ids, torch.tensor(ids, device=canvas.ids.device))
            if bool(wrong.any()):
                place = int(wrong.any(0).nonzero()[0])
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
        """(B, L, V) bool: what cannot stand where; position by position."""
        excluded = torch.zeros(*canvas.ids.shape, vocab, dtype=torch.bool, device=canvas.ids.device)
        excluded[..., list(forbidden)] = True
        for part in self.parts:
            ban = part.banned(canvas)
            if ban is not None:
                excluded |= ban[0][..., None] & _among(ban[1], vocab, canvas.ids.device)
        return excluded

    def excluding(self, denoise: Denoiser) -> Denoiser:
        if not self.hard:
            return denoise

        def excluding(
            noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
        ) -> Prediction:
            said = denoise(noised, cond, previous, at)
            logits = said.logits
            for ban in filter(None, (part.banned(cond) for part in self.parts)):
                where = ban[0] if at is None else ban[0][at]
                banned = _among(ban[1], logits.shape[-1], logits.device)
                logits = logits.masked_fill(where[..., None] & banned, -inf)
            return Prediction(logits, said.estimate, said.carry)

        return excluding

    @property
    def _led(self) -> list[Constraint]:
        """Those whose probabilities are followed: with `hard`, those that hard means do not see to."""
        if not self.soft:
            return []
        return [p for p in self.parts if not self.hard or not p.seen_to]

    def place_words(self, canvas: Canvas, denoise: Denoiser, mask: int, rng: Rng) -> Canvas:
        """With `hard`: all that is to be contained has its place in every row, where there is one; long phrases first.

        One evaluation each, at t = 1.
        """
        wanted = [part for part in self.parts if isinstance(part, Contains)] if self.hard else []
        wanted.sort(key=lambda part: -min(map(len, part.phrases)))
        absent = [part for part in self.parts if isinstance(part, Absent)]
        for number, part in enumerate(wanted):
            if not bool(canvas.free.any()):
                break
            rows, places = canvas.free.nonzero(as_tuple=True)
            at, t = (rows, places), torch.ones(len(canvas.ids), dtype=torch.float64, device=canvas.ids.device)
            with torch.no_grad():
                logits = denoise(Noised(canvas.ids.masked_fill(canvas.free, mask), t), canvas, None, at).logits
            odds = logits.new_zeros(*canvas.ids.shape, logits.shape[-1], dtype=torch.float64)
            odds[at] = logits.double().softmax(-1)
            u = rng.at(f"place{number}").uniform()
            canvas = placed(part, canvas, odds, u, wanted[number + 1 :], absent)
        return canvas

    def guided(self, denoise: Denoiser, mask: int) -> Denoiser:
        """The denoiser of masks that follows the probabilities of what is wanted (guidance/masked.py)."""
        barring = [part for part in self.parts if self.hard and not part.seen_to]
        return guided(denoise, mask, self._led, barring, self.steering)

    def loss(self, denoise: Denoiser) -> Callable[[Noised, Canvas], Tensor] | None:
        """The weighted sum of -log p(condition | state); the denoiser is asked once, and only if odds are wanted."""
        led = self._led
        if not led:
            return None

        def summed(noised: Noised, cond: Canvas) -> Tensor:
            def odds() -> Tensor:
                logits = denoise(noised, cond).logits
                certain = F.one_hot(cond.ids, logits.shape[-1]).double()
                return torch.where(cond.given[..., None], certain, logits.double().softmax(-1))

            view, total = View(noised, cond, odds), noised.z.new_zeros(len(noised.z), dtype=torch.float64)
            for part in led:
                log_chance = part.log_chance(view)
                total = total if log_chance is None else total - part.weight * log_chance
            return total

        return summed

    def logits_processor(self, canvas: Canvas, end: int | None, vocab: int) -> LogitsProcessor:
        """What bars tokens from next places, and weighs the others by where they lead (guidance/fudge.py).

        That a word will come later is told by nothing, so what is to be contained is not followed. That a text will be
        long enough for what is told of it is taken for granted until it ends.
        """
        led = [part for part in self._led if not isinstance(part, Contains)]
        reach, lengths = max((part.reach for part in led), default=0), canvas.real.sum(1)
        # The place of the end, where what is wanted reaches further than what stands.
        far = reach + 1 if reach and end is not None else reach
        most = lengths if end is None else lengths.clamp(min=far)

        def processor(logits: Tensor, rows: Tensor, before: Tensor) -> Tensor:
            place = before.shape[1]
            if self.hard:
                logits = self._barred(logits, canvas.rows(rows), before)

            def chance(some: Tensor, prefixes: Tensor) -> Tensor:
                view = begun(prefixes, most[rows[some]], max(place + 1, far), end, vocab)
                return sum((_foretold(part, view, end) for part in led), torch.zeros_like(view.noised.t))

            return (
                foreseen(logits, before, chance, self.steering.k_left_to_right, self.steering.strength, end)
                if led
                else logits
            )

        return processor

    def _barred(self, logits: Tensor, canvas: Canvas, before: Tensor) -> Tensor:
        """Logits (R, V) of the tokens behind `before` (R, m), minus infinity for those that break a rule."""
        place, vocab = before.shape[1], logits.shape[-1]
        z = F.pad(before, (0, 1), value=UNWRITTEN)
        barred = torch.zeros_like(logits, dtype=torch.bool)
        for part in self.parts:
            ban = part.banned(canvas)
            if ban is not None:
                barred |= ban[0][:, place, None] & _among(ban[1], vocab, logits.device)
            completing = None if part.seen_to else part.completing(z, z == UNWRITTEN, vocab)
            if completing is not None:
                barred |= completing[:, place]
        moved = logits.masked_fill(barred, -inf)
        return moved.where(moved.isfinite().any(-1, keepdim=True), logits)

    def holds(self, ids: Tensor, canvas: Canvas) -> list[Tensor | None]:
        """For each constraint (B,) bool: which finished texts satisfy it; None where it cannot tell."""
        return [part.holds(ids, canvas) for part in self.parts]


def _foretold(part: Constraint, view: View, end: int | None) -> Tensor:
    """(N,) nats: a constraint's log-probability of texts that are begun, weighted; what has ended short is not so."""
    log_chance = part.log_chance(view)
    if log_chance is None:
        return torch.zeros_like(view.noised.t)
    if end is not None and part.reach:
        short = (view.noised.z[:, : part.reach] == end).any(1)
        log_chance = log_chance.masked_fill(short, -inf)
    return part.weight * log_chance


def _among(ids: tuple[int, ...], vocab: int, device: torch.device) -> Tensor:
    """(V,) bool."""
    return torch.zeros(vocab, dtype=torch.bool, device=device).index_fill(0, torch.tensor(ids, device=device), True)


# ---- of a request ---


def settled_request(request: Request, vocab: int) -> Request:
    """The request with all on its canvas that its control settles; UsageError where nothing can satisfy that.

    CapabilityError for texts that are written block by block: positions would not be the text's.
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


def _refuse_absent(wanted: Sequence[Contains], canvas: Canvas, excluded: Tensor) -> None:
    """UsageError where what is to be contained is forbidden, or has no room in the shortest row.

    Only what cannot be is refused: words that could share a position count once.
    """
    for row in range(len(canvas.ids)):
        free, allowed = canvas.free[row], ~excluded[row]
        open_ids = allowed[free].any(0)
        groups: list[tuple[set[int], int]] = []
        for part in wanted:
            if bool(part.holds(canvas.ids[row : row + 1], _only_given(canvas, row))[0]):
                continue
            held = set(canvas.ids[row][canvas.given[row]].tolist())
            possible = [p for p in part.phrases if all(bool(open_ids[i]) or i in held for i in p)]
            if not possible:
                what = part.name or f"ids {part.phrases}"
                raise UsageError(f"what the text is to contain ({what}) is forbidden or has no free place")
            need = min(1 if held & set(p) else len(p) for p in possible)
            groups = _joined(groups, {i for p in possible for i in p}, need)
        least, room = sum(need for _, need in groups), int(free.sum())
        if least > room:
            raise UsageError(f"a text with {room} free tokens has no room for {least} that are required")


def _joined(groups: list[tuple[set[int], int]], ids: set[int], need: int) -> list[tuple[set[int], int]]:
    """The groups with one more, merged with those that it shares ids with; a group needs what one of it needs most."""
    apart = [group for group in groups if not group[0] & ids]
    for other, most in (group for group in groups if group[0] & ids):
        ids, need = ids | other, max(need, most)
    return [*apart, (ids, need)]


def _only_given(canvas: Canvas, row: int) -> Canvas:
    """A row's canvas in which only what is given is real."""
    one = canvas.rows(slice(row, row + 1))
    return Canvas(one.ids, one.given, one.given, one.index)
