"""Guides that exclude tokens, so that whatever draws the tokens needs no case for it.

Setting logits to minus infinity tilts the token distributions, under which the reveal-time sampler stays exact.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mezzotint.types import Canvas, Denoiser, Noised, Prediction


def forbid(denoise: Denoiser, ids: tuple[int, ...]) -> Denoiser:
    """The denoiser under which `ids` have probability zero."""
    if not ids:
        return denoise
    banned = torch.tensor(ids)

    def forbidden(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        prediction = denoise(noised, cond, previous, at)
        logits = prediction.logits.index_fill(-1, banned.to(prediction.logits.device), -math.inf)
        return Prediction(logits, prediction.estimate, prediction.carry)

    return forbidden


def respect_spacing(denoise: Denoiser, spaced_V: Tensor | None) -> Denoiser:
    """The denoiser whose tokens begin with a space, or not, as `Canvas.start` demands at the edges of gaps.

    spaced_V (V,) bool says which ids begin with one; None makes no demand.
    """
    if spaced_V is None:
        return denoise

    def spaced(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        prediction = denoise(noised, cond, previous, at)
        logits = cond.respect_spacing(prediction.logits, spaced_V, at)
        return Prediction(logits, prediction.estimate, prediction.carry)

    return spaced
