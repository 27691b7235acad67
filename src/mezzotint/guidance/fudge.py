"""Writing from left to right towards a condition: Bayes' rule token by token, with a classifier of prefixes.

Yang and Klein 2021 (FUDGE), arXiv:2104.05218, §3: p(token | before, condition) is proportional to p(token | before)
p(condition | before, token). As there, only the likeliest tokens are weighed, and their code has a weight for the
classifier; with all tokens and the weight 1, an exact classifier gives the exact law. Departure: the end is always one
of those that are weighed, however unlikely: where a text has to be over, nothing else can be said.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.guidance.constraint import View
from mezzotint.process.truncated import UNWRITTEN
from mezzotint.types import Canvas, Noised

CHUNK = 512
"""Prefixes that are read at once: of each, phrases are told from all pairs of words."""

Chance = Callable[[Tensor, Tensor], Tensor]
"""(rows (N,), prefixes (N, m)) -> (N,) nats: log p(the whole text will be so | how it begins)."""


def foreseen(
    logits: Tensor, before: Tensor, chance: Chance, top_k: int, strength: float, end: int | None = None
) -> Tensor:
    """Logits (R, V) of the tokens behind `before` (R, m), that of each of `top_k` raised by `strength` times the chance
    (nats) of the prefix that it makes; all others minus infinity. They are `end`, if given, and the likeliest.

    A row whose candidates all make impossible what is wanted stays as it is.
    """
    rows = len(logits)
    ranked = logits if end is None else logits.index_fill(1, torch.tensor([end], device=logits.device), inf)
    ids = ranked.topk(min(top_k, logits.shape[1]), -1).indices
    best = logits.gather(1, ids)
    each = torch.arange(rows, device=logits.device).repeat_interleave(ids.shape[1])
    prefixes = torch.cat([before[each], ids.view(-1, 1)], 1)
    parts = zip(each.split(CHUNK), prefixes.split(CHUNK), strict=True)
    gain = torch.cat([chance(some, begun) for some, begun in parts]).view(rows, -1)
    gain = torch.where(gain == -inf, gain, strength * gain)
    moved = torch.full_like(logits, -inf).scatter(1, ids, best + gain.to(best.dtype))
    return moved.where(moved.isfinite().any(-1, keepdim=True), logits)


def begun(prefixes: Tensor, lengths: Tensor, width: int, end: int | None, vocab: int) -> View:
    """What a constraint sees of texts that begin with `prefixes` (N, m): z (N, `width`) with ids, UNWRITTEN behind.

    Places are real up to the lengths (N,) that texts can have, and none is behind `end`. The odds are certain where
    something stands and nothing, all zero, elsewhere; the time is 0, for a prefix says itself how far it goes.
    """
    z = F.pad(prefixes, (0, width - prefixes.shape[1]), value=UNWRITTEN)
    place = torch.arange(width, device=z.device)
    closed = (prefixes == end).any(1) if end is not None else torch.zeros_like(lengths, dtype=torch.bool)
    most = torch.where(closed, prefixes.shape[1], lengths)
    index = torch.arange(len(z))
    canvas = Canvas(z.clamp(min=0), z != UNWRITTEN, place < most[:, None], index)
    time = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    return View(Noised(z, time), canvas, lambda: certain(z, vocab))


def certain(z: Tensor, vocab: int) -> Tensor:
    """(N, L, V) float64: one where a token stands, nothing at all where none does."""
    return F.one_hot(z.clamp(min=0), vocab).double() * (z != UNWRITTEN)[..., None]
