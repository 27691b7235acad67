"""How long texts are: a smoothed table of counts, drawn from when generating and paid for in the bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mezzotint.errors import RunError, UsageError

_SMOOTHING = 0.1
"""Added to every count, so that no length up to the longest is impossible."""


@dataclass(frozen=True)
class Lengths:
    """The distribution of the number of tokens of a text, over `least` to `longest`."""

    counts: tuple[int, ...]
    """Texts seen with 1, 2, … longest tokens."""
    least: int = 1
    """Shorter ones are impossible (see `given`)."""
    gains: tuple[float, ...] = ()
    """Nats by which the log-probability of each length is raised, before all are normalised (see `tilted`)."""

    @classmethod
    def from_lengths(cls, lengths: ArrayLike, longest: int) -> Lengths:
        """Counted from the lengths (n,) of some texts, each from 1 to `longest`."""
        array = np.asarray(lengths, dtype=np.int64)
        assert longest >= 1 and (not array.size or (array.min() >= 1 and array.max() <= longest))
        return cls(tuple(np.bincount(array, minlength=longest + 1)[1:].tolist()))

    @property
    def longest(self) -> int:
        """The greatest length that can be drawn."""
        return len(self.counts)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(longest,) float64: the probability of 1, 2, … longest tokens."""
        weights = np.asarray(self.counts, dtype=np.float64) + _SMOOTHING
        weights[: self.least - 1] = 0.0
        if self.gains:
            weights *= np.exp(self.gains)
        probabilities: NDArray[np.float64] = weights / weights.sum()
        return probabilities

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        return np.cumsum(self.probabilities)

    def log_prob(self, length: int) -> float:
        """log p(length) in nats; minus infinity outside `least` to `longest`."""
        if not self.least <= length <= self.longest:
            return -math.inf
        p = float(self.probabilities[length - 1])
        return math.log(p) if p > 0 else -math.inf  # a tilt may leave less than a number can say

    def draw(self, u: float) -> int:
        """The length at quantile `u` in [0, 1): the least n with P(length <= n) > u."""
        place = int(np.searchsorted(self._cumulative, u, side="right"))
        return min(place, self.longest - 1) + 1  # the sum may round to less than 1

    def tilted(self, at: Sequence[int], nats: Sequence[float]) -> Lengths:
        """The distribution of which the log-probability of each length is raised by so many nats: known `at` some
        lengths, ascending, and on the straight lines between them."""
        gains = np.interp(np.arange(1, self.longest + 1), at, nats)
        return replace(self, gains=tuple((gains - gains.max()).tolist()))

    def given(self, at_least: int) -> Lengths:
        """The distribution given that a text has that many tokens or more; UsageError if none can."""
        if at_least > self.longest:
            raise UsageError(f"texts of this run have at most {self.longest} tokens, and {at_least} are needed here")
        return replace(self, least=max(self.least, at_least))

    def to_json(self) -> dict[str, Any]:
        """The counts as plain values."""
        return {"counts": list(self.counts), "least": self.least}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Lengths:
        """What `to_json` gave; RunError if it is anything else."""
        if not isinstance(values, Mapping):
            raise RunError("the lengths of this run are damaged; expected an object with counts")
        counts, least = values.get("counts"), values.get("least", 1)
        if not _is_counts(counts) or not isinstance(least, int) or not 1 <= least <= len(counts):
            raise RunError("the lengths of this run are damaged; expected a list of counts, one for each length")
        return cls(tuple(counts), least)


def _is_counts(values: object) -> TypeGuard[list[int]]:
    return isinstance(values, list) and len(values) > 0 and all(type(n) is int and n >= 0 for n in values)
