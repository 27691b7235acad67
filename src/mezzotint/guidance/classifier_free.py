"""Classifier-free guidance: away from the prediction without the condition.

Sources: Ho and Salimans 2022, arXiv:2207.12598, eq. 6; Strudel et al. 2022 (SED), arXiv:2211.04236, §3: the branch
without a condition goes without the earlier estimate too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.types import Canvas, Denoiser, Noised, Prediction


def classifier_free(denoise: Denoiser, scale: float, carry_guided: bool = True) -> Denoiser:
    """The denoiser that predicts u + scale (k - u): k with what is given, u with zeros in its place; scale 1 is k.

    Two evaluations a call where anything is given and scale is not 1; rows with nothing given keep k.
    `carry_guided` carries the guided estimate to the next call, as SED's equation reads; otherwise k's is carried.
    """
    if scale == 1:
        return denoise

    def guided(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        conditional, has_given = denoise(noised, cond, previous, at), cond.given.any(1)
        if not bool(has_given.any()):
            return conditional
        unconditional = denoise(Noised(dropped(noised.z, cond.given), noised.t), cond, None, at)
        assert conditional.estimate is not None and unconditional.estimate is not None
        guided_value = torch.lerp(unconditional.estimate, conditional.estimate, scale)
        estimate = torch.where(has_given[:, None, None], guided_value, conditional.estimate)
        # Forbidden tokens stay so: there is no line through minus infinity twice.
        is_kept = conditional.logits.isneginf() | ~(has_given[:, None, None] if at is None else has_given[at[0], None])
        guided_logits = torch.lerp(unconditional.logits, conditional.logits, scale)
        logits = torch.where(is_kept, conditional.logits, guided_logits)
        return Prediction(logits, estimate, estimate if carry_guided else conditional.carry)

    return guided


def dropped(z: Tensor, given: Tensor) -> Tensor:
    """The state (B, L, D) with zeros where it was given (B, L), as in training."""
    return z.masked_fill(given[..., None], 0)
