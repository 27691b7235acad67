"""How texts with a latent are trained: what of the divergence costs nothing, what it is set against, its weight."""

from __future__ import annotations

from enum import Enum
from math import inf

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


def check_course(cycles: int, silent: float, rising: float, bits: float, beta: float) -> None:
    """UsageError where the divergence's weight could not follow such a course, or would pay for being large."""
    if cycles < 1 or not all(0 <= share <= 1 for share in (silent, rising, silent + rising)):
        raise UsageError("cycles must be at least 1; silent, rising and their sum are shares from 0 to 1")
    if not (0 <= bits < inf and 0 <= beta < inf):
        raise UsageError("bits and beta must not be negative")
