"""What an rnn-vae run is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.elbo import WithLatent
from mezzotint.types import Can, Card, Ending

CARD = Card(
    name="rnn-vae",
    title="Recurrent variational autoencoder",
    paper="Bowman et al. 2016, arXiv:1511.06349",
    can=frozenset({Can.INTERPOLATE}),
    bound="upper bound, by one draw of the posterior each",
)


@dataclass(frozen=True, kw_only=True)
class RecurrentSpec(Spec):
    """Two stacks of LSTM layers, one that reads and one that writes, over one lookup."""

    dim: int = 128
    """The width of a token's vector."""
    hidden: int = 256
    """The width of a layer's state."""
    depth: int = 1
    """The layers of each stack."""

    def validate(self) -> None:
        if min(self.dim, self.hidden, self.depth) < 1:
            raise UsageError(
                f"dim {self.dim}, hidden {self.hidden} and depth {self.depth} are no recurrent network; "
                "all of them must be at least 1"
            )


@dataclass(frozen=True, kw_only=True)
class RNNVAESpec(WithLatent, Spec):
    """A latent of `latent` numbers a text, between two recurrent networks of the shape `net`."""

    vocab: int
    canvas: int
    ending: Ending
    net: RecurrentSpec = field(default_factory=RecurrentSpec)
    word_dropout: float = 0.0
    """The share of tokens that training hides from the writer, so that it has to ask the latent."""

    def validate(self) -> None:
        self.check_latent()
        if self.ending is not Ending.SYMBOL:
            raise UsageError("rnn-vae learns where a text ends; ending must be 'symbol'")
        if not 0 <= self.word_dropout < 1:
            raise UsageError(f"word_dropout must be at least 0 and below 1, not {self.word_dropout}")
