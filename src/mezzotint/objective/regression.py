"""The squared error of an estimate of the clean state: Ho et al. 2020 (DDPM), arXiv:2006.11239, §3.4, the x0 form."""

from __future__ import annotations

from torch import Tensor


def squared_error(estimate: Tensor, z0: Tensor, where: Tensor) -> Tensor:
    """(B,): the sum over positions `where` (B, L) of the mean over dimensions of (estimate - z0)^2, both (B, L, D).

    Strudel et al. 2022 (SED), arXiv:2211.04236, §3, leave open whether to sum or to average; averaged over D, an
    estimate of zero costs 1 at any width.
    """
    error: Tensor = ((estimate.float() - z0.float()) ** 2).mean(-1)
    return (error * where).sum(1)
