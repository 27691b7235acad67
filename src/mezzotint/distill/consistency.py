"""One step of the student for two of the teacher's: an objective without a critic, on the same rollouts.

Deschenaux and Gulcehre 2025 (SDTT), arXiv:2410.21035. At each masked position the target is what the teacher said in
the sub-step that revealed it, or in the last where none did; the loss is KL(student || target).
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
def two_step_targets(teacher: Denoiser, process: Absorbing, asked: StateLogits, middle: Tensor, rng: Rng) -> Tensor:
    """(K, V) logits at the masked pairs of a state, whose teacher goes by way of the times middle (B,), one a row."""
    z, rows = asked.noised.z, asked.at[0]
    said = teacher(asked.noised, asked.canvas, None, asked.at).logits
    L = z.shape[1]
    u, quantile = (rng.at(use).uniform(L).to(z.device)[asked.at] for use in ("reveal", "token"))
    shown = u < process.hazard(asked.noised.t, middle)[rows]
    ids = inverse_cdf(said.float().softmax(-1), quantile)
    then = Noised(z.index_put(asked.at, torch.where(shown, ids, process.mask)), middle)
    later = teacher(then, asked.canvas, None, asked.at).logits
    return torch.where(shown[:, None], said, later)
