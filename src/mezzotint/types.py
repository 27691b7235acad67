"""The records that cross module boundaries, and the legend of shape letters.

Letters, used as suffixes of names and in comments:

    B  rows of a batch            D  width of the network's residual stream
    L  positions of a canvas      V  entries of the vocabulary, the mask not counted
    H  attention heads            K  (row, position) pairs whose logits are wanted
    C  width of a condition       N  points of a time grid

Time t runs from 0 (data) to 1 (noise) everywhere, one value a row; `s < t` is where a step goes.
This module imports no torch at run time, so that help and errors stay fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, replace
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from mezzotint.rng import Rng, Streams
    from mezzotint.spec.encoder_decoder import EncoderDecoderSpec
    from mezzotint.spec.rnn_vae import RecurrentSpec
    from mezzotint.spec.transformer import TransformerSpec


class Can(Enum):
    """What a system can be asked for. Command line, server and page offer exactly what its card lists."""

    CONTINUE = "continue"
    CONTROL = "control"
    """Texts of which something is wanted: a length, words, what a classifier learned to tell."""
    INFILL = "infill"
    GUIDE = "guide"
    """Guidance towards what is given, by a scale."""
    INTERPOLATE = "interpolate"
    """Texts as points of a latent space: what lies between two, an analogy, a transfer."""
    LONG = "long"
    """Texts longer than its canvas, block after block; for runs of windows."""
    REWARD = "reward"
    """Guidance by the reward that it learned from."""
    TRANSLATE = "translate"
    """From a source, and only from one: such a system learns from pairs of texts."""


class Layout(Enum):
    """How a corpus becomes rows."""

    TEXTS = "texts"
    """A line or record is a text."""
    WINDOWS = "windows"
    """Documents are joined with the end token and cut into rows of equal length."""


class Ending(Enum):
    """How a canvas says where its text stops."""

    LENGTH = "length"
    """Only the text has positions; how many is drawn from the training texts, and costs -log p(length) in the bound."""
    FILL = "fill"
    """The end token and padding up to the canvas length are ordinary tokens to be predicted."""
    SYMBOL = "symbol"
    """One end token closes the text; nothing follows it."""


class Decoder(Enum):
    """How a system goes from noise to text; the rules themselves are in `sampler/decoders` and `sampler/gaussian`."""

    EXACT = "exact"
    """Ancestral sampling. Under masks by reveal times: the same law for as few evaluations as it allows."""
    SPREAD = "spread"
    """As `exact`, but positions that are revealed together stand far apart: for few steps."""
    CONFIDENCE = "confidence"
    """The positions where the likeliest token is likeliest, a fixed share a step."""
    MARGIN = "margin"
    """The positions where the likeliest token is furthest ahead of the second."""
    ENTROPY = "entropy"
    """The positions whose distribution has the least entropy."""
    THRESHOLD = "threshold"
    """By confidence, and with them all positions that are sure enough; the evaluations differ from text to text."""
    REMASK = "remask"
    """Written tokens return to the mask with a probability of at most the strength a step, and are written again."""
    REMASK_RESCALED = "remask-rescaled"
    """The same with the strength as a share of the greatest probability there can be."""
    DDIM = "ddim"
    """Through vectors without new noise on the way."""
    MULTISTEP = "multistep"
    """The same to second order (DPM-Solver++), for few steps."""
    MASK_PREDICT = "mask-predict"
    """All masks are written at every step; then those tokens that were written least surely become masks again."""
    GREEDY_TAIL = "greedy-tail"
    """Where every token can still change: ancestral but for the last step, which takes the likeliest tokens."""
    BEAM = "beam"
    """Left to right: of all prefixes of a text for a source the likeliest few go on, as many as it gets candidates."""
    LEGACY_FLOAT32 = "legacy-float32"
    """As older tables were drawn (MDLM's code): Gumbel noise in float32, which sharpens."""

    @property
    def exact(self) -> bool:
        """It keeps the law of ancestral sampling; the others are approximations or other laws."""
        return self is Decoder.EXACT


OVER_MASKS = frozenset(
    {
        Decoder.EXACT, Decoder.SPREAD, Decoder.CONFIDENCE, Decoder.MARGIN, Decoder.ENTROPY, Decoder.THRESHOLD,
        Decoder.REMASK, Decoder.REMASK_RESCALED, Decoder.MASK_PREDICT, Decoder.LEGACY_FLOAT32,
    }
)  # fmt: skip
"""The decoders of texts that are written over masks: those of `sampler/decoders`."""


class Towards(Enum):
    """What a generation is guided towards, beside what is given."""

    NOTHING = "nothing"
    REWARD = "reward"
    """What the system's critic takes for the real thing: early steps follow its gradient, late ones its choice."""


@dataclass(frozen=True)
class Card:
    """Who a system is: shown by `mezzotint systems`, obeyed by every surface."""

    name: str
    title: str
    paper: str
    can: frozenset[Can]
    exact: bool = False
    """Its likelihoods are exact, not bounds; only such a system can be a judge."""
    bound: str = "upper bound"
    """Which bound its likelihoods are, where they are not exact."""
    decoders: frozenset[Decoder] = frozenset({Decoder.EXACT})
    """The rules by which it can write."""
    teachers: frozenset[str] = frozenset()
    """Systems of one of which a run has to be there: it starts from that, by `mezzotint distill`."""
    backbone: bool = False
    """It stands on a language model that is there already."""
    classifiers: bool = False
    """A training on annotated texts ends with that of its classifiers, for control."""

    @property
    def weighs_tokens(self) -> bool:
        """Under control, it weighs the tokens that could be written, from left to right or under masks; else it moves
        vectors."""
        return Can.CONTROL in self.can and (Can.INFILL not in self.can or Decoder.CONFIDENCE in self.decoders)


@dataclass(frozen=True)
class Canvas:
    """What is known of some texts and what is still to be written: every task is one of these."""

    ids: Tensor
    """(B, L) int64 token ids; the content of a position that is not given is ignored when generating."""
    given: Tensor
    """(B, L) bool: fixed by the caller, never noised, never part of the loss."""
    real: Tensor
    """(B, L) bool: False on padding, which no network ever reads."""
    index: Tensor
    """(B,) int64 on the CPU: which stream of random numbers each row draws from."""
    start: Tensor | None = None
    """(B, L) int8: 1 where a token must begin with a space, -1 where it must not, 0 where it may (edges of gaps)."""
    source: Canvas | None = None
    """What each row is written from, all of it given and with its own padding; None for texts by themselves.

    Rows whose sources have the same index have the same source, which then is read once.
    """

    @property
    def free(self) -> Tensor:
        """(B, L) bool: to be written."""
        return self.real & ~self.given

    def rows(self, rows: Tensor | slice) -> Canvas:
        """The canvas of some rows, in the order asked for."""
        start = None if self.start is None else self.start[rows]
        index = self.index[rows.cpu() if not isinstance(rows, slice) else rows]
        source = None if self.source is None else self.source.rows(rows)
        return Canvas(self.ids[rows], self.given[rows], self.real[rows], index, start, source)

    def respect_spacing(self, logits: Tensor, spaced_V: Tensor, at: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """logits (K, V) at the pairs `at`, else (B, L, V), minus infinity for ids that go against `start`.

        spaced_V (V,) bool says which ids begin with a space. A demand that no possible id meets is dropped.
        """
        if self.start is None:
            return logits
        demand = (self.start if at is None else self.start[at])[..., None]
        heeded = logits.masked_fill(((demand > 0) & ~spaced_V) | ((demand < 0) & spaced_V), -inf)
        return heeded.where(heeded.isfinite().any(-1, keepdim=True), logits)

    def apart(self) -> tuple[Canvas, Tensor]:
        """The canvas of one row for each different index, and which of its rows stands for each row (B,)."""
        _, place = self.index.unique(return_inverse=True)
        first = (place.unique()[:, None] == place).int().argmax(1)
        device = self.ids.device
        return self.rows(first.to(device)), place.to(device)

    def to(self, device: torch.device | str) -> Canvas:
        """The same canvas with its tensors on `device` (`index` stays on the CPU)."""
        start = None if self.start is None else self.start.to(device)
        source = None if self.source is None else self.source.to(device)
        return replace(
            self, ids=self.ids.to(device), given=self.given.to(device), real=self.real.to(device), start=start,
            source=source,
        )  # fmt: skip


@dataclass(frozen=True)
class Noised:
    """A state of the process: z at time t."""

    z: Tensor
    """(B, L) int64 ids for a process on ids, (B, L, D) float for one on vectors."""
    t: Tensor
    """(B,) float64."""


@dataclass(frozen=True)
class Prediction:
    """What a denoiser says about the clean text."""

    logits: Tensor
    """(K, V) float32 at the pairs asked for with `at`, else (B, L, V)."""
    estimate: Tensor | None = None
    """(B, L, D) estimate of the clean state, for processes on vectors."""
    carry: object = None
    """What the next call gets as `previous`."""


@dataclass(frozen=True)
class Posterior:
    """q(z | x) of some texts: a diagonal normal distribution of Z dimensions for each row."""

    mean: Tensor
    """(B, Z), float32 at least."""
    logvar: Tensor
    """(B, Z), the logarithm of the variance."""


@dataclass(frozen=True)
class Loss:
    """A sum over the symbols of some rows, with the number of symbols it is over, both for this process's rows."""

    total: Tensor
    """Scalar, nats (or the paper's unit), summed; the driver divides by the count over the global batch."""
    parts: Mapping[str, Tensor]
    """The summands under their names in the paper, detached."""
    count: float
    """How many symbols the sum is over."""
    player: str = "model"
    """Whose optimiser this loss moves."""


@dataclass(frozen=True)
class Frame:
    """One moment of a generation."""

    step: int
    steps: int
    """Grid steps asked for; `step` counts network calls of the batch, and can end below `steps`.

    Where a text is written in blocks, both count blocks.
    """
    t: Tensor
    """(B,) where each row is now."""
    ids: Tensor
    """(B, L) int64; meaningful where `known`."""
    known: Tensor
    """(B, L) bool: given or written so far."""
    confidence: Tensor
    """(B, L) float32: the probability with which each token was chosen; 1 where given, 0 where not known."""
    nfe: Tensor
    """(B,) int64: network evaluations spent on each row so far."""
    done: bool

    def part(self, rows: slice, width: int) -> Frame:
        """The frame of some rows, as wide as they would be by themselves."""
        known, confidence = self.known[rows, :width], self.confidence[rows, :width]
        return replace(
            self, t=self.t[rows], ids=self.ids[rows, :width], known=known, confidence=confidence, nfe=self.nfe[rows]
        )


class Update(Enum):
    """How a state is moved against the gradient of what it is to be."""

    SIGN = "sign"
    """By the rate in every number, whatever its slope: Adagrad made anew for each update, as in Diffusion-LM's code."""
    ADAGRAD = "adagrad"
    """One Adagrad for the whole walk, whose steps shrink."""
    BAYES = "bayes"
    """By the variance of the step times the slope of log p(condition | state): samples of the conditional law, where
    the condition's probability is exact and steps are many. It has no rate and no fluency."""


@dataclass(frozen=True)
class Steering:
    """How a text is moved towards what it is to be: the states of a walk through vectors (Diffusion-LM, §5), or the
    tokens that are written next, under masks or from left to right (FUDGE, §3)."""

    update: Update = Update.SIGN
    updates: int = 3
    """Updates a step."""
    rate: float = 0.1
    fluency: float = 0.01
    """Weight of the distance from where the walk went by itself."""
    t_max: float = 1.0
    t_min: float = 0.05
    """Steps that end at a time above `t_max` or below `t_min` are left as they are: published are the last 10
    of 200."""
    strength: float = 3.0
    """Where tokens are weighed: by what log p(condition | state and token) is multiplied (FUDGE). 1 is Bayes' rule, if
    the classifier is exact; of a state that says little yet, one is sure of nothing (docs/decisions/0024)."""
    top_k: int = 0
    """There, how many are weighed at a place, the likeliest; the others are not written. 0: 200 from left to right, and
    32 under masks, where the slope says which are promising."""

    @property
    def k_left_to_right(self) -> int:
        """How many are weighed from left to right."""
        return self.top_k or 200

    @property
    def k_masked(self) -> int:
        """How many are weighed under masks."""
        return self.top_k or 32


class LogitsProcessor(Protocol):
    """What moves the logits of the next tokens of texts that are written from left to right."""

    def __call__(self, logits: Tensor, rows: Tensor, before: Tensor) -> Tensor:
        """(R, V) as they are, which rows of the canvas they are of (R,), what stands before (R, m) -> (R, V)."""
        ...


class Control(Protocol):
    """What a text is to be like, as systems meet it (`guidance/constraint`)."""

    @property
    def steering(self) -> Steering:
        """How states of vectors are moved, and how tokens are weighed."""
        ...

    def canvas(self, canvas: Canvas, vocab: int, forbidden: tuple[int, ...]) -> Canvas:
        """The canvas with all in place that is settled before the first step; UsageError where nothing can satisfy."""
        ...

    def place_words(self, canvas: Canvas, denoise: Denoiser, mask: int, rng: Rng) -> Canvas:
        """The canvas of masks with words that are to be somewhere put where the denoiser has them likeliest."""
        ...

    def excluding(self, denoise: Denoiser) -> Denoiser:
        """The denoiser under which what is excluded outright has probability zero."""
        ...

    def guided(self, denoise: Denoiser, mask: int) -> Denoiser:
        """The denoiser of states with masks that knows the rest, too."""
        ...

    def loss(self, denoise: Denoiser) -> Callable[[Noised, Canvas], Tensor] | None:
        """(state of vectors, canvas) -> (B,) nats, with a gradient; None where nothing is left to be learned."""
        ...

    def logits_processor(self, canvas: Canvas, end: int | None, vocab: int) -> LogitsProcessor:
        """What knows of the next tokens of a canvas where they lead; `end` closes a text, where a token does."""
        ...


@dataclass(frozen=True)
class Request:
    """What is asked of a system: a canvas and how to fill it."""

    canvas: Canvas
    steps: int = 32
    seed: int | Streams = 0
    """Of all rows, or of each, where several requests are written as one."""
    temperature: float = 1.0
    top_p: float = 1.0
    decoder: Decoder = Decoder.EXACT
    threshold: float = 0.9
    """How sure a position must be to be written at once (Decoder.THRESHOLD)."""
    strength: float = 0.04
    """How readily written tokens are masked again, 0 to 1 (Decoder.REMASK, REMASK_RESCALED)."""
    guidance: float = 1.0
    """How far to go from what is said without the given text towards what is said with it; 1 goes just there."""
    carry_guided: bool = True
    """With `guidance`, a network that reads its own last estimate is told the guided one; else the one before it."""
    guide: Towards = Towards.NOTHING
    """With a reward, `guidance` is how strongly it pulls."""
    block: int | None = None
    """Write a canvas longer than the system's own from left to right, so many positions at a time; None: at once."""
    reuse: bool = False
    """With `block`: keep the keys and values of what stands before a block while it is written. Approximate."""
    latent: Tensor | None = None
    """(B, Z) where in its latent space each row's text is, for a system that has one; None: drawn from the prior."""
    forbidden: tuple[int, ...] = ()
    """Ids that are never drawn."""
    spaced: Tensor | None = None
    """(V,) bool: which ids begin with a space; needed where the canvas has demands in `start`."""
    control: Control | None = None
    """What the text is to be like, beside what is given."""
    read: object = None
    """What its `sketch` made of the same sources, so that they are not read again; None: nothing."""
    drafts: bool = True
    """Somebody looks at the text on the way; where nobody does, a system may leave it unknown until the last frame."""


class Denoiser(Protocol):
    """A network with everything that guides it, as a function.

    `at` is (rows (K,), positions (K,)) int64, the pairs whose logits are wanted; None asks for all of them.
    """

    def __call__(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction: ...


Guide = Callable[[Denoiser], Denoiser]


class SystemSpec(Protocol):
    """What every system's spec has beside its own fields; all but the first three comes from `spec.base.Spec`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def vocab(self) -> int:
        """Entries of the vocabulary."""
        ...

    @property
    def canvas(self) -> int:
        """The most positions that a row has."""
        ...

    @property
    def ending(self) -> Ending: ...

    @property
    def pads_inside(self) -> bool:
        """Whether padding can stand between the tokens of a text, where it means nothing."""
        ...

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self: ...

    @classmethod
    def settings(cls) -> list[str]: ...

    def with_settings(self, settings: Mapping[str, str]) -> Self: ...


class NetSpec(SystemSpec, Protocol):
    """The spec of a system whose network has the shape `net`, as those of this package have."""

    @property
    def net(self) -> TransformerSpec | EncoderDecoderSpec | RecurrentSpec: ...


@runtime_checkable
class SourceSpec(SystemSpec, Protocol):
    """The spec of a system that writes from a source."""

    @property
    def source_canvas(self) -> int:
        """The most positions that a source has."""
        ...


class LatentSpec(SystemSpec, Protocol):
    """The spec of a system whose texts are points of a latent space."""

    @property
    def latent(self) -> int:
        """The dimensions of that space."""
        ...


class System(Protocol):
    """All that the loops, the evaluators and the surfaces know of a system."""

    card: Card
    players: Mapping[str, nn.Module]
    """The networks that are trained, each with an optimiser of its own; what a run's files hold."""

    @property
    def spec(self) -> SystemSpec:
        """What it is made of."""
        ...

    def initialise(self, seed: int) -> None:
        """Fresh weights."""
        ...

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """One loss a player. The driver back-propagates each before it asks for the next."""
        ...

    def sample(self, request: Request) -> Iterator[Frame]:
        """The request's canvas being filled, one frame a network call."""
        ...

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: -log p of each row's free tokens given the rest, or an unbiased draw of a bound on it."""
        ...


@runtime_checkable
class AcceptsEmbeddings(System, Protocol):
    """A system over vectors of tokens that can be given them."""

    def embed(self, table: Tensor) -> None:
        """Take these vectors (V, width), of any length but zero, in place of those that `initialise` drew."""
        ...


@runtime_checkable
class HasFrozen(System, Protocol):
    """A system that starts from networks that are there already, such as a teacher's or a backbone."""

    frozen: Mapping[str, nn.Module]
    """Networks under the names that they have in their file; read before `initialise`, which may draw on them, and
    never trained. A run keeps them once, beside what it trains."""


@runtime_checkable
class Scheduled(Protocol):
    """A system whose losses, or whose players' learning rates, follow the course of a run."""

    def schedule(self, fraction: float) -> Mapping[str, float]:
        """Told before every step how much of the run is done, 0 to 1; returns each player's learning rate in that of
        the run, 1 for who is not named."""
        ...


@runtime_checkable
class Monitored(Protocol):
    """A system whose training can go wrong in ways of its own."""

    def warnings(self, parts: Mapping[str, float]) -> Mapping[str, str]:
        """Sentences on the figures of a stretch of training (`Loss.parts`, over their counts), each under its kind.

        Each kind is told once. RunError where going on is of no use.
        """
        ...


@runtime_checkable
class Infiller(System, Protocol):
    """A system that can weigh how long gaps are."""

    def evidence(self, canvas: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: -log p of each row's length and given tokens, its free positions unknown throughout, or an
        unbiased draw of a bound on it; one network evaluation a row.

        The k-th given token of a row meets the k-th random numbers wherever it stands: rows that differ only in the
        lengths of their gaps, with the same streams, are compared under the same noise.
        """
        ...


@runtime_checkable
class Latent(System, Protocol):
    """A system whose texts are points of a latent space of Z dimensions, scored under a standard normal prior."""

    prior: Callable[[Rng], Tensor]
    """Streams to points (B, Z): what texts are written at where no points are given. A run may have learned
    another one than the standard normal."""

    @property
    def spec(self) -> LatentSpec:
        """What it is made of."""
        ...

    @property
    def has_latent(self) -> bool:
        """Whether what it writes depends on the latent; a system may be trained without, to compare with."""
        ...

    def posterior(self, batch: Canvas) -> Posterior:
        """q(z | x) of some whole texts."""
        ...

    def token_nll(self, batch: Canvas, z: Tensor) -> Tensor:
        """(B, L) nats: -log p of each real token given those before it and latents (B, Z); 0 on padding."""
        ...


@dataclass(frozen=True)
class Sketch:
    """Where the candidates of some sources are to be written."""

    canvas: Canvas
    """Empty rows with their sources, those of one source side by side."""
    log_p: Tensor | None = None
    """(B,) nats: log p of each row's length given its source; None where texts end by themselves."""
    read: object = None
    """What the system made of the sources on the way, for `Request.read`."""


@runtime_checkable
class Translator(System, Protocol):
    """A system that writes from a source."""

    def sketch(self, source: Canvas, lengths: int, each: int) -> Sketch:
        """`lengths * each` rows for each source: how many lengths are tried, the likeliest first, and how many texts of
        each. A system whose texts end by themselves tries no lengths."""
        ...
