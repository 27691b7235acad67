"""What an ar-seq2seq run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec
from mezzotint.spec.transformer import Positions
from mezzotint.types import Can, Card, Decoder, Ending

CARD = Card(
    name="ar-seq2seq",
    title="Autoregressive encoder-decoder",
    paper="Vaswani et al. 2017, arXiv:1706.03762",
    can=frozenset({Can.TRANSLATE}),
    exact=True,
    decoders=frozenset({Decoder.EXACT, Decoder.BEAM}),
)


@dataclass(frozen=True, kw_only=True)
class ARSeq2SeqSpec(Spec):
    """Texts of up to `canvas` positions from sources of up to `source_canvas`, the end symbols among them."""

    vocab: int
    canvas: int
    source_canvas: int
    ending: Ending
    net: EncoderDecoderSpec
    smoothing: float = 0.1
    """The share of the loss that is a mean over all ids (label smoothing)."""
    end: int = 0
    """The id that ends a text, and stands before its first token."""
    pad: int = 1
    """The id that fills what is not written yet."""

    def validate(self) -> None:
        if self.ending is not Ending.SYMBOL:
            raise UsageError("ar-seq2seq writes until the end symbol; it takes ending 'symbol'")
        if self.net.positions is Positions.EDGES:
            raise UsageError("positions 'edges' looks ahead to the end; ar-seq2seq takes 'start' or 'none'")
        if not 0 <= self.smoothing < 1:
            raise UsageError(f"smoothing must be at least 0 and below 1, not {self.smoothing}")
        if min(self.end, self.pad) < 0:
            raise UsageError(f"end and pad are ids of the vocabulary, not {self.end} and {self.pad}")
