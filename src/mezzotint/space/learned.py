"""Token vectors that are learned with the rest, of any length.

Source: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §4.1: x0 is the token's vector with a little noise, through
which gradients reach the table; the read-out is the same table with a bias. (SED's fixed table, whose vectors have one
length, is in `space/embedding`.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.rng import Rng


class LearnedEmbedding(nn.Module):
    """A table (V, D) that is its own read-out, up to a bias (V,)."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, width))
        self.bias = nn.Parameter(torch.zeros(vocab))

    @property
    def vectors(self) -> Tensor:
        """(V, D), in float32 at least, as states need the precision."""
        return self.table.to(torch.promote_types(self.table.dtype, torch.float32))

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Standard normal numbers, as in the paper's code: a vector's norm is about sqrt(D)."""
        self.table.normal_(generator=generator)
        self.bias.zero_()

    def clean(self, ids_BL: Tensor) -> Tensor:
        """(B, L, D): the vectors of ids."""
        return F.embedding(ids_BL, self.vectors)

    def encode(self, ids_BL: Tensor, sigma0: float, rng: Rng) -> Tensor:
        """(B, L, D): the same with normal noise of deviation sigma0 (§4.1, q(x0 | w))."""
        clean = self.clean(ids_BL)
        return clean + sigma0 * rng.normal(*clean.shape[1:]).to(clean)

    def logits(self, x: Tensor) -> Tensor:
        """(..., V) from vectors (..., D): p(w | x0) of §4.1."""
        return F.linear(x, self.vectors.to(x.dtype), self.bias.to(x.dtype))
