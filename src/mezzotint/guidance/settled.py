"""Estimates of the tokens' own vectors from a network trained on noisy ones; tokens that are certain are settled.

Diffusion-LM (Li et al. 2022), arXiv:2205.14217, §4.1, for its bound. Departure: without settling the bound is many
nats above any use: next to no noise, a squared error of 0.01 that no text would show costs several.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.process.gaussian import Gaussian
from mezzotint.types import Canvas, Denoiser, Noised, Prediction

SURE = 0.99
"""Probability from which a token counts as settled: of 0.9, 0.99 and always, this cost an exact denoiser least."""


def settle(denoise: Denoiser, vectors_VD: Tensor, process: Gaussian) -> Denoiser:
    """The denoiser of the tokens' own vectors (V, D), from one of vectors with noise of process.sigma0 on them.

    Where noisy vector and read-out leave no doubt, the estimate is the mean of the vectors under their odds.
    """

    def settled(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        prediction = denoise(noised, cond, previous)
        assert prediction.estimate is not None
        odds = (process.evidence(noised, vectors_VD) + prediction.logits).softmax(-1)
        is_settled = odds.amax(-1, keepdim=True) > SURE
        estimate = torch.where(is_settled, odds @ vectors_VD, process.centre(noised, prediction.estimate))
        return Prediction(prediction.logits if at is None else prediction.logits[at], estimate)

    return settled
