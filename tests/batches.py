"""Batches of random texts of 11 tokens, of fixed lengths, for tests of systems."""

from __future__ import annotations

import torch

from mezzotint.data.canvas import pack
from mezzotint.types import Canvas, Ending

VOCAB, LENGTH, END, PAD = 11, 9, 0, 1


def texts(rows: int) -> Canvas:
    """Texts of up to 9 tokens, whose lengths are known."""
    g = torch.Generator().manual_seed(3)
    lengths = torch.tensor([9, 4, 7, 1] * rows)[:rows]
    real = torch.arange(LENGTH) < lengths[:, None]
    ids = torch.randint(0, VOCAB, (rows, LENGTH), generator=g) * real
    return Canvas(ids, torch.zeros_like(real), real, torch.arange(rows))


def ended_texts(rows: int = 4) -> Canvas:
    """Texts of up to 7 tokens and an end symbol, in canvases of 12."""
    g = torch.Generator().manual_seed(6)
    ids = [torch.randint(2, VOCAB, (n,), generator=g).numpy() for n in (7, 3, 1, 5)[:rows]]
    return pack(ids, range(rows), Ending.SYMBOL, 12, END, PAD)
