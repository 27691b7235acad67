"""What a difformer run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec, LengthBeam
from mezzotint.types import Can, Card, Decoder, Ending

CARD = Card(
    name="difformer",
    title="Embedding diffusion from a source",
    paper="Gao et al. 2022 (Difformer), arXiv:2212.09412",
    can=frozenset({Can.TRANSLATE}),
    bound="upper bound, that of the chain of steps",
    decoders=frozenset({Decoder.EXACT, Decoder.DDIM, Decoder.MULTISTEP}),
)


class EmbedNorm(Enum):
    """Where the layer norm of embeddings stands."""

    NONE = "none"
    TABLE = "table"
    """On every token's vector, so that all have one length: the paper's first versions."""
    INPUT = "input"
    """On what enters the decoder, time and places added: the released code."""


class Names(Enum):
    """What is asked to name the token, beside the error of the estimate."""

    ANCHOR = "anchor"
    """The estimate, so that the network has to tell tokens apart: the anchor loss."""
    ROUNDING = "rounding"
    """The true vector, as in Diffusion-LM, which alone lets the vectors collapse."""


class Louder(Enum):
    """How the noise factor enters."""

    NOISE = "noise"
    """The noise is multiplied, and the variance with it."""
    SCHEDULE = "schedule"
    """The schedule is changed to the same signal-to-noise ratio, and the variance kept."""


@dataclass(frozen=True, kw_only=True)
class DifformerSpec(Spec):
    """Texts of up to `canvas` positions from sources of up to `source_canvas`, vectors of `width` numbers a token."""

    vocab: int
    canvas: int
    source_canvas: int
    ending: Ending
    net: EncoderDecoderSpec
    width: int = 128
    embed_norm: EmbedNorm = EmbedNorm.INPUT
    names: Names = Names.ANCHOR
    smoothing: float = 0.1
    """The share of that loss that is a mean over all ids."""
    factor: float = 4.0
    """How much louder than the data the noise of training is."""
    louder: Louder = Louder.NOISE
    decode_factor: float = 1.0
    """The same when writing. Less noise than the network is told makes it trust the source more."""
    chain: int = 2000
    """Steps of the discrete chain that the bound is stated in."""
    self_condition: bool = True
    length_weight: float = 0.1
    length_beam: LengthBeam = LengthBeam.WINDOW
    early_stop: float = 0.25
    """The share of the steps that is left out at the end, where estimates hardly change any more."""
    end: int = 0
    pad: int = 1

    def validate(self) -> None:
        if self.ending is not Ending.LENGTH:
            raise UsageError("difformer says how long a text is before it writes it; it takes ending 'length'")
        if self.width < 1 or self.chain < 2:
            raise UsageError("width must be at least 1, chain at least 2")
        if not (0 <= self.smoothing < 1 and 0 <= self.early_stop < 1 and self.length_weight >= 0):
            raise UsageError("smoothing and early_stop must be at least 0 and below 1; length_weight not negative")
        if self.factor <= 0 or self.decode_factor <= 0:
            raise UsageError("factor and decode_factor multiply noise, and must be positive")
