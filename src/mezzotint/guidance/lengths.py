"""How long texts are to be that are wanted some way: Bayes' rule on lengths, before anything is written.

Where a length is drawn first, p(length | condition) is proportional to p(length) p(condition | length), and what the
second is can be asked of classifiers: they are shown texts of each length of which nothing is written yet. Without it
many lengths leave no room for what is wanted, whatever stands there.
Departure: the second factor to the power by which tokens are weighed (`Steering.strength`), as everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mezzotint.data.lengths import Lengths
from mezzotint.guidance.constraint import Classified, View

MOST = 32
"""Lengths that classifiers are asked of; where there are more, these lie evenly among them."""


@torch.no_grad()
def tilted_lengths(
    law: Lengths, parts: Sequence[Classified], begun: Callable[[Sequence[int]], View], strength: float
) -> tuple[Lengths, int]:
    """The lengths of texts that are as `parts` say, and of how many lengths those were asked.

    `begun` gives the states of texts of some lengths, a row of each, of which nothing is written yet.
    """
    among = torch.linspace(law.least, law.longest, min(MOST, law.longest - law.least + 1), dtype=torch.float64)
    at: list[int] = among.round().long().unique().tolist()
    view = begun(at)
    nats = torch.zeros(len(at), dtype=torch.float64)
    for part in parts:
        nats += part.weight * part.log_p(view).double().cpu()
    return law.tilted(at, (strength * nats).tolist()), len(at)
