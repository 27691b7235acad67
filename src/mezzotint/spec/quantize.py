"""How few values a weight may have, and which weights."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec


class Quantize(Enum):
    """Which weights have few values."""

    NONE = "none"
    PROJECTIONS = "projections"
    """Those around the transformer: into it, of the time, out of it. As in the authors' code of QE-CDLM."""
    TABLE = "table"
    """The vectors of tokens: the literal reading of that paper's title."""
    BOTH = "both"


class Kind(Enum):
    """Which values a quantised weight can have."""

    BINARY = "binary"
    TERNARY = "ternary"
    POW2 = "pow2"
    LEVELS = "levels"


class Few(Enum):
    """The values that the weights of a finished run can be given."""

    TERNARY = "ternary"
    POW2 = "pow2"
    INT8 = "int8"


@dataclass(frozen=True, kw_only=True)
class QuantizeSpec(Spec):
    """What is quantised, and to which values."""

    quantize: Quantize = Quantize.PROJECTIONS
    kind: Kind = Kind.TERNARY
    levels: int = 4
    """Of kind `levels`: how many evenly spaced values, from the least weight to the greatest."""
    whole: int = 0
    """Of kind `pow2`: the digits before the point of the greatest value (i of the code's `fixed(i, f)`)."""
    fraction: int = 4
    """Of kind `pow2`: the digits after it (f)."""

    def validate(self) -> None:
        if self.quantize is Quantize.NONE and self.kind is not Kind.TERNARY:
            raise UsageError(
                f"kind '{self.kind.value}' is of quantised weights, and quantize 'none' leaves all in full"
            )
        if not 2 <= self.levels <= 65_536:
            raise UsageError(f"levels must be from 2 to 65536, not {self.levels}")
        if not 0 <= self.whole <= 30 or not 0 <= self.fraction <= 30 or self.whole + self.fraction == 0:
            raise UsageError(
                f"whole {self.whole} and fraction {self.fraction} leave no power of two; both must be from 0 to 30, "
                "and one of them above 0"
            )

    @property
    def of_projections(self) -> bool:
        """Whether the projections are quantised."""
        return self.quantize in (Quantize.PROJECTIONS, Quantize.BOTH)

    @property
    def of_table(self) -> bool:
        """Whether the vectors of tokens are."""
        return self.quantize in (Quantize.TABLE, Quantize.BOTH)
