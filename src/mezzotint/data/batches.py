"""Which rows of the corpus make the batch of a step: a pure function of (seed, step), so nothing has to be saved.

Every epoch is a fresh permutation. Rows of similar length are put together: a permutation is cut into pools of POOL
batches, each pool sorted by length and dealt into batches, and the batches of a pool shuffled. On texts of varying
length that saves the third of the arithmetic that padding would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

POOL = 16


class Batches:
    """The order in which a corpus of rows with these lengths (n,) is read, in batches of `size`."""

    def __init__(self, lengths: Sequence[int] | NDArray[np.int64], size: int, seed: int) -> None:
        self.lengths = np.asarray(lengths)
        self.size = size
        self.seed = seed
        self._epoch = lru_cache(maxsize=2)(self._permutation)

    def rows(self, step: int, first: int = 0, count: int | None = None) -> list[int]:
        """The rows at places first .. first + count - 1 of a step's batch; all of them by default."""
        count = self.size if count is None else count
        begin = step * self.size + first
        n = len(self.lengths)
        return [int(self._epoch(place // n)[place % n]) for place in range(begin, begin + count)]

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng((self.seed, epoch, 0xBA7C))
        order = rng.permutation(len(self.lengths))
        # The first rows complete the batch that the epoch before left open.
        lead, pool = -epoch * len(order) % self.size, POOL * self.size
        pools = [self._dealt(order[i : i + pool], rng) for i in range(lead, len(order), pool)]
        return np.concatenate([order[:lead], *pools])

    def _dealt(self, pool: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        ordered = pool[np.argsort(self.lengths[pool], kind="stable")]
        batches = [ordered[i : i + self.size] for i in range(0, len(ordered), self.size)]
        whole, rest = [b for b in batches if len(b) == self.size], [b for b in batches if len(b) < self.size]
        return np.concatenate([whole[i] for i in rng.permutation(len(whole))] + rest)
