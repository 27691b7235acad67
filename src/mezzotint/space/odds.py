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
    sorted_p, order = p_KV.sort(dim=-1, descending=True)
    is_outside = sorted_p.cumsum(-1, dtype=torch.float64) - sorted_p.double() >= top_p
    nucleus_KV = torch.zeros_like(p_KV).scatter_(-1, order, sorted_p.masked_fill(is_outside, 0.0))
    return nucleus_KV / nucleus_KV.sum(-1, keepdim=True)
