"""Constraints that a text contains a phrase, or does not.

Control by log p(condition | state) is that of Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5. Drawing a phrase's
place before the first step is Bayes' rule on where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from mezzotint.guidance.constraint import Constraint, View, log
from mezzotint.types import Canvas


@dataclass(frozen=True, kw_only=True)
class Contains(Constraint):
    """At least one of the phrases, each a run of ids, somewhere in the text.

    Its probability takes positions, and occurrences of longer phrases, as independent given the state.
    """

    phrases: tuple[tuple[int, ...], ...]

    @property
    def is_multilinear(self) -> bool:
        return all(len(phrase) == 1 for phrase in self.phrases)

    def log_chance(self, view: View) -> Tensor:
        return log(-torch.expm1(_log_absent(self.phrases, view)))

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        return _contains(self.phrases, ids, canvas)


@dataclass(frozen=True, kw_only=True)
class Absent(Constraint):
    """None of the phrases, each a run of ids, anywhere; a phrase of one id is banned outright."""

    phrases: tuple[tuple[int, ...], ...]

    @property
    def is_multilinear(self) -> bool:
        return all(len(phrase) == 1 for phrase in self.phrases)

    @property
    def is_enforced(self) -> bool:
        return self.is_multilinear

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]] | None:
        ids = tuple(phrase[0] for phrase in self.phrases if len(phrase) == 1)
        return (canvas.real, ids) if ids else None

    def breaking_tokens(self, z: Tensor, open_BL: Tensor, vocab: int) -> Tensor:
        """The token of the last open position of each occurrence that is still possible, so that no phrase appears
        however many tokens are written at once. Where nothing else may stand, one does, and the text says so."""
        breaking = torch.zeros(*z.shape, vocab, dtype=torch.bool, device=z.device)
        for phrase in self.phrases:
            starts = z.shape[1] - len(phrase) + 1
            if len(phrase) == 1 or starts < 1:
                continue
            windows = [slice(k, k + starts) for k in range(len(phrase))]
            matches = [open_BL[:, w] | (z[:, w] == word) for w, word in zip(windows, phrase, strict=True)]
            possible = torch.stack(matches).all(0)
            for window, word in reversed(list(zip(windows, phrase, strict=True))):
                breaking[:, window, word] |= possible & open_BL[:, window]
                possible = possible & ~open_BL[:, window]
        return breaking

    def log_chance(self, view: View) -> Tensor:
        return _log_absent(self.phrases, view)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        return ~_contains(self.phrases, ids, canvas)


def place_phrase(
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
    start_odds = torch.cat([_start_odds(phrase, odds) for phrase in part.phrases], 1)
    is_missing = ~part.holds(canvas.ids, replace(canvas, real=canvas.given))
    ids, given = canvas.ids.clone(), canvas.given.clone()
    for row in is_missing.nonzero()[:, 0].tolist():
        places: Sequence[int] = start_odds[row].nonzero()[:, 0].tolist()
        if absent or later:
            places = _allowed_starts(places, part, canvas.rows(slice(row, row + 1)), later, absent)
        if not places:
            continue
        cumulative = start_odds[row, list(places)].cumsum(0)
        drawn = int(torch.searchsorted(cumulative, u[row].to(cumulative) * cumulative[-1], right=True))
        number, first = divmod(places[min(drawn, len(places) - 1)], L)
        phrase = part.phrases[number]
        ids[row, first : first + len(phrase)] = torch.tensor(phrase, device=ids.device)
        given[row, first : first + len(phrase)] = True
    return replace(canvas, ids=ids, given=given)


Known = Sequence[int | None]
"""The ids of a row that are given, None where nothing is yet."""


def _allowed_starts(
    places: Sequence[int], part: Contains, row: Canvas, later: Sequence[Contains], absent: Sequence[Absent]
) -> Sequence[int]:
    """Of the places (phrase * L + position) of a row those that make up nothing absent and, if any does, leave room."""
    pairs = zip(row.ids[0].tolist(), row.given[0].tolist(), strict=True)
    known, free = [token if is_given else None for token, is_given in pairs], row.free[0].tolist()
    barred = [phrase for one in absent for phrase in one.phrases]
    after = {}
    for place in places:
        number, first = divmod(place, len(known))
        put = _with_phrase(part.phrases[number], first, known)
        if not any(_stands(phrase, put) for phrase in barred):
            after[place] = put
    roomy = [place for place, put in after.items() if _leaves_room(put, free, later, barred)]
    return roomy or list(after)


def _with_phrase(phrase: tuple[int, ...], first: int, known: Known) -> Known:
    return [*known[:first], *phrase, *known[first + len(phrase) :]]


def _stands(phrase: tuple[int, ...], known: Known) -> bool:
    """Whether a phrase stands among the ids that are known."""
    return any(tuple(known[k : k + len(phrase)]) == phrase for k in range(len(known) - len(phrase) + 1))


def _leaves_room(
    known: Known, free: Sequence[bool], later: Sequence[Contains], barred: Sequence[tuple[int, ...]]
) -> bool:
    """Whether all that is to be contained and does not stand yet fits what is open, and makes up nothing barred."""
    missing = [one for one in later if not any(_stands(phrase, known) for phrase in one.phrases)]
    is_open = (token is None and is_free for token, is_free in zip(known, free, strict=True))
    runs = tuple(len(list(places)) for opens, places in groupby(is_open) if opens)
    needs = tuple(sorted((min(map(len, one.phrases)) for one in missing), reverse=True))
    if not _fit(runs, needs):
        return False
    if not missing or not barred:
        return True
    first, *others = missing
    puts = (
        _with_phrase(phrase, k, known)
        for phrase in first.phrases
        for k in range(len(known) - len(phrase) + 1)
        if all(known[i] is None and free[i] for i in range(k, k + len(phrase)))
    )
    return any(
        not any(_stands(phrase, put) for phrase in barred) and _leaves_room(put, free, others, barred) for put in puts
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


def _start_odds(phrase: tuple[int, ...], odds: Tensor) -> Tensor:
    """(B, L): the probability that a phrase begins at each place, places being independent."""
    count = odds.shape[1] - len(phrase) + 1
    begins = odds.new_zeros(odds.shape[:2])
    if count > 0:
        begins[:, :count] = torch.stack([odds[:, k : k + count, word] for k, word in enumerate(phrase)]).prod(0)
    return begins


def _log_absent(phrases: Sequence[tuple[int, ...]], view: View) -> Tensor:
    """(B,): log p(none of the phrases occurs), positions independent given the state."""
    absent = torch.zeros(len(view.odds), dtype=view.odds.dtype, device=view.odds.device)
    single_ids = sorted({phrase[0] for phrase in phrases if len(phrase) == 1})
    if single_ids:
        absent = absent + (log(1 - view.odds[..., single_ids].sum(-1)) * view.canvas.real).sum(1)
    for phrase in phrases:
        starts = view.odds.shape[1] - len(phrase) + 1
        if len(phrase) > 1 and starts > 0:
            start_odds = torch.stack([view.odds[:, k : k + starts, word] for k, word in enumerate(phrase)]).prod(0)
            absent = absent + (log(1 - start_odds) * view.canvas.real[:, len(phrase) - 1 :]).sum(1)
    return absent


def _contains(phrases: Sequence[tuple[int, ...]], ids: Tensor, canvas: Canvas) -> Tensor:
    """(B,) bool: which texts contain one of the phrases."""
    contains = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    for phrase in phrases:
        starts = ids.shape[1] - len(phrase) + 1
        if starts > 0:
            windows = [slice(k, k + starts) for k in range(len(phrase))]
            matches = [(ids[:, w] == word) & canvas.real[:, w] for w, word in zip(windows, phrase, strict=True)]
            contains |= torch.stack(matches).all(0).any(1)
    return contains
