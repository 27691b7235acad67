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
"""(the positions after those in the cache, pairs among them, cache) -> logits (K, V); extends the cache."""


@dataclass(frozen=True)
class ReuseCache:
    """Keys and values of the rows whose prefixes were read in one call."""

    index: Tensor
    """(R,) int64 on the CPU: the rows, by their streams of random numbers."""
    prefix: Tensor
    """(R, P) ids."""
    cache: Cache

    def select(self, index: Tensor) -> tuple[Tensor, Cache]:
        """The prefixes and the cache of the rows of these streams."""
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
        self.caches: list[ReuseCache] = []

    def __call__(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        assert at is not None, "logits are there for what follows the prefix only: say which"
        rows, positions = at
        parts: list[tuple[Tensor, Tensor]] = []
        for group, cache in self._caches(noised.z[:, : int(cond.given[0].sum())], cond.index):
            in_group = torch.isin(rows, group)
            first = cache.length
            part = Noised(noised.z[group, first:], noised.t[group])
            local = torch.searchsorted(group, rows[in_group]), positions[in_group] - first
            parts.append((in_group, self.forward(part, local, cache)))
            cache.length = int(cond.given[0].sum())
        logits = parts[0][1].new_empty(len(rows), parts[0][1].shape[1])
        for in_group, group_logits in parts:
            logits[in_group] = group_logits
        return Prediction(logits)

    def _caches(self, prefix: Tensor, index: Tensor) -> list[tuple[Tensor, Cache]]:
        """Groups of rows of the batch, each with its cache: an empty one for rows whose prefix was not read yet."""
        groups: list[tuple[Tensor, Cache]] = []
        valid_caches: list[ReuseCache] = []
        is_unread = torch.ones_like(index, dtype=torch.bool)
        for entry in self.caches:
            cached_rows = torch.isin(index, entry.index).nonzero()[:, 0]
            cached_prefix, cache = entry.select(index[cached_rows])
            device_rows = cached_rows.to(prefix.device)
            if not torch.equal(cached_prefix, prefix[device_rows]):
                continue
            valid_caches.append(entry)
            if len(cached_rows):
                is_unread[cached_rows] = False
                groups.append((device_rows, cache))
        if bool(is_unread.any()):
            device_rows = is_unread.nonzero()[:, 0].to(prefix.device)
            cache = Cache(self.depth)
            valid_caches.append(ReuseCache(index[is_unread], prefix[device_rows].clone(), cache))
            groups.append((device_rows, cache))
        self.caches = valid_caches
        return groups
