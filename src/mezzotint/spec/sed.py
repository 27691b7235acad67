"""What a sed run is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import pi, sin

from mezzotint.errors import UsageError
from mezzotint.spec.base import LONGEST, WIDEST, Spec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.types import Can, Card, Decoder, Ending

CARD = Card(
    name="sed",
    title="Self-conditioned embedding diffusion",
    paper="Strudel et al. 2022, arXiv:2211.04236",
    can=frozenset({Can.CONTINUE, Can.INFILL, Can.GUIDE}),
    bound="upper bound, that of the chain of steps",
    decoders=frozenset({Decoder.EXACT, Decoder.DDIM, Decoder.MULTISTEP}),
)


class GaussianNoise(Enum):
    """How the variance of the data falls with time (process/gaussian.py)."""

    COSINE = "cosine"
    COSINE_FLOORED = "cosine-floored"
    SQRT = "sqrt"


class Table(Enum):
    """Where the vectors of tokens come from."""

    RANDOM = "random"
    """Normal draws, fixed."""
    LEARNED = "learned"
    """Normal draws, trained with the rest."""
    PRETRAINED = "pretrained"
    """Another run's, fixed."""


class Speaks(Enum):
    """What the network says of the clean state."""

    VECTOR = "vector"
    """A vector for each position, trained by squared error: SED's way."""
    TOKENS = "tokens"
    """Odds for each token, to which those of its own noisy vector are added exactly; the estimate is their mean."""


class SelfCondition(Enum):
    """How a network learns to use its own earlier estimate."""

    NONE = "none"
    BOTH = "both"
    """A pass without one and a pass with the first pass's; both are trained."""
    COIN = "coin"
    """Half of the batches have a pass of which only the estimate is kept, then one that is trained."""


class Streams(Enum):
    """How given positions enter the network."""

    IN_PLACE = "in-place"
    """Their clean vectors stand where the noisy ones would."""
    APART = "apart"
    """In a stream of their own, with a mark."""


class Times(Enum):
    """How times are drawn in training, and how steps are placed in writing (process/warp.py)."""

    UNIFORM = "uniform"
    WARPED = "warped"
    """Where the loss falls, as learned on the way."""


@dataclass(frozen=True, kw_only=True)
class SEDSpec(Spec):
    """Gaussian diffusion over `width`-dimensional vectors of `vocab` tokens, canvases of up to `canvas` positions."""

    vocab: int
    canvas: int
    ending: Ending
    net: TransformerSpec
    width: int = 32
    table: Table = Table.RANDOM
    noise: GaussianNoise = GaussianNoise.COSINE
    beta1: float = 2e-3
    chain: int = 1000
    """Steps of the discrete chain that the schedule and the bound are stated in."""
    sigma0: float = 1e-2
    """Deviation of a token's vector at t = 0."""
    speaks: Speaks = Speaks.TOKENS
    self_condition: SelfCondition = SelfCondition.BOTH
    evidence: bool = True
    """Where there is no earlier estimate, the mean under each noisy vector alone stands in for it, instead of zeros."""
    streams: Streams = Streams.IN_PLACE
    noise_factor: float = 1.0
    """How much larger the noise is beside the signal than the schedule has it; the paper has 1."""
    times: Times = Times.UNIFORM
    spans: int = 5
    """The most spans that a text is cut into, every other one given; 1: nothing is ever given."""
    singly: float = 0.0
    """The share of texts whose positions are given one by one, at any rate, instead of in spans; the paper has 0."""
    drop: float = 0.1
    """How often what is given is dropped, for classifier-free guidance."""
    padding: float = 0.0
    """With ending=fill: the share of a text's positions that are left empty in training, at random places, so that
    writing can leave some empty too (the paper: 0.1)."""
    end: int = 0
    pad: int = 1
    """The ids that end a text and that stand on empty positions."""

    def validate(self) -> None:
        if self.ending is Ending.SYMBOL:
            raise UsageError("ending 'symbol' is for models that write left to right; sed takes 'length' or 'fill'")
        if self.net.causal or self.net.condition:
            raise UsageError("sed looks both ways and adds the time to its input; causal and condition must be off")
        if self.net.factor:
            raise UsageError("factor is for lookups inside a network; sed has vectors of its own: set width")
        if self.padding and self.ending is not Ending.FILL:
            raise UsageError("padding is for canvases that are written whole: set ending=fill with it")
        if self.padding and self.end == self.pad:
            raise UsageError("padding needs a token of its own, and this tokenizer pads with its end; take another one")
        if not 1 <= self.width <= WIDEST or self.spans < 1 or not 2 <= self.chain <= LONGEST:
            raise UsageError(f"width must be from 1 to {WIDEST}, chain from 2 to {LONGEST}, spans at least 1")
        if not 0.01 <= self.noise_factor <= 100 or not 0 <= self.singly <= 1:
            raise UsageError("noise_factor must be from 0.01 to 100, and singly a share from 0 to 1")
        if not (0 < self.beta1 < 1 and 0 <= self.sigma0 < 1 and 0 <= self.drop < 1 and 0 <= self.padding < 1):
            raise UsageError("beta1 must be between 0 and 1; sigma0, drop and padding at least 0 and below 1")
        least = sin(pi / 2 / self.chain) ** 2
        if self.noise is GaussianNoise.COSINE and self.beta1 < least:
            # Else the curve would begin left of its top, and noise would first fall with time.
            raise UsageError(f"a cosine chain of {self.chain} steps needs a beta1 of at least {least:.2g}")

    @property
    def pads_inside(self) -> bool:
        return self.padding > 0
