"""Constraints that a text contains a phrase, or does not.

Control by log p(condition | state) is that of Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5. Drawing a phrase's
place before the first step is Bayes' rule on where it stands.
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
        however many tokens are written at once."""
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


def place_phrase(part: Contains, canvas: Canvas, odds: Tensor, u: Tensor) -> Canvas:
    """The canvas (B, L) with a phrase given in each row that has none, at quantile u (B,) of the odds (B, L, V).

    The start is drawn by the probability that a phrase begins there, and the rest is written around it: a text counts
    as often as it has the phrase. A row in which no phrase is possible stays as it is.
    """
    L = canvas.ids.shape[1]
    certain = torch.nn.functional.one_hot(canvas.ids, odds.shape[-1]).to(odds)
    odds = torch.where(canvas.given[..., None], certain, odds) * canvas.real[..., None]
    start_odds = [_start_odds(phrase, odds) for phrase in part.phrases]
    cumulative = torch.cat(start_odds, 1).cumsum(1)
    total = cumulative[:, -1]
    is_missing = ~part.holds(canvas.ids, replace(canvas, real=canvas.given)) & (total > 0)
    start = torch.searchsorted(cumulative, (u.to(total) * total)[:, None], right=True)[:, 0].clamp(
        max=cumulative.shape[1] - 1
    )
    ids, given = canvas.ids.clone(), canvas.given.clone()
    for row in is_missing.nonzero()[:, 0].tolist():
        number, first = divmod(int(start[row]), L)
        phrase = part.phrases[number]
        ids[row, first : first + len(phrase)] = torch.tensor(phrase, device=ids.device)
        given[row, first : first + len(phrase)] = True
    return replace(canvas, ids=ids, given=given)


def _start_odds(phrase: tuple[int, ...], odds: Tensor) -> Tensor:
    """(B, L): the probability that a phrase begins at each position, positions being independent."""
    starts = odds.shape[1] - len(phrase) + 1
    start_odds = odds.new_zeros(odds.shape[:2])
    if starts > 0:
        start_odds[:, :starts] = torch.stack([odds[:, k : k + starts, word] for k, word in enumerate(phrase)]).prod(0)
    return start_odds


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
