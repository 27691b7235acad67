"""Tokens as vectors of equal length, and vectors as tokens again.

Source: Strudel et al. 2022 (SED), arXiv:2211.04236, §3: every vector has norm sqrt(D), that of a standard normal draw
of D numbers; x0 is the token's vector with a little noise; a linear read-out, initialised with the table, names the
token of a vector.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.rng import Rng


class Embedding(nn.Module):
    """A table (V, D) and its read-out (V, D). The table is fixed unless `learned`."""

    def __init__(self, vocab: int, width: int, learned: bool = False) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(vocab, width), requires_grad=learned)
        self.readout = nn.Parameter(torch.zeros(vocab, width))

    @property
    def vectors(self) -> Tensor:
        """(V, D), each of norm sqrt(D), in float32 at least, as states need the precision."""
        exact = self.table.to(torch.promote_types(self.table.dtype, torch.float32))
        unit: Tensor = F.normalize(exact, dim=-1)
        return unit * math.sqrt(self.table.shape[1])

    @torch.no_grad()
    def fill(self, table_VD: Tensor) -> None:
        """Take these vectors (V, D), of any length but zero, and begin the read-out with them."""
        self.table.copy_(table_VD)
        self.readout.copy_(self.vectors)

    def encode(self, ids_BL: Tensor, sigma0: float, rng: Rng) -> Tensor:
        """(B, L, D): the vectors of ids, with normal noise of deviation sigma0."""
        clean = F.embedding(ids_BL, self.vectors)
        return clean + sigma0 * rng.normal(*clean.shape[1:]).to(clean) if sigma0 else clean

    def logits(self, x: Tensor) -> Tensor:
        """(..., V) from vectors (..., D)."""
        return F.linear(x, self.readout.to(x.dtype))


@torch.no_grad()
def principal(table_VN: Tensor, width: int) -> Tensor:
    """(V, width): a wider table, trained elsewhere, projected on its principal axes.

    Departure: SED's own table was trained at this width.
    """
    centred = table_VN.double() - table_VN.double().mean(0)
    axes = torch.linalg.eigh(centred.mT @ centred).eigenvectors.flip(-1)[:, :width]
    projected: Tensor = centred @ axes
    return projected.to(table_VN.dtype)
