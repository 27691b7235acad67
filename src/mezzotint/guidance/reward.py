"""Guidance by the gradient of a reward with respect to the logits.

Zheng et al. 2025 (DiDi-Instruct), arXiv:2509.25035, reward-guided ancestral sampling, the early steps. The reward reads
every masked position as the mean of the tokens predicted there; tokens are drawn only at the positions asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mezzotint.types import Canvas, Denoiser, Noised, Prediction

Pairs = tuple[Tensor, Tensor]
Reward = Callable[[Noised, Canvas, Pairs, Tensor], Tensor]
"""(state, canvas, the masked pairs (rows (K,), positions (K,)), logits there (K, V)) -> a reward (K,) for each."""

MAX_SLOPE = 1.0
"""Entries of the gradient are clipped to this size."""


def tilt_by_reward(denoise: Denoiser, mask: int, reward: Reward, strength: Callable[[Tensor], Tensor]) -> Denoiser:
    """The denoiser whose logits are moved by strength(t) (B,) times the gradient of their rewards' sum.

    Where the strength is 0 for all rows no reward is computed. One evaluation of the denoiser a call in any case.
    """

    def tilted(noised: Noised, cond: Canvas, previous: object = None, at: Pairs | None = None) -> Prediction:
        assert at is not None, "a tilted denoiser is asked about masked positions: say which"
        scale = strength(noised.t)
        if not bool((scale > 0).any()):
            return denoise(noised, cond, previous, at)
        rows, positions = (cond.free & (noised.z == mask)).nonzero(as_tuple=True)
        masked = (rows, positions)
        logits = denoise(noised, cond, previous, masked).logits
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            (slope,) = torch.autograd.grad(reward(noised, cond, masked, leaf).sum(), leaf)
        moved = logits + scale.to(logits.dtype)[rows, None] * slope.clamp(-MAX_SLOPE, MAX_SLOPE)
        pair_number = torch.zeros_like(noised.z).index_put(masked, torch.arange(len(moved), device=moved.device))
        return Prediction(moved[pair_number[at]])

    return tilted
