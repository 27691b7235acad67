"""What an mdlm run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import OVER_MASKS, Can, Card, Ending

CARD = Card(
    name="mdlm",
    title="Masked diffusion language model",
    paper="Sahoo et al. 2024, arXiv:2406.07524",
    can=frozenset({Can.CONTINUE, Can.CONTROL, Can.INFILL, Can.LONG}),
    bound="upper bound, any-order form",
    decoders=OVER_MASKS,
)


class MaskNoise(Enum):
    """The schedule by which masks appear."""

    LOG_LINEAR = "log-linear"
    COSINE = "cosine"


class Bound(Enum):
    """Which form of the training bound; both have the same expectation (objective/masked.py)."""

    TIMES = "times"
    COUNTS = "counts"


@dataclass(frozen=True, kw_only=True)
class MDLMSpec(Spec):
    """Masked diffusion over `vocab` ids and canvases of up to `canvas` positions."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    noise: MaskNoise = MaskNoise.LOG_LINEAR
    bound: Bound = Bound.COUNTS
    time_conditioning: bool = False
    """Feed the network the true noise level; otherwise it always sees zero, as in MDLM's default."""
    mask_output: bool = False
    """The head has one more output, for the mask, that is never used: published checkpoints have it."""
    frame: int = -1
    """An id that stands, given, before and after every canvas: published models learned from windows framed by their
    end token. -1: nothing does."""

    def validate(self) -> None:
        if self.ending is Ending.SYMBOL:
            raise UsageError("ending 'symbol' is for models that write left to right; mdlm takes 'length' or 'fill'")
        if self.net.causal:
            raise UsageError("mdlm looks both ways; causal must be false")
        if self.time_conditioning and self.bound is Bound.COUNTS:
            raise UsageError("a number of masks has no time to condition on; set bound=times with time_conditioning")
        if self.time_conditioning and not self.net.condition:
            raise UsageError("time_conditioning needs a network with a condition; set condition to a width such as 128")
        if not -1 <= self.frame < self.vocab:
            raise UsageError(f"frame must be an id below {self.vocab}, or -1 for none, not {self.frame}")
