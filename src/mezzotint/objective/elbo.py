"""The evidence lower bound and its kin: divergence, free bits, annealing, and the importance-weighted bound.

Kingma and Welling 2013, arXiv:1312.6114, eq. 3 and App. B; free bits: Kingma et al. 2016, arXiv:1606.04934, §C.8, and
Li et al. 2019, arXiv:1909.00868; cyclic annealing: Fu et al. 2019, arXiv:1903.10145, eq. 6; several samples: Burda et
al. 2015 (IWAE), arXiv:1509.00519, eq. 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mezzotint.rng import Rng
from mezzotint.space.latent import draw
from mezzotint.spec.elbo import FreeBits, Weigh
from mezzotint.types import Loss, Posterior


def divergence(q: Posterior) -> Tensor:
    """(B, Z) nats: KL(q(z | x) || N(0, 1)) of each dimension."""
    return 0.5 * (q.mean**2 + q.logvar.exp() - q.logvar - 1)


def apply_free_bits(kl_BZ: Tensor, free: FreeBits, bits: float) -> Tensor:
    """(B,): the divergence (B, Z) as penalised, `bits` nats a dimension being free.

    Departure: TOTAL is over one text, not over the mean of a batch, so that a loss is a sum over its rows.
    """
    if free is FreeBits.TOTAL:
        return kl_BZ.sum(1).clamp(min=bits * kl_BZ.shape[1])
    if free is FreeBits.DIMENSION:
        return kl_BZ.clamp(min=bits).sum(1)
    if free is FreeBits.MASK:
        return (kl_BZ * (kl_BZ > bits)).sum(1)
    return kl_BZ.sum(1)


def weighted_elbo(
    nll: Tensor, kl_BZ: Tensor, symbols: Tensor, weight: float, free: FreeBits, bits: float, weigh: Weigh
) -> Loss:
    """The loss of texts with `nll` (B,) nats at a draw of their posteriors and `symbols` (B,) tokens each.

    It is the bound with the divergence (B, Z) weighted and partly free; the plain divergence stands in the parts.
    """
    penalty = apply_free_bits(kl_BZ, free, bits)
    if weigh is Weigh.TOKEN:
        penalty = penalty * symbols
    total = (nll + weight * penalty).sum()
    parts = {"reconstruction": nll.sum().detach(), "divergence": kl_BZ.sum().detach()}
    return Loss(total, parts, float(symbols.sum()))


def negative_elbo(q: Posterior, token_nll: Callable[[Tensor], Tensor], rng: Rng) -> Tensor:
    """(B,) float64 nats: -log p(x | z), the sum of token_nll(z) (B, L), for one draw z of q, and the divergence."""
    return token_nll(draw(q, rng.at("latent"))).double().sum(1) + divergence(q).double().sum(1)


def annealing_weight(fraction: float, cycles: int, silent: float, rising: float) -> float:
    """The divergence's weight, from 0 to 1, after `fraction` of the training.

    `cycles` times over: 0 for the share `silent` of a cycle, then rising linearly for the share `rising`, then 1. At
    the end of the training it is 1.
    """
    if fraction >= 1:
        return 1.0
    phase = fraction * cycles % 1
    if phase < silent:
        return 0.0
    return min(1.0, (phase - silent) / rising) if rising else 1.0


def importance_bound(log_weights_BS: Tensor) -> Tensor:
    """(B,) nats: -log of the mean of the S weights p(x | z) p(z) / q(z | x) of each text, given as logs.

    For S = 1 a draw of the evidence bound; its expectation falls with S, down to -log p(x).
    Departure: the authors' evaluator has the signs of log p(z) and log q(z | x) the wrong way round, which flatters by
    20 to 30 nats a text.
    """
    bound: Tensor = math.log(log_weights_BS.shape[1]) - torch.logsumexp(log_weights_BS.double(), dim=1)
    return bound
