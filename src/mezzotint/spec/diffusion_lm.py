"""What a diffusion-lm run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from mezzotint.errors import UsageError
from mezzotint.spec.base import LONGEST, WIDEST, Spec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import Can, Card, Decoder, Ending

CARD = Card(
    name="diffusion-lm",
    title="Diffusion-LM",
    paper="Li et al. 2022, arXiv:2205.14217",
    can=frozenset({Can.CONTINUE, Can.CONTROL, Can.INFILL}),
    bound="upper bound, that of the chain of steps",
    decoders=frozenset({Decoder.EXACT, Decoder.DDIM}),
)


class Chained(Protocol):
    """What Diffusion-LM's process, objective and sampler have to know, of its own spec or another."""

    @property
    def vocab(self) -> int: ...
    @property
    def ending(self) -> Ending: ...
    @property
    def chain(self) -> int: ...
    @property
    def clamp(self) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class DiffusionLMSpec(Spec):
    """Gaussian diffusion over learned `width`-dimensional vectors of `vocab` tokens, up to `canvas` positions."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    width: int = 16
    chain: int = 2000
    """Steps of the discrete chain: training's times, the noise of a token's vector at t = 0, and the bound."""
    clamp: bool = True
    """When writing, move every estimate onto the nearest token's vector."""

    def validate(self) -> None:
        if self.ending is Ending.SYMBOL:
            raise UsageError(
                "ending 'symbol' is for models that write left to right; diffusion-lm takes 'length' or 'fill'"
            )
        if self.net.causal or self.net.condition:
            raise UsageError(
                "diffusion-lm looks both ways and adds the time to its input; causal and condition must be off"
            )
        if not 1 <= self.width <= WIDEST or not 2 <= self.chain <= LONGEST:
            raise UsageError(f"width must be from 1 to {WIDEST}, chain from 2 to {LONGEST}")
