"""A transformer between two projections: noisy vectors in, vectors out, the time added at the entrance.

Source: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, App. B and its code. The three projections are made by a
function, so that others can take their place.
Departure: the blocks are ours (pre-norm, rotary, neighbours mixed at the entrance, no dropout); BERT's, which the
paper's code takes, have their norms behind and learned places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from mezzotint.net.conditioning import sinusoids
from mezzotint.net.transformer import Norm, Trunk
from mezzotint.spec.transformer import TransformerSpec

CLOCK = 1000.0
"""Times are fed as the paper counts them, 0 to 1000."""
FEATURES = 128
"""Sinusoids of the time."""

Project = Callable[[int, int, int, type[nn.Module]], nn.Module]
"""(inputs, hidden, outputs, nonlinearity) -> a map of vectors (..., inputs) to vectors (..., outputs)."""


def two_layers(inputs: int, hidden: int, outputs: int, nonlinearity: type[nn.Module]) -> nn.Module:
    """Linear, nonlinear, linear: the paper's."""
    return nn.Sequential(nn.Linear(inputs, hidden), nonlinearity(), nn.Linear(hidden, outputs))


class ProjectedTransformer(Trunk):
    """States (B, L, W) and times (B,) to vectors (B, L, W), or as many numbers as `out`; positions up to `length`."""

    def __init__(
        self, spec: TransformerSpec, width: int, length: int, project: Project = two_layers, out: int | None = None
    ) -> None:
        super().__init__(spec, length)
        self.enter = project(width, spec.dim, spec.dim, nn.Tanh)
        self.time = project(FEATURES, 4 * FEATURES, spec.dim, nn.SiLU)
        self.norm = Norm(spec.dim)
        self.leave = project(spec.dim, spec.dim, width if out is None else out, nn.Tanh)

    def initialise(self, generator: torch.Generator) -> Self:
        """As every trunk; linear layers of the projections keep the variance of their inputs."""
        super().initialise(generator)
        for part in (self.enter, self.time, self.leave):
            for layer in part.modules():
                if isinstance(layer, nn.Linear):
                    with torch.no_grad():
                        layer.weight.normal_(0, layer.in_features**-0.5, generator=generator)
        return self

    def forward(self, z_BLW: Tensor, t: Tensor, real: Tensor | None = None) -> Tensor:
        """Real (B, L) hides padding. Computed in the weights' precision, given back in that of z."""
        dtype = self.norm.weight.dtype
        clock = self.time(sinusoids(t * CLOCK, FEATURES).to(dtype))
        h_BLD = self.through(self.enter(z_BLW.to(dtype)) + clock[:, None], None, real)
        out: Tensor = self.leave(self.norm(h_BLD))
        return out.to(z_BLW.dtype)
