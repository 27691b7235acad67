"""What a token's own noisy vector says of it: where a network has nothing to add, and where its task begins.

Source: the exact posterior of a token under one vector, Dieleman et al. 2022 (CDCD), arXiv:2211.15089, §3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.process.gaussian import Gaussian
from mezzotint.rng import Rng

PROBES = 128


@torch.no_grad()
def alone(process: Gaussian, vectors_VD: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) nats a token, and (N,) squared error of the mean vector: what is lost at times (N,) above 0 by who knows of
    each position only its noisy vector, if all tokens are as frequent. Means over the same PROBES at every time."""
    rng = Rng(0, range(PROBES))
    ids = (rng.at("probe").uniform() * len(vectors_VD)).long()[:, None].to(vectors_VD.device)
    everywhere = torch.ones_like(ids, dtype=torch.bool)
    vectors = vectors_VD[ids]
    losses = []
    for time in times:
        noised = process.corrupt(vectors, time.expand(PROBES), everywhere, rng.at("noise"))
        logits = process.evidence(noised, vectors_VD)
        error = ((logits.softmax(-1) @ vectors_VD - vectors) ** 2).sum(-1)
        losses.append(torch.stack([F.cross_entropy(logits[:, 0], ids[:, 0]), error.mean()]))
    nats, errors = torch.stack(losses).unbind(1)
    return nats, errors
