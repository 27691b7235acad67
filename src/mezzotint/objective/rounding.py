"""The NLL of tokens under logits; where those are read out of vectors, the rounding loss.

Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §4.1, apply it to the noised true vector; Dieleman et al. 2022 (CDCD),
arXiv:2211.15089, §3, to the network's estimate from a noised one, where it is the whole objective.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def row_nll(logits_BLV: Tensor, ids_BL: Tensor, where: Tensor, smoothing: float = 0.0) -> Tensor:
    """(B,) nats: the sum over positions `where` (B, L) of -log softmax(logits)[id]; `smoothing` as below."""
    return token_nll(logits_BLV, ids_BL, where, smoothing).sum(1)


def token_nll(logits_BLV: Tensor, ids_BL: Tensor, where: Tensor, smoothing: float = 0.0) -> Tensor:
    """(B, L) nats: -log softmax(logits)[id] at positions `where` (B, L), 0 elsewhere.

    `smoothing` mixes that share of the mean over all ids into it (Szegedy et al. 2015, arXiv:1512.00567, §7).
    """
    rows, ids = logits_BLV.float().flatten(0, 1), ids_BL.flatten()  # flat, it takes a third less time
    return F.cross_entropy(rows, ids, reduction="none", label_smoothing=smoothing).view_as(ids_BL) * where


def scattered_nll(logits_KV: Tensor, ids_BL: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    """(B, L) nats: -log softmax(logits)[id] at the K pairs `at` (rows, positions), 0 elsewhere."""
    nll = F.cross_entropy(logits_KV.float(), ids_BL[at], reduction="none")
    return torch.zeros(ids_BL.shape, dtype=nll.dtype, device=nll.device).index_put(at, nll)
