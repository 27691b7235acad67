"""How texts with a latent are trained: what of the divergence costs nothing, what it is set against, its weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any

from mezzotint.errors import UsageError


class FreeBits(Enum):
    """How much of the divergence costs nothing, `bits` nats for each dimension of the latent."""

    NONE = "none"
    TOTAL = "total"
    """The sum over dimensions, as far as it is above bits times their number."""
    DIMENSION = "dimension"
    """Each dimension, as far as it is above bits."""
    MASK = "mask"
    """Each dimension counts whole where it is above bits, else not at all: Optimus's."""


class Weigh(Enum):
    """What a nat of the divergence is set against."""

    SENTENCE = "sentence"
    """A nat of the text: the bound itself."""
    TOKEN = "token"
    """A nat of each of its tokens, so that it counts as many times as the text has symbols: AdaVAE's authors'.
    Departure: AdaVAE's code has the mean over texts beside the mean over all tokens of a batch, so that a text counts
    by the batch's mean length; here by its own, and the loss is a sum over texts."""


@dataclass(frozen=True, kw_only=True)
class WithLatent:
    """What systems with a latent share: a latent of `latent` numbers a text, and how its divergence is weighed."""

    end: int = 0
    """The id that ends a text, and stands before its first token."""
    pad: int = 1
    latent: int = 32
    """How many numbers a text's latent has."""
    free: FreeBits = FreeBits.TOTAL
    bits: float = 0.5
    """Nats of divergence that cost nothing, for each dimension of the latent."""
    weigh: Weigh = Weigh.SENTENCE
    beta: float = 1.0
    """The weight of the divergence where it is annealed to the full; 1 is the bound."""
    cycles: int = 4
    """How often its weight begins at zero again in the course of a training."""
    silent: float = 0.25
    """The share of a cycle with weight zero."""
    rising: float = 0.25
    """The share of a cycle in which it rises, after that."""

    @property
    def has_latent(self) -> bool:
        """Whether what is written depends on the latent."""
        return True

    def check_latent(self) -> None:
        """UsageError where there could be no such latent, or no such course."""
        if self.latent < 1:
            raise UsageError(f"latent must be at least 1, not {self.latent}")
        if min(self.end, self.pad) < 0:
            raise UsageError(f"end and pad are ids of the vocabulary, not {self.end} and {self.pad}")
        shares = (self.silent, self.rising, self.silent + self.rising)
        if self.cycles < 1 or not all(0 <= share <= 1 for share in shares):
            raise UsageError("cycles must be at least 1; silent, rising and their sum are shares from 0 to 1")
        if not (0 <= self.bits < inf and 0 <= self.beta < inf):
            raise UsageError("bits and beta must not be negative")


WEIGHED: Mapping[str, Any] = {"free": FreeBits.NONE, "beta": 0.3, "cycles": 1}
"""What recipes say of the divergence. Departure: AdaVAE's authors leave 16 nats of it free and anneal four times; what
is free need not be worth it (docs/decisions/0025)."""
