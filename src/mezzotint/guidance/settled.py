"""Estimates of words' own vectors, where the network learned those with noise on them; words that are sure are settled.

Diffusion-LM (Li et al. 2022), arXiv:2205.14217, §4.1, for its bound. Departure: without settling the bound is many
nats above any use: next to no noise, a squared error of 0.01 that no text would show costs several.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.process.gaussian import Gaussian
from mezzotint.types import Canvas, Denoiser, Noised, Prediction

SURE = 0.99
"""How probable a word is that the bound takes for settled: of 0.9, 0.99 and always, this cost an exact denoiser least.
"""


def settled(denoise: Denoiser, vectors_VD: Tensor, whole: Gaussian) -> Denoiser:
    """The denoiser of the words' own vectors (V, D), from one of vectors with noise of whole.sigma0 on them.

    Where noisy vector and read-out leave no doubt, the estimate is the mean of the words that they leave.
    """

    def sure(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        said = denoise(noised, cond, previous)
        assert said.estimate is not None
        odds = (whole.evidence(noised, vectors_VD) + said.logits).softmax(-1)
        is_settled = odds.amax(-1, keepdim=True) > SURE
        estimate = torch.where(is_settled, odds @ vectors_VD, whole.centre(noised, said.estimate))
        return Prediction(said.logits if at is None else said.logits[at], estimate)

    return sure
