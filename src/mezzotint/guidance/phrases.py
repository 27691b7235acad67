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


def placed(part: Contains, canvas: Canvas, odds: Tensor, u: Tensor) -> Canvas:
    """The canvas (B, L) with a phrase in each row that is without one, given: at quantile u (B,) of the odds (B, L, V).

    A place is drawn by the probability that a phrase stands there, then the rest is written around it. So texts count
    as often as they have the phrase. A row that no phrase can be put into stays as it is.
    """
    L = canvas.ids.shape[1]
    certain = torch.nn.functional.one_hot(canvas.ids, odds.shape[-1]).to(odds)
    odds = torch.where(canvas.given[..., None], certain, odds) * canvas.real[..., None]
    chances = [_begins(phrase, odds) for phrase in part.phrases]
    upto = torch.cat(chances, 1).cumsum(1)
    total = upto[:, -1]
    lacking = ~part.holds(canvas.ids, replace(canvas, real=canvas.given)) & (total > 0)
    place = torch.searchsorted(upto, (u.to(total) * total)[:, None], right=True)[:, 0].clamp(max=upto.shape[1] - 1)
    ids, given = canvas.ids.clone(), canvas.given.clone()
    for row in lacking.nonzero()[:, 0].tolist():
        number, first = divmod(int(place[row]), L)
        phrase = part.phrases[number]
        ids[row, first : first + len(phrase)] = torch.tensor(phrase, device=ids.device)
        given[row, first : first + len(phrase)] = True
    return replace(canvas, ids=ids, given=given)


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
