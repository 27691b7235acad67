"""Classifier-free guidance: away from what is said without the condition.

Sources: Ho and Salimans 2022, arXiv:2207.12598, eq. 6; Strudel et al. 2022 (SED), arXiv:2211.04236, §3: the branch
without a condition goes without the earlier estimate too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.types import Canvas, Denoiser, Noised, Prediction


def classifier_free(denoise: Denoiser, scale: float, carry_guided: bool = True) -> Denoiser:
    """The denoiser that says u + scale (k - u): k with what is given, u with zeros in its place; scale 1 is k.

    Two evaluations a call where anything is given and scale is not 1; rows in which nothing is are left as they are.
    `carry_guided` hands the guided estimate on to the next call, as SED's equation reads; otherwise it is k's.
    """
    if scale == 1:
        return denoise

    def guided(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        known, told = denoise(noised, cond, previous, at), cond.given.any(1)
        if not bool(told.any()):
            return known
        plain = denoise(Noised(dropped(noised.z, cond.given), noised.t), cond, None, at)
        assert known.estimate is not None and plain.estimate is not None
        pulled = torch.lerp(plain.estimate, known.estimate, scale)
        estimate = torch.where(told[:, None, None], pulled, known.estimate)
        # What is forbidden stays so: minus infinity twice has no line through it.
        stays = known.logits.isneginf() | ~(told[:, None, None] if at is None else told[at[0], None])
        logits = torch.where(stays, known.logits, torch.lerp(plain.logits, known.logits, scale))
        return Prediction(logits, estimate, estimate if carry_guided else known.carry)

    return guided


def dropped(z: Tensor, given: Tensor) -> Tensor:
    """The state (B, L, D) with nothing said where it was given (B, L): zeros, as in training."""
    return z.masked_fill(given[..., None], 0)
