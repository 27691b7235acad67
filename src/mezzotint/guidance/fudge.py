"""Left-to-right generation under a condition: Bayes' rule token by token, with a classifier of prefixes.

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
"""Prefixes that are read at once: of each, phrases are classified for all pairs of words."""

Chance = Callable[[Tensor, Tensor], Tensor]
"""(rows (N,), prefixes (N, m)) -> (N,) nats: log p(the whole text will be so | how it begins)."""


def fudge(
    logits: Tensor, prefix: Tensor, chance: Chance, top_k: int, strength: float, end: int | None = None
) -> Tensor:
    """Logits (R, V) of the tokens after `prefix` (R, m), with `strength` times the chance (nats) of the longer prefix
    added for `top_k` candidates, `end` if given and the likeliest; all others are minus infinity.

    A row whose candidates all make the condition impossible stays as it is.
    """
    rows = len(logits)
    ranked = logits if end is None else logits.index_fill(1, torch.tensor([end], device=logits.device), inf)
    candidates = ranked.topk(min(top_k, logits.shape[1]), -1).indices
    top_logits = logits.gather(1, candidates)
    row_of = torch.arange(rows, device=logits.device).repeat_interleave(candidates.shape[1])
    prefixes = torch.cat([prefix[row_of], candidates.view(-1, 1)], 1)
    chunks = zip(row_of.split(CHUNK), prefixes.split(CHUNK), strict=True)
    log_chance = torch.cat([chance(chunk_rows, chunk_prefixes) for chunk_rows, chunk_prefixes in chunks]).view(rows, -1)
    log_chance = torch.where(log_chance == -inf, log_chance, strength * log_chance)
    reweighed = torch.full_like(logits, -inf).scatter(1, candidates, top_logits + log_chance.to(top_logits.dtype))
    return reweighed.where(reweighed.isfinite().any(-1, keepdim=True), logits)


def prefix_view(prefixes: Tensor, lengths: Tensor, width: int, end: int | None, vocab: int) -> View:
    """The view of texts that begin with `prefixes` (N, m): z (N, `width`) with ids, UNWRITTEN after them.

    Positions are real up to the lengths (N,) that texts can have, and none after `end`. The odds are one-hot where a
    token stands and all zero elsewhere; the time is 0, as a prefix shows itself how far it goes.
    """
    z = F.pad(prefixes, (0, width - prefixes.shape[1]), value=UNWRITTEN)
    position = torch.arange(width, device=z.device)
    is_ended = (prefixes == end).any(1) if end is not None else torch.zeros_like(lengths, dtype=torch.bool)
    max_lengths = torch.where(is_ended, prefixes.shape[1], lengths)
    index = torch.arange(len(z))
    canvas = Canvas(z.clamp(min=0), z != UNWRITTEN, position < max_lengths[:, None], index)
    time = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    return View(Noised(z, time), canvas, lambda: one_hot_odds(z, vocab))


def one_hot_odds(z: Tensor, vocab: int) -> Tensor:
    """(N, L, V) float64: one-hot where a token stands, all zero where none does."""
    return F.one_hot(z.clamp(min=0), vocab).double() * (z != UNWRITTEN)[..., None]
