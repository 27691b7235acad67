"""Random numbers that belong to an example, not to a batch.

Every row of a batch has its own streams, each derived from (seed, index of the example, purpose). The numbers
therefore never depend on batch size, padding, order or the number of processes, and two uses with two purposes never
draw the same ones. Nothing here has a state that advances: asking twice with the same purpose gives the same numbers,
which is what makes a resumed run equal an uninterrupted one.

Each stream is SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", fig. 16) from
a hashed state. NumPy's Philox would do as well, but only one stream at a time: 40 microseconds each, against about
half a microsecond here, for hundreds of streams in every training step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


Streams = tuple[tuple[int, int], ...]
"""Where rows of different seeds are written together: the (seed, index) that each row's number stands for."""


@dataclass(frozen=True)
class Rng:
    """The streams of some rows."""

    seed: int | Streams
    index: Sequence[int]
    """The example behind each row; in training, its place in the global batch."""
    purpose: str = ""
    total: int | None = None
    """Where `index` are places in a global batch: how many places that batch has."""

    def at(self, purpose: object) -> Rng:
        """The streams of the same rows for another use; nested purposes are a path."""
        return Rng(self.seed, self.index, f"{self.purpose}/{purpose}", self.total)

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape) float64 in [0, 1). The first n numbers of a row are the same whatever the shape."""
        bits = self._bits(prod(shape)) >> np.uint64(11)
        return torch.from_numpy(bits.astype(np.float64) * 2.0**-53).view(len(self.index), *shape)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) float64, standard normal, one uniform number each."""
        numbers: Tensor = torch.special.ndtri(self.uniform(*shape) + 2.0**-54)
        return numbers

    def stratified(self) -> Tensor:
        """(B,) float64 in [0, 1): one draw from each of `total` equal strata, dealt to the places of the global batch
        by a permutation; without a `total`, independent draws.

        The low-discrepancy times of MDLM (Sahoo et al. 2024, App. C), over the global batch instead of each device's.
        Departure: there place i always has stratum i; in a batch sorted by length that would tie noise to length.
        """
        u = self.uniform()
        if self.total is None:
            return u
        assert all(0 <= place < self.total for place in self.index), "the rows are not places of the batch"
        strata = Rng(self.seed, range(self.total), f"{self.purpose}/strata").uniform().argsort()
        return (u + strata[list(self.index)]) / self.total

    def pairs(self, rows: Sequence[int], positions: Sequence[int]) -> Rng:
        """A stream for each pair of a row, by its place here, and a position below 2^20."""
        pairs = [(self.index[row], position) for row, position in zip(rows, positions, strict=True)]
        if isinstance(self.seed, int):
            return Rng(self.seed, [index * 2**20 + position for index, position in pairs], self.purpose)
        named = [(*self.seed[row], position) for row, position in pairs]
        streams = tuple((seed, index * 2**20 + position) for seed, index, position in named)
        return Rng(streams, range(len(streams)), self.purpose)

    def _bits(self, count: int) -> NDArray[np.uint64]:
        if isinstance(self.seed, int):
            seeds, index = [self.seed], list(self.index)
        else:
            seeds, index = [self.seed[row][0] for row in self.index], [self.seed[row][1] for row in self.index]
        names = (blake2b(f"{seed}:{self.purpose}".encode(), digest_size=8).digest() for seed in seeds)
        use = np.array([int.from_bytes(name, "little") for name in names], dtype=np.uint64)
        rows = np.asarray(index, dtype=np.int64).astype(np.uint64)
        state = _mix(_mix(rows * GOLDEN + use))
        return _mix(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
