"""The estimate of one call as an input of the next.

Sources: Chen et al. 2022 (Analog Bits), arXiv:2208.04202, §3, with a coin; Strudel et al. 2022 (SED), arXiv:2211.04236,
§3, with both passes trained (the two losses are averaged, of which it says nothing).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mezzotint.rng import Rng
from mezzotint.types import Canvas, Denoiser, Noised, Prediction


def both_passes(denoise: Denoiser, noised: Noised, cond: Canvas) -> Iterator[Prediction]:
    """A pass without an earlier estimate, then one with the first pass's, detached."""
    first = denoise(noised, cond, None)
    yield first
    yield denoise(noised, cond, detached(first))


def coin(denoise: Denoiser, noised: Noised, cond: Canvas, rng: Rng) -> Prediction:
    """For half of the batches a pass of which only the estimate is kept, then the one that is trained."""
    if float(Rng(rng.seed, [0], rng.purpose).uniform()) >= 0.5:
        return denoise(noised, cond)
    with torch.no_grad():
        first = denoise(noised, cond)
    return denoise(noised, cond, detached(first))


def twice(denoise: Denoiser) -> Denoiser:
    """The denoiser after two passes at the same time, where no earlier call could have left an estimate."""

    def second(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> Prediction:
        return denoise(noised, cond, detached(denoise(noised, cond, previous)), at)

    return second


def detached(prediction: Prediction) -> torch.Tensor:
    """The carry of a prediction, detached."""
    assert isinstance(prediction.carry, torch.Tensor)
    return prediction.carry.detach()
