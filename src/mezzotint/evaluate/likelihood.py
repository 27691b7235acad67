"""How probable held-out texts are to a system: nats per token, bits per character, and which bound it is.

A text's cost includes that of its length, or of its end and padding. All systems in a table share the denominators:
tokens + 1 for a text (its end is a symbol too), tokens for a window of a longer document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import log

import numpy as np
import torch

from mezzotint.evaluate.table import Numbers, Score
from mezzotint.rng import Rng
from mezzotint.types import Canvas, System


@torch.no_grad()
def costs(system: System, batches: Iterable[Canvas], draws: int, seed: int) -> Numbers:
    """(n, draws) nats: draws of each row's bound, every row with streams of its own."""
    parts = []
    for batch in batches:
        index = batch.index.tolist()
        nats = [system.nll(batch, Rng(seed, index).at(f"bound/{d}")).cpu() for d in range(draws)]
        parts.append(torch.stack(nats, dim=1).double().numpy())
    return np.concatenate(parts)


def likelihood(nats: Numbers, symbols: Numbers, characters: Numbers, note: str) -> Iterator[Score]:
    """Scores from nats (n, draws), symbols (n,) and characters (n,); standard errors over texts, draws included."""
    mean = nats.mean(axis=1)
    yield Score.ratio("bound_nats_per_token", mean, symbols, note)
    yield Score.ratio("bound_bits_per_char", mean / log(2), characters, note)
