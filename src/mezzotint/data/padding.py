"""Padding among the tokens of a text, so that a model can leave positions empty anywhere and write texts of any length.

Source: Strudel et al. 2022 (SED), arXiv:2211.04236: padding that amounts to 10 %, at uniformly random positions.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.rng import Rng
from mezzotint.types import Canvas


def scattered(batch: Canvas, share: float, end: int, pad: int, rng: Rng) -> tuple[Canvas, Tensor]:
    """Whole canvases (Ending.FILL) with padding from behind the text among its tokens, and (B,) float64 log q.

    A text of n tokens gets k = n share / (1 - share) of padding before its end, rounded, or as much as there is behind
    it; every order of the n + k is as likely, so q = 1 / C(n + k, k) is the chance of the one that was drawn. Without
    padding a canvas means the same text: -log p(text) <= E_q[-log p(canvas) + log q]. Rows of which something is given
    stay as they are.
    """
    ids, width = batch.ids, batch.ids.shape[1]
    if not share:
        return batch, torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    tokens = (ids == end).int().argmax(1)
    k = (tokens * share / (1 - share)).round().long().minimum(width - 1 - tokens)
    k = k.masked_fill(batch.given.any(1), 0)
    place = torch.arange(width, device=ids.device)
    order = rng.uniform(width).to(ids.device).masked_fill(place >= (tokens + k)[:, None], 2.0)
    # The k smallest of the numbers before the end say where padding goes; the rest keep their order.
    empty = order.argsort(1).argsort(1) < k[:, None]
    source = (~empty).long().cumsum(1) - 1
    moved = ids.gather(1, source.clamp(min=0)).masked_fill(empty, pad)
    chosen, all_orders = (n.double() for n in (k, tokens + k))
    log_q = (chosen + 1).lgamma() + (all_orders - chosen + 1).lgamma() - (all_orders + 1).lgamma()
    return replace(batch, ids=moved), log_q
