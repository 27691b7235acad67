"""What an adavae run is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from mezzotint.errors import UsageError
from mezzotint.spec.base import Spec
from mezzotint.spec.elbo import WithLatent
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import Can, Card, Ending

CARD = Card(
    name="adavae",
    title="Variational autoencoder by adapters",
    paper="Tu et al. 2022, arXiv:2205.05862",
    can=frozenset({Can.INTERPOLATE}),
    bound="upper bound, by one draw of the posterior each",
    backbone=True,
)


class Infuse(Enum):
    """How the decoder's blocks learn of the latent: by keys and values that every position sees."""

    ATTENTION = "attention"
    """A key and a value: pseudo self-attention."""
    MEMORY = "memory"
    """One vector that is both."""
    BOTH = "both"
    """The two side by side."""
    NONE = "none"
    """Nothing: the backbone tuned by itself, with no latent, to compare with. Its likelihood is exact."""


class Beside(Enum):
    """Which branches of a block its adapter stands beside."""

    MLP = "mlp"
    BOTH = "both"
    """With the same weights: what the authors' code does."""


class Tune(Enum):
    """What is trained."""

    ADAPTERS = "adapters"
    """What is added to the backbone, and its norms."""
    ALL = "all"
    """The backbone too."""


@dataclass(frozen=True, kw_only=True)
class AdaVAESpec(WithLatent, Spec):
    """A latent of `latent` numbers a text, between the halves of one backbone of the shape `net`."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    reach: int = 0
    """How many positions the backbone has learned; 0: as many as the canvas has."""
    bottleneck: int = 0
    """The width of an adapter; 0: a sixth of the network's."""
    encoder: int = 0
    """How many of the first blocks read a text into its latent; 0: two thirds."""
    beside: Beside = Beside.MLP
    infuse: Infuse = Infuse.ATTENTION
    projection: int = 0
    """The width that the latent is brought to before each block has its own map of it; 0: it is not. Both maps are
    linear, so that this adds weights and nothing that could be said with them; the paper's is the network's width."""
    late: float = 1 / 6
    """The share of a training in which the decoder's adapters wait for the encoder's."""
    tune: Tune = Tune.ADAPTERS

    @property
    def width(self) -> int:
        """The width of an adapter."""
        return self.bottleneck or max(1, self.net.dim // 6)

    @property
    def readers(self) -> int:
        """How many blocks read."""
        return self.encoder or max(1, round(2 * self.net.depth / 3))

    @property
    def has_latent(self) -> bool:
        """Whether there is a latent that the decoder learns of."""
        return self.infuse is not Infuse.NONE

    def validate(self) -> None:
        self.check_latent()
        if self.ending is not Ending.SYMBOL:
            raise UsageError("adavae's decoder learns where a text ends; ending must be 'symbol'")
        if not self.net.causal or self.net.condition:
            raise UsageError("adavae stands on a network that looks back and knows no time; causal without condition")
        if self.reach and self.canvas > self.reach:
            raise UsageError(f"a canvas of {self.canvas} is more than the {self.reach} positions of the backbone")
        widths = (self.reach, self.bottleneck, self.encoder, self.projection)
        if min(widths) < 0 or self.readers > self.net.depth:
            raise UsageError(f"no width is negative, and encoder at most the {self.net.depth} blocks there are")
        if not 0 <= self.late < 1:
            raise UsageError(f"late is a share of the training, at least 0 and below 1, not {self.late}")


@dataclass(frozen=True, kw_only=True)
class PriorSpec(Spec):
    """A diffusion prior on a run's latents of `latent` numbers, by a network over one vector."""

    latent: int
    net: TransformerSpec = field(default_factory=lambda: TransformerSpec(dim=256, depth=4, heads=1))
    steps: int = 64
    """In how many a point is drawn."""
    beta1: float = 1e-4
    """The variance of the first of a thousand steps of noise."""

    def validate(self) -> None:
        if self.steps < 1 or not 0 < self.beta1 < 1:
            raise UsageError("a prior's steps must be at least 1, and beta1 between 0 and 1")
        if self.latent < 1 or self.net.causal or self.net.neighbours or self.net.condition:
            raise UsageError("a prior's network sees one vector; latent must be at least 1, and net a plain one")
