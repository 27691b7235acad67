"""Truncation: only the beginning of a text is there, as while it is written from left to right.

What classifiers of prefixes learn from: Yang and Klein 2021 (FUDGE), arXiv:2104.05218, §3, every prefix of a text with
the text's label. Departure: one prefix of a text a step, where theirs, which only looks back, learns from all at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.types import Noised

UNWRITTEN = -1
"""The id of positions not written yet."""


class Truncated:
    """A process on ids that removes the end of a text."""

    def corrupt(self, ids: Tensor, t: Tensor, real: Tensor) -> Noised:
        """State (B, L) of texts ids (B, L) at times t (B,): of n real tokens the first m, then UNWRITTEN.

        m is n at t = 0, and uniform over 0 to n where t is uniform.
        """
        num_real = real.sum(1)
        num_left = ((1 - t) * (num_real + 1)).floor().clamp(max=num_real)
        position = torch.arange(ids.shape[1], device=ids.device)
        return Noised(torch.where(position < num_left[:, None], ids, UNWRITTEN), t)
