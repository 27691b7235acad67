"""The transformer's spec, and the shapes that the size dial stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mezzotint.errors import UsageError
from mezzotint.spec.base import Size, Spec


class Gelu(Enum):
    """erf is the exact form and the faster one on CPUs; imported weights may have been trained with tanh."""

    ERF = "erf"
    TANH = "tanh"


class Positions(Enum):
    """Learned absolute positions, added to the token vectors.

    Rotary attention alone cannot tell the positions of a canvas that is all masks apart.
    """

    NONE = "none"
    START = "start"
    """Counted from the first position."""
    EDGES = "edges"
    """Counted from the first and from the last real position, summed."""


@dataclass(frozen=True, kw_only=True)
class TransformerSpec(Spec):
    """A pre-norm transformer; with `condition` its norms are modulated by the time (adaLN)."""

    dim: int = 128
    depth: int = 4
    heads: int = 4
    condition: int = 0
    """Width of the time condition; 0: the network is not told the time."""
    gelu: Gelu = Gelu.ERF
    tied: bool = True
    """The output layer uses the token vectors."""
    factor: int = 0
    """Width of the token vectors, which a linear layer then brings to dim; 0: they are of width dim themselves."""
    rotary: bool = True
    positions: Positions = Positions.NONE
    neighbours: int = 0
    """How many tokens, itself included, each token's vector is mixed from before the first block; 0: only its own."""
    causal: bool = False
    dropout: float = 0.0
    biases: bool = False
    """As in GPT-2: norms and attention have biases, the head has none."""
    inhibition: bool = False
    """Queries and keys have gates, which `mezzotint finetune --adapter ina` trains (net/attention.py)."""

    def validate(self) -> None:
        if min(self.dim, self.depth, self.heads) < 1 or self.dim % (2 * self.heads):
            raise UsageError(
                f"dim {self.dim} with {self.heads} heads and depth {self.depth} is no transformer; "
                "dim must be a multiple of twice the heads, and all of them positive"
            )
        if self.condition < 0:
            raise UsageError(f"condition must be a width, or 0 for none, not {self.condition}")
        if not 0 <= self.factor <= self.dim:
            raise UsageError(f"factor must be a width of at most dim, or 0 for none, not {self.factor}")
        if self.causal and self.positions is Positions.EDGES:
            raise UsageError("positions 'edges' looks ahead to the end; a causal network takes 'start' or 'none'")
        if self.neighbours < 0 or (self.neighbours % 2 == 0 and not self.causal and self.neighbours):
            raise UsageError(f"neighbours must be odd, as many on either side, or 0 for none, not {self.neighbours}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, not {self.dropout}")


@dataclass(frozen=True)
class Shape:
    """What a size stands for."""

    dim: int
    depth: int
    heads: int
    canvas: int
    """The longest canvas, in tokens."""
    batch: int


NEIGHBOURS = 5
"""How many tokens our own models mix at the entrance. After 600 steps on e2e mdlm's bound is 2.54 nats, not 3.26."""

SHAPES = {
    Size.TINY: Shape(dim=128, depth=4, heads=4, canvas=64, batch=64),
    Size.SMALL: Shape(dim=512, depth=8, heads=8, canvas=256, batch=128),
    Size.BASE: Shape(dim=768, depth=12, heads=12, canvas=1024, batch=256),
}
