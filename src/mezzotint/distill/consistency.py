"""One step of the student for two of the teacher's: an objective without a critic, on the same rollouts.

Deschenaux and Gulcehre 2025 (SDTT), arXiv:2410.21035. At each masked position the target is the teacher's
prediction in the sub-step that revealed it, or in the last where none did; the loss is KL(student || target).
Departure: the states are those that the student itself comes to, not data under masks; there is one round.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.distill.rollout import StateLogits
from mezzotint.process.absorbing import Absorbing
from mezzotint.rng import Rng
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.types import Denoiser, Noised


@torch.no_grad()
def two_step_targets(teacher: Denoiser, process: Absorbing, state: StateLogits, middle: Tensor, rng: Rng) -> Tensor:
    """(K, V) teacher logits at the masked pairs of a state, by way of the times middle (B,), one a row."""
    z, rows = state.noised.z, state.at[0]
    first = teacher(state.noised, state.canvas, None, state.at).logits
    L = z.shape[1]
    u, quantile = (rng.at(use).uniform(L).to(z.device)[state.at] for use in ("reveal", "token"))
    is_revealed = u < process.hazard(state.noised.t, middle)[rows]
    ids = inverse_cdf(first.float().softmax(-1), quantile)
    noised = Noised(z.index_put(state.at, torch.where(is_revealed, ids, process.mask)), middle)
    second = teacher(noised, state.canvas, None, state.at).logits
    return torch.where(is_revealed[:, None], first, second)
