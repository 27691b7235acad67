"""Quantised weights: stored in full and rounded where they are used, with straight-through gradients.

Sources: Kang et al. 2024 (QE-CDLM), arXiv:2402.10107, as its code has them; straight-through gradients: Bengio et al.
2013, arXiv:1308.3432; binary: Courbariaux et al. 2016, arXiv:1602.02830; ternary: Li et al. 2016 (TWN),
arXiv:1605.04711, eq. 4-6.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.net.projected import Project
from mezzotint.spec.quantize import Few, Kind, QuantizeSpec

TERNARY_THRESHOLD = 0.7
"""TWN: weights below this share of a row's mean size become zero."""


class Quantizer(ABC):
    """A map of weights (R, C) onto few values, row by row or as a whole."""

    @abstractmethod
    def values(self, w_RC: Tensor) -> Tensor:
        """The values (R, C), without a gradient."""

    def passes(self, w_RC: Tensor) -> Tensor | None:
        """(R, C) bool: which weights get the gradient of their values; None: all do."""
        return None

    def scales(self, w_RC: Tensor) -> Tensor | None:
        """(R, 1): what each row's values are multiples of; None where rows share their values."""
        return None

    def __call__(self, w_RC: Tensor) -> Tensor:
        """The values, with gradients straight through."""
        return _Straight.apply(w_RC, self)  # type: ignore[no-any-return, no-untyped-call]


class _Straight(torch.autograd.Function):
    """Not w + (values - w): in floating point that need not be one of the values."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, quantizer: Quantizer) -> Tensor:
        passes = quantizer.passes(w)
        ctx.is_cut = passes is not None
        if passes is not None:
            ctx.save_for_backward(passes)
        return quantizer.values(w)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (slope,) = slopes
        return (slope * ctx.saved_tensors[0] if ctx.is_cut else slope), None


class Binary(Quantizer):
    """The sign: -1 or 1, and 0 only for a weight of exactly 0. Weights beyond 1 get no gradient."""

    def values(self, w_RC: Tensor) -> Tensor:
        return w_RC.sign()

    def passes(self, w_RC: Tensor) -> Tensor:
        return w_RC.abs() <= 1


class Ternary(Quantizer):
    """-a, 0 or a in each row: 0 within TERNARY_THRESHOLD of its mean size, a the mean size of the others (TWN)."""

    def values(self, w_RC: Tensor) -> Tensor:
        return self.scales(w_RC) * torch.where(self._is_nonzero(w_RC), w_RC.sign(), 0.0)

    def scales(self, w_RC: Tensor) -> Tensor:
        is_nonzero = self._is_nonzero(w_RC)
        return (w_RC.abs() * is_nonzero).sum(-1, keepdim=True) / is_nonzero.sum(-1, keepdim=True).clamp(min=1)

    @staticmethod
    def _is_nonzero(w_RC: Tensor) -> Tensor:
        return w_RC.abs() > TERNARY_THRESHOLD * w_RC.abs().mean(-1, keepdim=True)


class PowersOfTwo(Quantizer):
    """The nearest power of two by its logarithm, sign kept, clipped at the greatest number of so many binary digits.

    There is no least one. As in the code, the clip cuts no gradient, and the greatest number need be no power of two.
    """

    def __init__(self, whole: int, fraction: int) -> None:
        self.largest = (2.0 ** (whole - 1) if whole > 0 else 0.0) + sum(2.0**-k for k in range(1, fraction + 1))

    def values(self, w_RC: Tensor) -> Tensor:
        power = torch.exp2(w_RC.abs().log2().round())
        return (w_RC.sign() * power).nan_to_num(0.0).clamp(-self.largest, self.largest)


class Octaves(Quantizer):
    """The nearest of so many powers of two by its logarithm, sign kept; the greatest is that of the greatest weight of
    all, and what is below the least becomes 0."""

    def __init__(self, sizes: int) -> None:
        self.sizes = sizes

    def values(self, w_RC: Tensor) -> Tensor:
        power = w_RC.abs().log2().round()
        return torch.where(power > power.amax() - self.sizes, w_RC.sign() * power.exp2(), 0.0)


class Levels(Quantizer):
    """The nearest of so many evenly spaced values, from the least weight of all to the greatest.

    Departure: the code's `int` leaves the numbers of the levels unscaled, and rounds down; it stands in no run of it.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def values(self, w_RC: Tensor) -> Tensor:
        lowest, greatest = w_RC.amin(), w_RC.amax()
        step = (greatest - lowest) / (self.levels - 1)
        if float(step) == 0:
            return w_RC.clone()
        return lowest + ((w_RC - lowest) / step).round() * step


class AlreadyQuantized(Quantizer):
    """The identity, for weights that come from codes: a second rounding could move them by a last digit."""

    def values(self, w_RC: Tensor) -> Tensor:
        return w_RC.clone()


MAKERS: Mapping[Kind, Callable[[QuantizeSpec], Quantizer]] = {
    Kind.BINARY: lambda spec: Binary(),
    Kind.TERNARY: lambda spec: Ternary(),
    Kind.POW2: lambda spec: PowersOfTwo(spec.whole, spec.fraction),
    Kind.LEVELS: lambda spec: Levels(spec.levels),
}


FEW: Mapping[Few, Callable[[], Quantizer]] = {
    Few.TERNARY: Ternary,
    # With both signs and 0, as many values as four bits tell apart, one left over.
    Few.POW2: lambda: Octaves(7),
    Few.INT8: lambda: Levels(256),
}
"""For weights that were trained in full."""


def quantizer_of(spec: QuantizeSpec) -> Quantizer:
    """The quantiser that a spec asks for."""
    return MAKERS[spec.kind](spec)


class QuantizedLinear(nn.Linear):
    """A linear layer with quantised weights and a bias that is not."""

    def __init__(self, inputs: int, outputs: int, quantizer: Quantizer) -> None:
        super().__init__(inputs, outputs)
        self.quantizer = quantizer

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Signs alone are drawn from (-1, 1), as in the code. Departure: weights of any size get that of any layer;
        the code's (-1, 1), meant for signs, makes what the network says many times too long."""
        if isinstance(self.quantizer, Binary):
            self.weight.uniform_(-1, 1, generator=generator)
        else:
            self.weight.normal_(0, self.in_features**-0.5, generator=generator)
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.quantizer(self.weight), self.bias)


def projections(linear: Callable[[int, int], nn.Linear], layers: int) -> Project:
    """Projections of one layer or of two with a nonlinearity between, each made by `linear(inputs, outputs)`."""

    def project(inputs: int, hidden: int, outputs: int, nonlinearity: type[nn.Module]) -> nn.Module:
        if layers == 1:
            return linear(inputs, outputs)
        return nn.Sequential(linear(inputs, hidden), nonlinearity(), linear(hidden, outputs))

    return project
