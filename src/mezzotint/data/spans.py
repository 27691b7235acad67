"""Which positions of a text are given in training: spans, every other one, drawn from the text's own stream.

Sources: Strudel et al. 2022 (SED), arXiv:2211.04236, §3 (spans); Dieleman et al. 2022 (CDCD), arXiv:2211.15089, §4.1
(positions of their own, among others).
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


def given_singly(real: Tensor, rng: Rng) -> Tensor:
    """(B, L) bool, part of real (B, L): each position by itself, at a rate that is uniform on (0, 1) for each text."""
    rate = rng.at("rate").uniform()
    return (rng.at("single").uniform(real.shape[1]) < rate[:, None]).to(real.device) & real


def given_either(real: Tensor, most: int, singly: float, rng: Rng) -> Tensor:
    """(B, L) bool: `given_singly` for a share `singly` of the texts, `given_spans` of up to `most` spans for the rest.

    Neighbours of a noised position that are not noised themselves are what words are first learned from.
    """
    spans = given_spans(real, most, rng)
    if not singly:
        return spans
    chosen = (rng.at("singly").uniform() < singly).to(real.device)
    return torch.where(chosen[:, None], given_singly(real, rng), spans)
