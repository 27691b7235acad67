"""Learned token vectors, used at sqrt(D) times the size at which they are stored.

Source: Gao et al. 2022 (Difformer), arXiv:2212.09412, and its released code: z_0 = sqrt(D) E[y], logits = z E' with the
same E, so that a perfect estimate has logits sqrt(D) <e_y, e_v>. With a layer norm all vectors have about one length.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ScaledEmbedding(nn.Module):
    """A table (V, D); `normed` passes its vectors through a layer norm with a gain and a bias.

    Departure: the read-out has the vectors as they are used, normed or not; the code's keeps the stored ones.
    """

    def __init__(self, vocab: int, width: int, normed: bool = False) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, width))
        self.norm = nn.LayerNorm(width) if normed else None

    def initialise(self, generator: torch.Generator) -> None:
        """Normal draws that leave with variance 1.

        Departure: the code stores draws of deviation 0.02. From there vectors of 16 numbers collapsed within 500 steps
        (error 2e-4, tokens no better than chance): shrinking is a faster way to a small error than learning.
        """
        with torch.no_grad():
            self.table.normal_(0, self.table.shape[1] ** -0.5, generator=generator)

    @property
    def vectors(self) -> Tensor:
        """(V, D), in float32 at least: states are no place for fewer digits."""
        exact = self.table.to(torch.promote_types(self.table.dtype, torch.float32))
        scaled = exact * math.sqrt(self.table.shape[1])
        if self.norm is None:
            return scaled
        gain, bias = (p.to(scaled.dtype) for p in (self.norm.weight, self.norm.bias))
        return F.layer_norm(scaled, scaled.shape[-1:], gain, bias)

    def encode(self, ids: Tensor) -> Tensor:
        """(..., D): the vectors of ids (...)."""
        return F.embedding(ids, self.vectors)

    def logits(self, x: Tensor) -> Tensor:
        """(..., V) from vectors (..., D)."""
        vectors = self.vectors
        return x.to(vectors.dtype) @ vectors.mT / math.sqrt(vectors.shape[1])
