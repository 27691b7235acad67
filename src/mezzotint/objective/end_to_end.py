"""The end-to-end objective of a table of vectors and the diffusion over it: error, prior and rounding.

Source: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §4.2, L_simple^e2e, with the terms as its code has them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.objective.regression import squared_error
from mezzotint.objective.rounding import row_nll
from mezzotint.process.gaussian import Gaussian
from mezzotint.rng import Rng
from mezzotint.space.learned import LearnedEmbedding
from mezzotint.types import Canvas, Denoiser


def end_to_end(
    denoise: Denoiser, space: LearnedEmbedding, process: Gaussian, steps: int, batch: Canvas, rng: Rng
) -> Mapping[str, Tensor]:
    """Three terms (B,), each a sum over free positions; the loss is their sum. Gradients of all reach the table.

    `error`: squared, of the estimate at one of `steps` times; the target is the noised vector z_0, but the token's own
    vector at the first of them. `prior`: |alpha(1) z_0|^2, without which vectors could grow until noise does not
    matter; `rounding`: -log p(w | z_0), without which they could all be one. Both squares are means over dimensions.
    """
    i = 1 + (rng.at("time").stratified() * steps).long().clamp(max=steps - 1)
    t = (i.double() / steps).to(batch.ids.device)
    z0 = space.encode(batch.ids, process.blur(steps), rng.at("sigma0"))
    noised = process.corrupt(z0, t, batch.free, rng.at("noise"))
    target = torch.where((t == 1 / steps)[:, None, None], space.clean(batch.ids), z0)
    estimate = denoise(noised, batch).estimate
    assert estimate is not None
    alpha, _ = process.wide(torch.ones_like(t), z0)
    return {
        "error": squared_error(estimate, target, batch.free),
        "prior": squared_error(alpha * z0, torch.zeros_like(z0), batch.free),
        "rounding": row_nll(space.logits(z0), batch.ids, batch.free),
    }
