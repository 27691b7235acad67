"""What a cmlm run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec, LengthBeam
from mezzotint.types import OVER_MASKS, Can, Card, Ending

CARD = Card(
    name="cmlm",
    title="Masked language model from a source",
    paper="Ghazvininejad et al. 2019 (CMLM), arXiv:1904.09324",
    can=frozenset({Can.TRANSLATE}),
    bound="upper bound, any-order form",
    decoders=OVER_MASKS,
)


@dataclass(frozen=True, kw_only=True)
class CMLMSpec(Spec):
    """Texts of up to `canvas` positions from sources of up to `source_canvas`."""

    vocab: int
    canvas: int
    source_canvas: int
    ending: Ending
    net: EncoderDecoderSpec
    smoothing: float = 0.1
    """The share of the loss that is a mean over all ids (label smoothing)."""
    length_weight: float = 0.1
    length_beam: LengthBeam = LengthBeam.WINDOW
    pad: int = 1

    def validate(self) -> None:
        if self.ending is not Ending.LENGTH:
            raise UsageError("cmlm says how long a text is before it writes it; it takes ending 'length'")
        if not (0 <= self.smoothing < 1 and self.length_weight >= 0):
            raise UsageError("smoothing must be at least 0 and below 1, length_weight not negative")
