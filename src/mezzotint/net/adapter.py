"""What is added to the blocks of a frozen network: bottleneck adapters, and keys and values.

Parallel adapters: He et al. 2022, "Towards a unified view of parameter-efficient transfer learning", arXiv:2110.04366,
§3; in AdaVAE (Tu et al. 2022, arXiv:2205.05862) they read the residual stream before its norm. Bottleneck: Houlsby et
al. 2019, arXiv:1902.00751, §2.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.net.attention import Slot


class Adapter(nn.Module):
    """up(relu(down(h))), to be added to h (B, L, D); `width` is the bottleneck's."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, width)
        self.up = nn.Linear(width, dim)

    def initialise(self, generator: torch.Generator) -> None:
        """Zero output at first.

        Departure: in the authors' code GPT-2's own initialisation overwrites this one, so that both layers begin normal
        of width 0.02.
        """
        with torch.no_grad():
            self.down.weight.normal_(0, 0.02, generator=generator)
            # Zeros, but drawn: later draws from the generator stay the same.
            self.up.weight.normal_(0, 0, generator=generator)
            self.down.bias.zero_()
            self.up.bias.zero_()

    def forward(self, h_BLD: Tensor) -> Tensor:
        out: Tensor = self.up(F.relu(self.down(h_BLD)))
        return out


@dataclass(frozen=True)
class Graft:
    """Additions to one block: an adapter beside its second branch, or beside both, and a slot for its attention."""

    adapter: Adapter | None = None
    slot: Slot | None = None
    both: bool = False
    """The adapter works beside attention too, with the same weights.
    Departure: where the authors' options speak of the second branch only, their code does this (a condition in it is
    always true)."""

    def beside_attention(self, x_BLD: Tensor) -> Tensor:
        """x with what the adapter adds beside attention."""
        return x_BLD + self.adapter(x_BLD) if self.both and self.adapter is not None else x_BLD

    def beside_mlp(self, x_BLD: Tensor) -> Tensor:
        """x with what the adapter adds beside the second branch."""
        return x_BLD if self.adapter is None else x_BLD + self.adapter(x_BLD)

    def rows(self, rows: Tensor) -> Graft:
        """The same for some rows of the batch."""
        return self if self.slot is None else replace(self, slot=(self.slot[0][rows], self.slot[1][rows]))
