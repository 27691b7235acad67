"""Constraints on a text: each can fix tokens, ban tokens, or give the probability that the text will meet it.

Control by the gradient of log p(condition | state) is that of Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5, with
sums for compositions. Departure: what the denoiser's own odds tell (a length, a word) needs no classifier.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.errors import UsageError
from mezzotint.process.truncated import UNWRITTEN
from mezzotint.types import Canvas, Noised

MIN_P = 1e-300
"""Probabilities are clamped to at least this, with no slope below."""


class View:
    """What a constraint sees: a state, its canvas, and the odds of tokens, computed when first read."""

    def __init__(self, noised: Noised, canvas: Canvas, odds: Callable[[], Tensor]) -> None:
        self.noised = noised
        self.canvas = canvas
        self._odds = odds
        self.cache: dict[object, Tensor] = {}
        """What constraints have computed of this state and share."""

    @cached_property
    def odds(self) -> Tensor:
        """(B, L, V) float64: p(token at each position | state), one-hot where tokens are known."""
        return self._odds()

    def weighted(self, table: Tensor) -> Tensor:
        """(B, L, W): the rows of a table (V, W), weighted by the odds."""
        if table not in self.cache:
            self.cache[table] = self.odds.to(table.dtype) @ table
        return self.cache[table]


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """A condition on a text. A subclass overrides what applies to it."""

    weight: float = 1.0
    """The factor of log_chance in a sum."""
    name: str = ""
    """The condition in the user's words."""

    @property
    def is_multilinear(self) -> bool:
        """Whether exp(log_chance) is linear in the odds of each position, so that its slope says what a token does."""
        return False

    @property
    def is_enforced(self) -> bool:
        """Whether `settle` and `banned` alone guarantee it."""
        return False

    @property
    def min_tokens(self) -> int:
        """How many tokens a text must have to meet it, whatever they are."""
        return 0

    def settle(self, canvas: Canvas) -> Canvas:
        """The canvas with what can be fixed before the first step; UsageError where it contradicts what is given."""
        return canvas

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]] | None:
        """Positions (B, L) bool and the ids that must not stand there."""
        return None

    def breaking_tokens(self, z: Tensor, open_BL: Tensor, vocab: int) -> Tensor | None:
        """(B, L, V) bool: tokens that could break it at the open positions of a state z (B, L)."""
        return None

    def log_chance(self, view: View) -> Tensor | None:
        """(B,) float64 nats: log p(the text will meet it | state), with a gradient; None where it cannot tell."""
        return None

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor | None:
        """(B,) bool: which finished texts (B, L) meet it; None where it cannot tell."""
        return None


