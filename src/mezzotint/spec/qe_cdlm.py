"""What a qe-cdlm run is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.quantize import QuantizeSpec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import Can, Card, Decoder, Ending

CARD = Card(
    name="qe-cdlm",
    title="Quantised embeddings for controllable diffusion language models",
    paper="Kang et al. 2024, arXiv:2402.10107",
    can=frozenset({Can.CONTINUE, Can.CONTROL, Can.INFILL}),
    bound="upper bound, that of the chain of steps",
    decoders=frozenset({Decoder.EXACT, Decoder.DDIM}),
    classifiers=True,
)


@dataclass(frozen=True, kw_only=True)
class QECDLMSpec(Spec):
    """Gaussian diffusion over learned `width`-dimensional vectors of `vocab` tokens, with weights of few values."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    few: QuantizeSpec = field(default_factory=QuantizeSpec)
    width: int = 16
    chain: int = 2000
    """Steps of the discrete chain: training's times, the noise of a token's vector at t = 0, and the bound."""
    clamp: bool = True
    """When writing, move every estimate onto the nearest token's vector."""
    layers: int = 0
    """Of each projection, 1 or 2. 0: as in the authors' code, one where they are quantised, two where not."""

    def validate(self) -> None:
        if self.ending is Ending.SYMBOL:
            raise UsageError("ending 'symbol' is for models that write left to right; qe-cdlm takes 'length' or 'fill'")
        if self.net.causal or self.net.condition:
            raise UsageError("qe-cdlm looks both ways and adds the time to its input; causal and condition must be off")
        if self.width < 1 or self.chain < 2:
            raise UsageError("width must be at least 1, chain at least 2")
        if self.layers not in (0, 1, 2):
            raise UsageError(f"layers must be 1 or 2, or 0 for what the paper's code has, not {self.layers}")

    @property
    def depth_of_projections(self) -> int:
        """Layers of each projection: 1 or 2."""
        return self.layers or (1 if self.few.of_projections else 2)
