"""The encoder-decoder transformer's spec."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.transformer import Positions


class NormPlace(Enum):
    """Where the norms stand."""

    PRE = "pre"
    """In front of every branch, and at the end: x + branch(norm(x))."""
    POST = "post"
    """Behind every sum: norm(x + branch(x))."""


class LengthBeam(Enum):
    """Which lengths are tried where several are asked for."""

    WINDOW = "window"
    """Those around the likeliest one."""
    TOP = "top"
    """The likeliest ones."""


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderSpec(Spec):
    """A transformer that reads a source and one that looks at what was read, of the same shape."""

    dim: int = 128
    depth: int = 4
    """Layers of each."""
    heads: int = 4
    hidden: int = 256
    """Width of the feed-forward networks."""
    norms: NormPlace = NormPlace.PRE
    rotary: bool = True
    positions: Positions = Positions.NONE
    """Learned positions, on both sides."""
    neighbours: int = 0
    """How many tokens, itself included, each token's vector is mixed from at the entrance; 0: only its own."""
    dropout: float = 0.0

    def validate(self) -> None:
        if min(self.dim, self.depth, self.heads, self.hidden) < 1 or self.dim % (2 * self.heads):
            raise UsageError(
                f"dim {self.dim} with {self.heads} heads, depth {self.depth} and hidden {self.hidden} is no "
                "transformer; dim must be a multiple of twice the heads, and all of them positive"
            )
        if self.neighbours < 0 or (self.neighbours and self.neighbours % 2 == 0):
            raise UsageError(f"neighbours must be odd, as many on either side, or 0 for none, not {self.neighbours}")
        if not 0 <= self.dropout < 1:
            raise UsageError(f"dropout must be at least 0 and below 1, not {self.dropout}")
