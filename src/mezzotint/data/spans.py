"""Which positions of a text are given in training: spans, every other one, drawn from the text's own stream.

Source: Strudel et al. 2022 (SED), arXiv:2211.04236, §3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.rng import Rng


def given_spans(real: Tensor, most: int, rng: Rng) -> Tensor:
    """(B, L) bool, part of real (B, L), whose rows begin at position 0.

    The number of spans n is uniform on 1..most. With n = 1 nothing is given; else n - 1 distinct cuts part the text,
    every other span is given, and which ones is a coin. A text too short for n spans gets as many as it has tokens.
    """
    lengths, width = real.sum(1).cpu(), real.shape[1]
    n = torch.minimum((rng.at("spans").uniform() * most).long() + 1, lengths.clamp(min=1))
    order = rng.at("cuts").uniform(width)
    inside = torch.arange(width) < lengths[:, None]
    inside[:, 0] = False
    # The n - 1 smallest of the numbers at the places where a text can be cut.
    rank = order.masked_fill(~inside, 2.0).argsort(1).argsort(1)
    cuts = inside & (rank < (n - 1)[:, None])
    flip = rng.at("flip").uniform() < 0.5
    given = (cuts.long().cumsum(1) % 2 == 0) ^ flip[:, None]
    return (given & (n > 1)[:, None]).to(real.device) & real
