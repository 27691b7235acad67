"""Odds of tokens: logits to probabilities, tempered and cut to a nucleus (Holtzman et al. 2019, arXiv:1904.09751)."""

from __future__ import annotations

from math import inf

import torch
from torch import Tensor


def tilt(logits_KV: Tensor, temperature: float, top_p: float) -> Tensor:
    """Probabilities (K, V) float32 of softmax(logits / temperature), restricted to the nucleus of mass top_p.

    The nucleus is the smallest set of most likely tokens whose mass is at least top_p (Holtzman et al. 2020).
    Temperature 0 puts all mass on the most likely token.
    """
    top = logits_KV.amax(-1, keepdim=True)
    assert not bool((top == -inf).any()), "every token of some position is forbidden"
    if temperature == 0:
        best = logits_KV.argmax(dim=-1, keepdim=True)
        return torch.zeros_like(logits_KV).scatter_(-1, best, 1.0)
    p_KV = ((logits_KV - top) / temperature).softmax(dim=-1)
    if top_p >= 1:
        return p_KV
    ordered, order = p_KV.sort(dim=-1, descending=True)
    outside = ordered.cumsum(-1, dtype=torch.float64) - ordered.double() >= top_p
    kept = torch.zeros_like(p_KV).scatter_(-1, order, ordered.masked_fill(outside, 0.0))
    return kept / kept.sum(-1, keepdim=True)
