"""The masked sampler as published, written out naively: Gumbel noise at every position, at every step.

An independent statement of the law that `sampler/reveal` must have, and the slow side where speeds are compared.
Sahoo et al. 2024, arXiv:2406.07524, eq. 7.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor


def naive_ancestral(
    logits_of: Callable[[Tensor, Tensor], Tensor],
    alpha: Callable[[Tensor], Tensor],
    rows: int,
    length: int,
    vocab: int,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """(rows, length) ids. `logits_of(z, t)` gives (rows, length, vocab); the mask is the id `vocab`.

    MDLM eq. 7: a masked position takes token v with probability p_v (a_s - a_t)/(1 - a_t), else stays masked.
    """
    z = torch.full((rows, length), vocab)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for t, s in pairwise(times):
        p = logits_of(z, t.expand(rows)).double().softmax(-1)
        a_t, a_s = alpha(t), alpha(s)
        q = torch.cat([p * (a_s - a_t), (1 - a_s).expand(rows, length, 1)], dim=-1).double()
        gumbel = -(-torch.rand(q.shape, generator=generator, dtype=torch.float64).clamp(min=1e-300).log()).log()
        z = torch.where(z == vocab, (q.log() + gumbel).argmax(-1), z)
    return z
