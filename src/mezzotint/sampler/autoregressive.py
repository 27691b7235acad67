"""Left-to-right sampling, one token a call, with a key/value cache (Radford et al. 2019, GPT-2).

One uniform number a position, so a row's text does not depend on the batch it is written in. Rows that have ended leave
the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from mezzotint.net.adapter import Graft
from mezzotint.net.attention import Cache
from mezzotint.net.transformer import Transformer
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Frame, LogitsProcessor, Request

Next = Callable[[Tensor, Tensor], Tensor]
"""(which of the last call's rows go on (R,), their new tokens (R, n)) -> logits (R, V) of the next token."""


@torch.no_grad()
def write(
    next_logits: Next,
    canvas: Canvas,
    rng: Rng,
    *,
    start: int,
    end: int | None,
    pad: int,
    temperature: float,
    top_p: float,
    spaced: Tensor | None,
    processor: LogitsProcessor | None = None,
) -> Iterator[Frame]:
    """Frames of a canvas whose given positions are a prefix, the same number in every row.

    Every row starts after the symbol `start`. A row stops after `end`, or at its last real position if `end` is None.
    `spaced` (V,) serves the canvas's demands on first tokens; `processor` changes the logits before they are tempered.
    Frame.t is the share of the canvas not yet written.
    """
    B, L = canvas.ids.shape
    device = canvas.ids.device
    prefix = int(canvas.given[0].sum())
    assert bool((canvas.given == (torch.arange(L, device=device) < prefix)).all()), "what is given must be a prefix"
    u = rng.at("token").uniform(L).to(device)
    ids = torch.where(canvas.given, canvas.ids, pad)
    known, confidence = canvas.given.clone(), canvas.given.float()
    calls = torch.zeros(B, dtype=torch.int64)
    rows = torch.arange(B, device=device)
    kept_rows = rows
    new_ids = torch.cat([ids.new_full((B, 1), start), ids[:, :prefix]], dim=1)
    for position in range(prefix, L):
        logits = next_logits(kept_rows, new_ids)
        if spaced is not None:
            logits = canvas.respect_spacing(logits, spaced, (rows, torch.full_like(rows, position)))
        if processor is not None:
            logits = processor(logits, rows, ids[rows, :position])
        p_KV = tilt(logits, temperature, top_p)
        next_ids = inverse_cdf(p_KV, u[rows, position])
        ids[rows, position] = next_ids
        known[rows, position] = True
        confidence[rows, position] = p_KV.gather(1, next_ids[:, None])[:, 0]
        calls[rows.cpu()] += 1
        goes_on = canvas.real[rows, position + 1] if position + 1 < L else torch.zeros_like(rows, dtype=torch.bool)
        if end is not None:
            goes_on &= next_ids != end
        kept_rows = goes_on.nonzero()[:, 0]
        rows, new_ids = rows[kept_rows], next_ids[kept_rows, None]
        done = len(rows) == 0
        yield Frame(
            position + 1 - prefix, L - prefix, torch.full((B,), 1 - (position + 1) / L, dtype=torch.float64),
            ids.clone(), known.clone(), confidence.clone(), calls.clone(), done,
        )  # fmt: skip
        if done:
            return


def cached_logits(net: Transformer, depth: int, request: Request, grafts: Sequence[Graft] | None = None) -> Next:
    """A causal network that caches keys and values of its `depth` blocks; `request.forbidden` tokens never follow."""
    cache = Cache(depth)
    cache.reserve(request.canvas.ids.shape[1] + 1)
    forbidden = torch.tensor(request.forbidden, dtype=torch.int64, device=request.canvas.ids.device)

    def next_logits(keep: Tensor, fresh: Tensor) -> Tensor:
        nonlocal grafts
        if cache.length and len(keep) < cache.batch:
            cache.rows(keep)
            grafts = grafts and [graft.rows(keep) for graft in grafts]
        last = (torch.arange(len(fresh), device=fresh.device), torch.full_like(fresh[:, 0], fresh.shape[1] - 1))
        logits: Tensor = net(fresh, at=last, cache=cache, grafts=grafts)
        return logits.float().index_fill(1, forbidden, -math.inf)

    return next_logits
