"""Clamping: an estimate moved onto the nearest token's vector, so that a walk commits to words.

Source: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf

from torch import Tensor

from mezzotint.types import Canvas, Denoiser, Noised, Prediction


def clamp(denoise: Denoiser, vectors_VD: Tensor, read: Callable[[Tensor], Tensor] | None = None) -> Denoiser:
    """The denoiser whose estimates are rows of the table (V, D): at each position the nearest that is not forbidden.

    Where `read` gives logits (B, L, V) of vectors (B, L, D), they are those of the moved estimate.
    """

    def clamped(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        prediction = denoise(noised, cond, previous)
        assert prediction.estimate is not None
        is_forbidden = prediction.logits.isneginf()
        # |x - e|^2 falls as this rises.
        nearness = prediction.estimate @ vectors_VD.mT - (vectors_VD**2).sum(-1) / 2
        estimate = vectors_VD[nearness.masked_fill(is_forbidden, -inf).argmax(-1)]
        logits = prediction.logits if read is None else read(estimate).masked_fill(is_forbidden, -inf)
        return replace(prediction, logits=logits if at is None else logits[at], estimate=estimate)

    return clamped
