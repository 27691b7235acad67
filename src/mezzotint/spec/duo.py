"""What a duo run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import Can, Card, Decoder, Ending

CARD = Card(
    name="duo",
    title="Uniform-state diffusion, where every token can still change",
    paper="Sahoo et al. 2025, arXiv:2506.10892",
    can=frozenset({Can.CONTINUE, Can.INFILL, Can.LONG}),
    decoders=frozenset({Decoder.EXACT, Decoder.GREEDY_TAIL}),
)


@dataclass(frozen=True, kw_only=True)
class DuoSpec(Spec):
    """Uniform-state diffusion over `vocab` ids and canvases of up to `canvas` positions."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    told: float = 0.5
    """Share of the training texts of which spans are given, so that prompts and gaps are known from noise."""
    spans: int = 4
    """The most spans into which such a text is parted; every other one is given."""

    def validate(self) -> None:
        if self.ending is Ending.SYMBOL:
            raise UsageError("ending 'symbol' is for models that write left to right; duo takes 'length' or 'fill'")
        if self.net.causal:
            raise UsageError("duo looks both ways; causal must be false")
        if not self.net.condition:
            raise UsageError("how much is noise cannot be seen; set condition, the width of the time, to 128 or so")
        if not 0 <= self.told <= 1 or self.spans < 2:
            raise UsageError(f"told must be a share and spans at least 2, not {self.told} and {self.spans}")
