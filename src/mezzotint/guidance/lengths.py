"""Lengths under a condition: Bayes' rule on lengths, before anything is written.

Where a length is drawn first, p(length | condition) is proportional to p(length) p(condition | length). Classifiers
estimate the second factor from texts of each length of which nothing is written yet. Without it many lengths leave no
room for what is wanted, whatever stands there.
Departure: the second factor to the power by which tokens are weighed (`Steering.strength`), as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mezzotint.data.lengths import Lengths
from mezzotint.guidance.constraint import Classified, View

MAX_LENGTHS = 32
"""Lengths that classifiers read; where there are more, these are spaced evenly."""


@torch.no_grad()
def tilted_lengths(
    lengths: Lengths, parts: Sequence[Classified], initial_view: Callable[[Sequence[int]], View], strength: float
) -> tuple[Lengths, int]:
    """The distribution of lengths of texts that meet `parts`, and how many lengths the classifiers read.

    `initial_view` gives the states of texts of the lengths given, a row each, of which nothing is written yet.
    """
    count = min(MAX_LENGTHS, lengths.longest - lengths.least + 1)
    grid = torch.linspace(lengths.least, lengths.longest, count, dtype=torch.float64)
    candidates: list[int] = grid.round().long().unique().tolist()
    view = initial_view(candidates)
    log_p = torch.zeros(len(candidates), dtype=torch.float64)
    for part in parts:
        log_p += part.weight * part.log_p(view).double().cpu()
    return lengths.tilted(candidates, (strength * log_p).tolist()), len(candidates)