@dataclass(frozen=True, kw_only=True)
class Length(Constraint):
    """Exactly `tokens` tokens. `end` and `pad` are the ids that fill up the canvas; where a text is closed by a token
    and nothing follows, there is an `end` only."""

    tokens: int
    end: int | None = None
    pad: int | None = None
    ends: Callable[[View], Tensor] | None = None
    """From left to right: log p (B, L, 2) that a text goes on, and that it ends, at each place that it reaches."""

    @property
    def min_tokens(self) -> int:
        return self.tokens

    def settle(self, canvas: Canvas) -> Canvas:
        """A canvas of that length; or one with end and padding given after it."""
        width = canvas.ids.shape[1]
        if self.tokens < 1:
            raise UsageError(f"a text has at least 1 token; a length of {self.tokens} is none")
        if self.end is None or self.pad is None:
            if bool(canvas.given[:, self.tokens :].any()):
                raise UsageError(f"what is given reaches beyond the length {self.tokens}")
            return _resized(canvas, self.tokens)
        if self.tokens > width:
            raise UsageError(f"a text of {self.tokens} tokens does not fit a canvas of {width}")
        is_beyond = torch.arange(width, device=canvas.ids.device) >= self.tokens
        ids = torch.full_like(canvas.ids, self.pad).index_fill(1, is_beyond.nonzero()[:1, 0], self.end)
        if bool((canvas.given & is_beyond & (canvas.ids != ids)).any()):
            raise UsageError(f"what is given reaches beyond the length {self.tokens}")
        return replace(canvas, ids=torch.where(is_beyond, ids, canvas.ids), given=canvas.given | is_beyond)

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]] | None:
        """End and padding before that length."""
        ids = tuple(i for i in (self.end, self.pad) if i is not None)
        return (self._inside(canvas.ids), ids) if ids else None

    @property
    def is_multilinear(self) -> bool:
        return True

    @property
    def is_enforced(self) -> bool:
        """Not where ends are predicted: a text that is only cut off may stop in the middle of a sentence."""
        return self.ends is None

    def log_chance(self, view: View) -> Tensor | None:
        """Departure: of the odds; the code has the squared distance of the estimate from the end token's vector."""
        if self.ends is not None and self.end is not None:
            return self._log_p_length(view, self.ends(view), self.end)
        if self.end is None or self.pad is None:
            return None
        p_closing = view.odds[..., [self.end, self.pad]].sum(-1)
        inside = (log(1 - p_closing) * self._inside(view.canvas.ids)).sum(1)
        return inside + (log(view.odds[:, self.tokens, self.end]) if self.tokens < p_closing.shape[1] else 0)

    def _log_p_length(self, view: View, log_p: Tensor, end: int) -> Tensor:
        """(B,): log p that the text goes on at every open place before that length, and ends there."""
        z, tokens = view.noised.z, self.tokens
        is_impossible = (z[:, :tokens] == end).any(1) | ((z[:, tokens] != UNWRITTEN) & (z[:, tokens] != end))
        open_log_p = log_p.masked_fill((z != UNWRITTEN)[..., None], 0.0)
        return (open_log_p[:, :tokens, 0].sum(1) + open_log_p[:, tokens, 1]).masked_fill(is_impossible, -inf)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor:
        if self.end is None:
            return canvas.real.sum(1) == self.tokens
        is_closing = torch.isin(
            ids, torch.tensor([i for i in (self.end, self.pad) if i is not None], device=ids.device)
        )
        is_ended = ids[:, self.tokens] == self.end if self.tokens < ids.shape[1] else torch.ones_like(is_closing[:, 0])
        return ~is_closing[:, : self.tokens].any(1) & is_ended

    def _inside(self, ids: Tensor) -> Tensor:
        return (torch.arange(ids.shape[1], device=ids.device) < self.tokens).expand(ids.shape)


@dataclass(frozen=True, kw_only=True)
class Unended(Constraint):
    """On a canvas that is filled up: no `end` and no `pad` before a given token."""

    end: int
    pad: int

    @property
    def is_enforced(self) -> bool:
        return True

    def banned(self, canvas: Canvas) -> tuple[Tensor, tuple[int, ...]]:
        is_text = canvas.given & (canvas.ids != self.end) & (canvas.ids != self.pad)
        return is_text.flip(1).cummax(1).values.flip(1) & ~is_text, (self.end, self.pad)


def _resized(canvas: Canvas, length: int) -> Canvas:
    """The canvas cut or padded to that length in all rows."""

    def resize(x: Tensor) -> Tensor:
        return F.pad(x[:, :length], (0, max(0, length - x.shape[1])))

    real = torch.ones_like(resize(canvas.ids), dtype=torch.bool)
    start = None if canvas.start is None else resize(canvas.start)
    return Canvas(resize(canvas.ids), resize(canvas.given), real, canvas.index, start)


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
    """(ids, canvas) -> (B,) nats: log p(condition | finished text), where there is one."""
    words: int = 0
    """How many words the condition speaks of."""

    @property
    def min_tokens(self) -> int:
        return self.words

    def log_chance(self, view: View) -> Tensor:
        return self.log_p(view)

    def holds(self, ids: Tensor, canvas: Canvas) -> Tensor | None:
        return None if self.judge is None else self.judge(ids, canvas)


def log(p: Tensor) -> Tensor:
    """log p, clamped, with a finite slope everywhere."""
    return p.clamp(min=MIN_P).log()
