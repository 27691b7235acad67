"""Clamping: an estimate moved onto the nearest token's vector, so that a walk commits to words.

Source: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §4.3.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.types import Canvas, Denoiser, Noised, Prediction


def clamp(denoise: Denoiser, vectors_VD: Tensor) -> Denoiser:
    """The denoiser whose estimates are rows of the table (V, D): at each position the nearest one."""

    def clamped(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        said = denoise(noised, cond, previous, at)
        assert said.estimate is not None
        nearest = torch.cdist(said.estimate.flatten(0, 1), vectors_VD).argmin(-1).view(said.estimate.shape[:2])
        return replace(said, estimate=vectors_VD[nearest])

    return clamped
