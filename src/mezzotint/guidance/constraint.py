"""What a text is to be like, as constraints: each settles, excludes, or says how probable it is that a text is so.

Control by the gradient of log p(condition | state) is that of Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5, with
sums for compositions. Departure: what the denoiser's own odds tell (a length, a word) needs no classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.errors import UsageError
from mezzotint.process.truncated import UNWRITTEN
from mezzotint.types import Canvas, Noised

LEAST = 1e-300
"""A probability below this counts as it, with no slope."""


class View:
    """What a constraint sees: a state, its canvas, and the odds of tokens, which are asked for when first wanted."""

    def __init__(self, noised: Noised, canvas: Canvas, odds: Callable[[], Tensor]) -> None:
        self.noised = noised
        self.canvas = canvas
        self._odds = odds
        self.kept: dict[object, Tensor] = {}
        """What constraints compute of this state and others can use."""

    @cached_property
    def odds(self) -> Tensor:
        """(B, L, V) float64: p(token at each position | state), certain where tokens are known."""
        return self._odds()

    def weighted(self, table: Tensor) -> Tensor:
        """(B, L, W): the rows of a table (V, W), weighted by the odds."""
        if table not in self.kept:
            self.kept[table] = self.odds.to(table.dtype) @ table
        return self.kept[table]


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """Something that a text is to be like. Whatever a kind has no use for it leaves as it is."""

    weight: float = 1.0
    """By what log_chance is multiplied in a sum."""
    name: str = ""
    """What was asked for, in the words of who asked."""

    @property
    def multilinear(self) -> bool:
        """Whether exp(log_chance) is linear in the odds of each position, so that its slope says what a token does."""
        return False

    @property
    def seen_to(self) -> bool:
        """Whether settling and excluding leave nothing of it open."""
        return False

    @property
    def reach(self) -> int:
        """How many tokens a text must have for it to be so, whatever they are."""
        return 0

    def settle(self, canvas: Canvas) -> Canvas:
        """The canvas with what can be fixed before the first step; UsageError where it contradicts what is given."""
        return canvas

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]] | None:
        """Positions (B, L) bool and the ids that must not stand there."""
        return None

    def completing(self, z: Tensor, open_BL: Tensor, vocab: int) -> Tensor | None:
        """(B, L, V) bool: which tokens could break the rule where places of a state z (B, L) are still open."""
        return None

    def log_chance(self, view: View) -> Tensor | None:
        """(B,) float64 nats: log p(the text will be so | state), with a gradient; None where nothing can be said."""
        return None

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor | None:
        """(B,) bool: which finished texts (B, L) are so; None where a constraint cannot tell."""
        return None


@dataclass(frozen=True, kw_only=True)
class Length(Constraint):
    """Exactly `tokens` tokens. Where the canvas is filled up, `end` and `pad` are the ids that do it; where a text is
    closed by a token and nothing follows, there is an `end` only."""

    tokens: int
    end: int | None = None
    pad: int | None = None
    ends: Callable[[View], Tensor] | None = None
    """Of a text that is being written from left to right: log p (B, L, 2) that it goes on, or ends, at each place that
    it reaches."""

    @property
    def reach(self) -> int:
        return self.tokens

    def settle(self, canvas: Canvas) -> Canvas:
        """A canvas of that length; or one with end and padding behind it, given."""
        width = canvas.ids.shape[1]
        if self.tokens < 1:
            raise UsageError(f"a text has at least 1 token; a length of {self.tokens} is none")
        if self.end is None or self.pad is None:
            if bool(canvas.given[:, self.tokens :].any()):
                raise UsageError(f"what is given reaches beyond the length {self.tokens}")
            return _cut(canvas, self.tokens)
        if self.tokens > width:
            raise UsageError(f"a text of {self.tokens} tokens does not fit a canvas of {width}")
        behind = torch.arange(width, device=canvas.ids.device) >= self.tokens
        ids = torch.full_like(canvas.ids, self.pad).index_fill(1, behind.nonzero()[:1, 0], self.end)
        if bool((canvas.given & behind & (canvas.ids != ids)).any()):
            raise UsageError(f"what is given reaches beyond the length {self.tokens}")
        return replace(canvas, ids=torch.where(behind, ids, canvas.ids), given=canvas.given | behind)

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]] | None:
        """The end and padding before it."""
        ids = tuple(i for i in (self.end, self.pad) if i is not None)
        return (self._inside(canvas.ids), ids) if ids else None

    @property
    def multilinear(self) -> bool:
        return True

    @property
    def seen_to(self) -> bool:
        """Where ends are told it is followed, too: a text that is only cut off may stop in the middle of a sentence."""
        return self.ends is None

    def log_chance(self, view: View) -> Tensor | None:
        """Departure: of the odds; the code has the squared distance of the estimate from the end token's vector."""
        if self.ends is not None and self.end is not None:
            return self._foreseen(view, self.ends(view), self.end)
        if self.end is None or self.pad is None:
            return None
        closing = view.odds[..., [self.end, self.pad]].sum(-1)
        inside = (log(1 - closing) * self._inside(view.canvas.ids)).sum(1)
        return inside + (log(view.odds[:, self.tokens, self.end]) if self.tokens < closing.shape[1] else 0)

    def _foreseen(self, view: View, said: Tensor, end: int) -> Tensor:
        """(B,): that the text goes on at every open place before the last word's end, and then ends."""
        z, last = view.noised.z, self.tokens
        closed = (z[:, :last] == end).any(1) | ((z[:, last] != UNWRITTEN) & (z[:, last] != end))
        told = said.masked_fill((z != UNWRITTEN)[..., None], 0.0)
        return (told[:, :last, 0].sum(1) + told[:, last, 1]).masked_fill(closed, -inf)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        if self.end is None:
            return canvas.real.sum(1) == self.tokens
        closing = torch.isin(ids, torch.tensor([i for i in (self.end, self.pad) if i is not None], device=ids.device))
        ended = ids[:, self.tokens] == self.end if self.tokens < ids.shape[1] else torch.ones_like(closing[:, 0])
        return ~closing[:, : self.tokens].any(1) & ended

    def _inside(self, ids: Tensor) -> Tensor:
        return (torch.arange(ids.shape[1], device=ids.device) < self.tokens).expand(ids.shape)


