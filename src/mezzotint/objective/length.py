"""The cost in nats of a text's length, where lengths are drawn from those of the training texts.

-log p(length) under the smoothed counts of `data/lengths`; Li et al. 2022 (Diffusion-LM) and MDLM leave lengths to
padding instead, which this stands in for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.data.lengths import Lengths


class LengthCost:
    """-log p(length) of rows, in nats; zero where every row has the same length and none is drawn."""

    def __init__(self, lengths: Lengths | None) -> None:
        self.is_modelled = lengths is not None
        longest = lengths.longest if lengths is not None else 0
        table = [0.0] + [-lengths.log_prob(n) for n in range(1, longest + 1)] if lengths is not None else [0.0]
        self.table = torch.tensor(table)

    def __call__(self, real: Tensor) -> Tensor:
        """(B,) from real (B, L) bool."""
        self.table = self.table.to(real.device)
        return self.table[real.sum(1)] if self.is_modelled else self.table.expand(len(real))

    def symbols(self, free: Tensor) -> float:
        """The number of symbols that cost: tokens in free (B, L), and one for each row's length where that is drawn."""
        return float(free.sum()) + len(free) * self.is_modelled
