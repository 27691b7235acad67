"""Revealing positions together that stand far apart: for few steps. Approximate.

Tokens that are revealed in one step do not see each other, and neighbours depend on each other most. Luxembourg et al.
2025 (DUS), arXiv:2506.19037, therefore reveal positions at a fixed distance, which is halved from step to step.
Departure: the n-th free position has u = (n / golden ratio + a random shift) mod 1 in `reveal`, in place of a random
number of its own. However many steps there are, the positions of one step stand about as far apart as they can (three
distances occur, by the three-gap theorem), and all steps have about as many; each position's time has the law that it
has in ancestral sampling, so a network that is told the time is told nothing else than in training.

The order says nothing of the tokens. So one token a call is exact for an exact denoiser (the chain rule); with several,
the law is not that of ancestral sampling but, where neighbours matter most, nearer to the model's own.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.rng import Rng
from mezzotint.sampler.reveal import Reveal
from mezzotint.types import Canvas

GOLDEN = (5**0.5 - 1) / 2
"""One over the golden ratio, whose multiples mod 1 keep farthest apart."""


class Spread(Reveal):
    """Ancestral sampling whose reveal times are spread evenly over the free positions of each row."""

    def reveal_uniforms(self, canvas: Canvas, rng: Rng) -> Tensor:
        shift = rng.uniform()[:, None]
        rank = canvas.free.cpu().cumsum(1) - 1
        return (rank * GOLDEN + shift) % 1