@dataclass(frozen=True, kw_only=True)
class Unended(Constraint):
    """On a canvas that is filled up: no `end` and no `pad` in front of a token that is given."""

    end: int
    pad: int

    @property
    def seen_to(self) -> bool:
        return True

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]]:
        said = canvas.given & (canvas.ids != self.end) & (canvas.ids != self.pad)
        return said.flip(1).cummax(1).values.flip(1) & ~said, (self.end, self.pad)


def _cut(canvas: Canvas, length: int) -> Canvas:
    """A canvas all of whose rows have that length."""

    def sized(x: Tensor) -> Tensor:
        return F.pad(x[:, :length], (0, max(0, length - x.shape[1])))

    real = torch.ones_like(sized(canvas.ids), dtype=torch.bool)
    start = None if canvas.start is None else sized(canvas.start)
    return Canvas(sized(canvas.ids), sized(canvas.given), real, canvas.index, start)


@dataclass(frozen=True, kw_only=True)
class Pinned(Constraint):
    """Tokens at their positions, counted from 0."""

    words: Mapping[int, int]

    def settle(self, canvas: Canvas) -> Canvas:
        """Given there."""
        ids, given = canvas.ids.clone(), canvas.given.clone()
        for place, word in self.words.items():
            if place < 0 or place >= ids.shape[1] or not bool(canvas.real[:, place].all()):
                least = int(canvas.real.sum(1).min())
                raise UsageError(f"a word is pinned at position {place}, and the text has {least}, counted from 0")
            if bool((canvas.given[:, place] & (ids[:, place] != word)).any()):
                raise UsageError(f"two different tokens are wanted at position {place}; a position has one")
            ids[:, place], given[:, place] = word, True
        return replace(canvas, ids=ids, given=given)

    @property
    def multilinear(self) -> bool:
        return True

    @property
    def seen_to(self) -> bool:
        return True

    def log_chance(self, view: View) -> Tensor:
        return torch.stack([log(view.odds[:, place, word]) for place, word in self.words.items()]).sum(0)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        return torch.stack([ids[:, place] == word for place, word in self.words.items()]).all(0)


@dataclass(frozen=True, kw_only=True)
class Forbidden(Constraint):
    """Ids that stand nowhere."""

    ids: tuple[int, ...]

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]]:
        return canvas.real, self.ids

    @property
    def multilinear(self) -> bool:
        return True

    @property
    def seen_to(self) -> bool:
        return True

    def log_chance(self, view: View) -> Tensor:
        return (log(1 - view.odds[..., list(self.ids)].sum(-1)) * view.canvas.free).sum(1)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        return ~(torch.isin(ids, torch.tensor(self.ids, device=ids.device)) & canvas.real).any(1)


@dataclass(frozen=True, kw_only=True)
class Classified(Constraint):
    """A classifier of the user's own: `log_p` gives log p(condition | state) (B,) of a view, with a gradient.

    One that reads noisy vectors takes `view.noised`; one that reads odds of tokens serves masked systems too. While a
    text is written from left to right, the state is its ids, -1 where nothing stands yet, and no gradient is asked for.
    """

    log_p: Callable[[View], Tensor]
    judge: Callable[[Tensor, Canvas], Tensor] | None = None
    """(ids, canvas) -> (B,) bool, where there is one."""
    chance: Callable[[Tensor, Canvas], Tensor] | None = None
    """(ids, canvas) -> (B,) nats: log p(condition | finished text), where it can be said."""
    words: int = 0
    """How many words a text has of which that can be told."""

    @property
    def reach(self) -> int:
        return self.words

    def log_chance(self, view: View) -> Tensor:
        return self.log_p(view)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor | None:
        return None if self.judge is None else self.judge(ids, canvas)


def log(p: Tensor) -> Tensor:
    """log p with a finite slope everywhere."""
    return p.clamp(min=LEAST).log()
