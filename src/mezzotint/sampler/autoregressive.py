"""Writing from left to right, one token a call, with keys and values kept (Radford et al. 2019, GPT-2).

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
"""(rows still being written (R,) of the last call's rows, their new tokens (R, n)) -> logits (R, V) of what follows."""


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
    `spaced` (V,) serves the canvas's demands on first tokens; `processor` knows what else is wanted.
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
    keep = rows
    fresh = torch.cat([ids.new_full((B, 1), start), ids[:, :prefix]], dim=1)
    for place in range(prefix, L):
        logits = next_logits(keep, fresh)
        if spaced is not None:
            logits = canvas.respect_spacing(logits, spaced, (rows, torch.full_like(rows, place)))
        if processor is not None:
            logits = processor(logits, rows, ids[rows, :place])
        p_KV = tilt(logits, temperature, top_p)
        drawn = inverse_cdf(p_KV, u[rows, place])
        ids[rows, place] = drawn
        known[rows, place] = True
        confidence[rows, place] = p_KV.gather(1, drawn[:, None])[:, 0]
        calls[rows.cpu()] += 1
        going = canvas.real[rows, place + 1] if place + 1 < L else torch.zeros_like(drawn, dtype=torch.bool)
        if end is not None:
            going &= drawn != end
        keep = going.nonzero()[:, 0]
        rows, fresh = rows[keep], drawn[keep, None]
        done = len(rows) == 0
        yield Frame(
            place + 1 - prefix, L - prefix, torch.full((B,), 1 - (place + 1) / L, dtype=torch.float64),
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
