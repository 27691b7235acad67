"""What an ar run is made of."""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import Can, Card, Ending

CARD = Card(
    name="ar",
    title="Autoregressive transformer",
    paper="Radford et al. 2019 (GPT-2), in the shape of the other systems",
    can=frozenset({Can.CONTINUE, Can.CONTROL}),
    exact=True,
)


@dataclass(frozen=True, kw_only=True)
class ARSpec(Spec):
    """A causal transformer over `vocab` ids; texts of up to `canvas` positions, the end symbol among them."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    end: int = 0
    """The id that ends a text, and stands before its first token."""
    pad: int = 1
    """The id that fills what is not written yet."""

    def validate(self) -> None:
        if self.ending is Ending.FILL:
            raise UsageError("ending 'fill' is for models that write a whole canvas; ar takes 'symbol' or 'length'")
        if not self.net.causal:
            raise UsageError("ar needs causal=true: it may only look back")
        if min(self.end, self.pad) < 0:
            raise UsageError(f"end and pad are ids of the vocabulary, not {self.end} and {self.pad}")
