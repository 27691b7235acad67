"""Phrases that stand in a text, or stand nowhere in it: how probable that is, and how it is made sure of.

Control by log p(condition | state) is that of Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5. A place that is
drawn before the first step is Bayes' rule on where a phrase stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mezzotint.guidance.constraint import Constraint, View, log
from mezzotint.types import Canvas


@dataclass(frozen=True, kw_only=True)
class Contains(Constraint):
    """At least one of some phrases, each a run of ids, somewhere in the text.

    Its probability takes positions for independent given the state, and phrases of several tokens for apart.
    """

    phrases: tuple[tuple[int, ...], ...]

    @property
    def multilinear(self) -> bool:
        return all(len(phrase) == 1 for phrase in self.phrases)

    def log_chance(self, view: View) -> Tensor:
        return log(-torch.expm1(_log_absent(self.phrases, view)))

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        return _stands(self.phrases, ids, canvas)


@dataclass(frozen=True, kw_only=True)
class Absent(Constraint):
    """None of some phrases, each a run of ids, anywhere; a phrase of one id is excluded outright."""

    phrases: tuple[tuple[int, ...], ...]

    @property
    def multilinear(self) -> bool:
        return all(len(phrase) == 1 for phrase in self.phrases)

    @property
    def seen_to(self) -> bool:
        return self.multilinear

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]] | None:
        ids = tuple(phrase[0] for phrase in self.phrases if len(phrase) == 1)
        return (canvas.real, ids) if ids else None

    def completing(self, z: Tensor, open_BL: Tensor, vocab: int) -> Tensor:
        """Of a phrase that can still come to stand somewhere the token at its last open place, so that however many
        are written at once, it never does."""
        found = torch.zeros(*z.shape, vocab, dtype=torch.bool, device=z.device)
        for phrase in self.phrases:
            count = z.shape[1] - len(phrase) + 1
            if len(phrase) == 1 or count < 1:
                continue
            windows = [slice(k, k + count) for k in range(len(phrase))]
            fits = [open_BL[:, w] | (z[:, w] == word) for w, word in zip(windows, phrase, strict=True)]
            alive = torch.stack(fits).all(0)
            for window, word in reversed(list(zip(windows, phrase, strict=True))):
                found[:, window, word] |= alive & open_BL[:, window]
                alive = alive & ~open_BL[:, window]
        return found

    def log_chance(self, view: View) -> Tensor:
        return _log_absent(self.phrases, view)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        return ~_stands(self.phrases, ids, canvas)


def placed(
    part: Contains,
    canvas: Canvas,
    odds: Tensor,
    u: Tensor,
    later: Sequence[Contains] = (),
    absent: Sequence[Absent] = (),
) -> Canvas:
    """The canvas (B, L) with a phrase in each row that is without one, given: at quantile u (B,) of the odds (B, L, V).

    A place is drawn by the probability that a phrase stands there, then the rest is written around it. So texts count
    as often as they have the phrase. A place is left out where the phrase would make up one that is to be `absent`, and
    where it leaves no room for those that are placed `later`, if another does. A row that no phrase can be put into
    stays as it is.
    """
    L = canvas.ids.shape[1]
    certain = torch.nn.functional.one_hot(canvas.ids, odds.shape[-1]).to(odds)
    odds = torch.where(canvas.given[..., None], certain, odds) * canvas.real[..., None]
    chances = torch.cat([_begins(phrase, odds) for phrase in part.phrases], 1)
    lacking = ~part.holds(canvas.ids, replace(canvas, real=canvas.given))
    ids, given = canvas.ids.clone(), canvas.given.clone()
    for row in lacking.nonzero()[:, 0].tolist():
        places: Sequence[int] = chances[row].nonzero()[:, 0].tolist()
        if absent or later:
            places = _sensible(places, part, canvas.rows(slice(row, row + 1)), later, absent)
        if not places:
            continue
        upto = chances[row, list(places)].cumsum(0)
        drawn = int(torch.searchsorted(upto, u[row].to(upto) * upto[-1], right=True))
        number, first = divmod(places[min(drawn, len(places) - 1)], L)
        phrase = part.phrases[number]
        ids[row, first : first + len(phrase)] = torch.tensor(phrase, device=ids.device)
        given[row, first : first + len(phrase)] = True
    return replace(canvas, ids=ids, given=given)


Known = Sequence[int | None]
"""The ids of a row that are given, None where nothing is yet."""


def _sensible(
    places: Sequence[int], part: Contains, row: Canvas, later: Sequence[Contains], absent: Sequence[Absent]
) -> Sequence[int]:
    """Of the places (phrase * L + position) of a row those that make up nothing absent and, if any does, leave room."""
    pairs = zip(row.ids[0].tolist(), row.given[0].tolist(), strict=True)
    known, free = [token if is_given else None for token, is_given in pairs], row.free[0].tolist()
    barred = [phrase for one in absent for phrase in one.phrases]
    after = {}
    for place in places:
        number, first = divmod(place, len(known))
        put = _put(part.phrases[number], first, known)
        if not any(_has(phrase, put) for phrase in barred):
            after[place] = put
    roomy = [place for place, put in after.items() if _leaves_room(put, free, later, barred)]
    return roomy or list(after)


def _put(phrase: tuple[int, ...], first: int, known: Known) -> Known:
    return [*known[:first], *phrase, *known[first + len(phrase) :]]


def _has(phrase: tuple[int, ...], known: Known) -> bool:
    """Whether a phrase stands among the ids that are known."""
    return any(tuple(known[k : k + len(phrase)]) == phrase for k in range(len(known) - len(phrase) + 1))


def _leaves_room(
    known: Known, free: Sequence[bool], later: Sequence[Contains], barred: Sequence[tuple[int, ...]]
) -> bool:
    """Whether all that is to be contained and does not stand yet fits what is open, and makes up nothing barred."""
    missing = [one for one in later if not any(_has(phrase, known) for phrase in one.phrases)]
    runs = [0]
    for token, is_free in zip(known, free, strict=True):
        runs = [*runs[:-1], runs[-1] + 1] if token is None and is_free else [*runs, 0]
    if not _fit(
        tuple(filter(None, runs)), tuple(sorted((min(map(len, one.phrases)) for one in missing), reverse=True))
    ):
        return False
    if not missing or not barred:
        return True
    first, *others = missing
    puts = (
        _put(phrase, k, known)
        for phrase in first.phrases
        for k in range(len(known) - len(phrase) + 1)
        if all(known[i] is None and free[i] for i in range(k, k + len(phrase)))
    )
    return any(
        not any(_has(phrase, put) for phrase in barred) and _leaves_room(put, free, others, barred) for put in puts
    )


def _fit(runs: tuple[int, ...], needs: tuple[int, ...]) -> bool:
    """Whether stretches of the lengths `needs` can be cut out of runs of open places."""
    if not needs or sum(needs) > sum(runs):
        return not needs
    return any(
        _fit((*runs[:k], run - needs[0], *runs[k + 1 :]), needs[1:])
        for k, run in enumerate(runs)
        if run >= needs[0] and run not in runs[:k]
    )


def _begins(phrase: tuple[int, ...], odds: Tensor) -> Tensor:
    """(B, L): the probability that a phrase begins at each place, places being independent."""
    count = odds.shape[1] - len(phrase) + 1
    begins = odds.new_zeros(odds.shape[:2])
    if count > 0:
        begins[:, :count] = torch.stack([odds[:, k : k + count, word] for k, word in enumerate(phrase)]).prod(0)
    return begins


def _log_absent(phrases: Sequence[tuple[int, ...]], view: View) -> Tensor:
    """(B,): log p(none of the phrases stands anywhere), places independent given the state."""
    absent = torch.zeros(len(view.odds), dtype=view.odds.dtype, device=view.odds.device)
    single = sorted({phrase[0] for phrase in phrases if len(phrase) == 1})
    if single:
        absent = absent + (log(1 - view.odds[..., single].sum(-1)) * view.canvas.real).sum(1)
    for phrase in phrases:
        count = view.odds.shape[1] - len(phrase) + 1
        if len(phrase) > 1 and count > 0:
            begins = torch.stack([view.odds[:, k : k + count, word] for k, word in enumerate(phrase)]).prod(0)
            absent = absent + (log(1 - begins) * view.canvas.real[:, len(phrase) - 1 :]).sum(1)
    return absent


def _stands(phrases: Sequence[tuple[int, ...]], ids: Tensor, canvas: Canvas) -> Tensor:
    """(B,) bool: whether one of the phrases stands in each text."""
    found = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for phrase in phrases:
        count = ids.shape[1] - len(phrase) + 1
        if count > 0:
            windows = [slice(k, k + count) for k in range(len(phrase))]
            there = [(ids[:, w] == word) & canvas.real[:, w] for w, word in zip(windows, phrase, strict=True)]
            found |= torch.stack(there).all(0).any(1)
    return found
