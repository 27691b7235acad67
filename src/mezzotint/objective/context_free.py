"""The losses of a denoiser without context, which reads each token off its own noisy vector: a network's baseline.

Source: the exact posterior of a token under one vector, Dieleman et al. 2022 (CDCD), arXiv:2211.15089, §3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.process.gaussian import Gaussian
from mezzotint.rng import Rng
from mezzotint.types import Noised

PROBES = 64


@torch.no_grad()
def context_free_losses(process: Gaussian, vectors_VD: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) nats a token, and (N,) squared error of the mean vector, at times (N,) above 0, under the exact posterior of
    each token given its own noisy vector and equal frequencies. Means over the same PROBES at every time."""
    rng = Rng(0, range(PROBES))
    ids = (rng.at("probe").uniform() * len(vectors_VD)).long().to(vectors_VD.device)
    vectors = vectors_VD[ids][:, None]
    noise = rng.at("noise").normal(*vectors.shape[1:]).to(vectors)
    losses = []
    for time in times:
        t = time.expand(PROBES)
        alpha, sigma = process.wide(t, vectors)
        logits = process.evidence(Noised(alpha * vectors + sigma * noise, t), vectors_VD)[:, 0]
        error = ((logits.softmax(-1) @ vectors_VD - vectors[:, 0]) ** 2).sum(-1)
        losses.append(torch.stack([F.cross_entropy(logits, ids), error.mean()]))
    nats, errors = torch.stack(losses).unbind(1)
    return nats, errors
