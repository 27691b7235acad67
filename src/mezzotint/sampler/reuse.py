"""Keeping the keys and values of a given prefix while what follows it is written. Approximate.

Wu et al. 2025 (Fast-dLLM), arXiv:2505.22618, §3.2, the prefix cache. A bidirectional network reads the prefix in the
light of what follows, so keys and values computed while that was still masked are not those of later calls. They are
the same in a row's first call after its prefix changed, and in every call of a network of one block, whose keys and
values see one token each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.net.attention import Cache
from mezzotint.types import Canvas, Noised, Prediction

Forward = Callable[[Noised, tuple[Tensor, Tensor], Cache], Tensor]
"""(the positions that follow those in the cache, pairs among them, cache) -> logits (K, V); extends the cache."""


@dataclass(frozen=True)
class ReuseCache:
    """Rows whose prefixes were read in one call."""

    index: Tensor
    """(R,) int64 on the CPU: which rows, by their streams of random numbers."""
    prefix: Tensor
    """(R, P) ids."""
    cache: Cache

    def of(self, index: Tensor) -> tuple[Tensor, Cache]:
        """The prefixes and the cache of some of the rows."""
        if torch.equal(index, self.index):
            return self.prefix, self.cache
        rows = (index[:, None] == self.index).nonzero()[:, 1].to(self.prefix.device)
        return self.prefix[rows], self.cache.of(rows)


class Reuse:
    """A denoiser that reads a row's given prefix once, for as long as it stays the same.

    For canvases without padding whose given positions are a prefix, equally long in all rows.
    """

    def __init__(self, forward: Forward, depth: int) -> None:
        self.forward = forward
        self.depth = depth
        self.kept: list[ReuseCache] = []

    def __call__(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        assert at is not None, "logits are there for what follows the prefix only: say which"
        rows, positions = at
        parts: list[tuple[Tensor, Tensor]] = []
        for places, cache in self._caches(noised.z[:, : int(cond.given[0].sum())], cond.index):
            mine = torch.isin(rows, places)
            first = cache.length
            part = Noised(noised.z[places, first:], noised.t[places])
            local = torch.searchsorted(places, rows[mine]), positions[mine] - first
            parts.append((mine, self.forward(part, local, cache)))
            cache.length = int(cond.given[0].sum())
        logits = parts[0][1].new_empty(len(rows), parts[0][1].shape[1])
        for mine, found in parts:
            logits[mine] = found
        return Prediction(logits)

    def _caches(self, prefix: Tensor, index: Tensor) -> list[tuple[Tensor, Cache]]:
        """Places in the batch, each group with its cache: an empty one for rows whose prefix was not read yet."""
        found: list[tuple[Tensor, Cache]] = []
        valid: list[ReuseCache] = []
        unread = torch.ones_like(index, dtype=torch.bool)
        for kept in self.kept:
            places = torch.isin(index, kept.index).nonzero()[:, 0]
            read, cache = kept.of(index[places])
            where = places.to(prefix.device)
            if not torch.equal(read, prefix[where]):
                continue
            valid.append(kept)
            if len(places):
                unread[places] = False
                found.append((where, cache))
        if bool(unread.any()):
            where = unread.nonzero()[:, 0].to(prefix.device)
            cache = Cache(self.depth)
            valid.append(ReuseCache(index[unread], prefix[where].clone(), cache))
            found.append((where, cache))
        self.kept = valid
        return found
