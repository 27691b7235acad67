"""Temperature and nucleus for walks through vectors: the estimate is the mean of the tempered odds of tokens.

Dieleman et al. 2022 (CDCD), arXiv:2211.15089, §3.1, take that mean as it is; nucleus: Holtzman et al. 2019,
arXiv:1904.09751.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.space.odds import tilt
from mezzotint.types import Canvas, Denoiser, Noised, Prediction


def mean_under(denoise: Denoiser, vectors_VD: Tensor, temperature: float, top_p: float) -> Denoiser:
    """The denoiser whose estimate is the mean of the table (V, D) under its logits, tempered and cut to a nucleus.

    Temperature 0 is the vector of the likeliest token. Other guides of the logits reach the estimate here.
    """

    def tempered(
        noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        logits = denoise(noised, cond, previous, at).logits
        estimate = tilt(logits, temperature, top_p).to(noised.z.dtype) @ vectors_VD
        return Prediction(logits, estimate, estimate)

    return tempered
