"""SED: self-conditioned embedding diffusion (Strudel et al. 2022, arXiv:2211.04236).

A bidirectional transformer predicts the clean vectors of a text from noisy ones, its last estimate, and the clean
vectors of whatever is given.

Departure: by default the network says odds of tokens (`speaks=tokens`), as in CDCD (Dieleman et al. 2022,
arXiv:2211.15089, §3), plus the exact odds of each token given its own noisy vector, so that it only has to learn what
the context adds; the estimate is the mean of the vectors under both. `speaks=vector` is the paper's regression.
Departure: the token frequencies that `_first_estimate` needs are learned beside, a third term of the loss that reaches
nothing else.
Departure: times are continuous and stratified over the batch, where the paper draws one of T steps for each text.
Departure: the read-out is learned where a text is noised, not where it is given; a given vector has the noise of sigma0
in training, as its target would, and none in writing.
Departure: a text's length is drawn by default and costs -log p(length); the paper's padding is `ending=fill` with
`padding=0.1`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.data.lengths import Lengths
from mezzotint.data.padding import scattered
from mezzotint.data.spans import given_either
from mezzotint.errors import CapabilityError
from mezzotint.guidance.classifier_free import classifier_free, dropped
from mezzotint.guidance.self_condition import both_passes, coin, twice
from mezzotint.guidance.settled import settle
from mezzotint.guidance.temperature import mean_under
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.net.streams import StreamTransformer
from mezzotint.objective.chain import chain_bound
from mezzotint.objective.context_free import context_free_losses
from mezzotint.objective.length import LengthCost
from mezzotint.objective.regression import squared_error
from mezzotint.objective.rounding import row_nll
from mezzotint.process.gaussian import CosineVariance, FlooredCosineVariance, Gaussian, RescaledVariance, SqrtVariance
from mezzotint.process.warp import Warp
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.gaussian import SOLVERS, GaussianStep
from mezzotint.space.embedding import Embedding
from mezzotint.spec.sed import CARD, GaussianNoise, SEDSpec, SelfCondition, Speaks, Streams, Table, Times
from mezzotint.types import Canvas, Ending, Frame, Loss, Noised, Prediction, Request

AUXILIARY_WEIGHT = 0.01
"""Of frequencies and clock in the loss: Adam is blind to it, and the clipping of gradients should hardly see them."""


class Net(nn.Module):
    """All trained or stored modules: the table, its read-out, the transformer, and how frequent each token is."""

    def __init__(self, spec: SEDSpec) -> None:
        super().__init__()
        self.space = Embedding(spec.vocab, spec.width, learned=spec.table is Table.LEARNED)
        streams = {Streams.IN_PLACE: 2 * spec.width, Streams.APART: 3 * spec.width + 1}[spec.streams]
        outputs = {Speaks.VECTOR: spec.width, Speaks.TOKENS: spec.vocab}[spec.speaks]
        self.body = StreamTransformer(spec.net, streams, outputs, spec.canvas)
        self.tenth = nn.Parameter(torch.zeros(spec.vocab))
        if spec.times is Times.WARPED:
            self.warp = Warp()

    @property
    def frequency(self) -> Tensor:
        """(V,) log odds of the tokens. A tenth of them is stored: they span ten nats, far for a small learning rate."""
        return 10 * self.tenth


class SED:
    """Embedding diffusion; `lengths` is the distribution of text lengths for runs whose texts vary in length."""

    card = CARD

    def __init__(self, spec: SEDSpec, lengths: Lengths | None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        variances = {  # §3; the two cosines are two readings of its beta_1
            GaussianNoise.COSINE: CosineVariance(spec.beta1, spec.chain),
            GaussianNoise.COSINE_FLOORED: FlooredCosineVariance(spec.beta1, spec.chain),
            GaussianNoise.SQRT: SqrtVariance(),
        }
        self.process = Gaussian(RescaledVariance(variances[spec.noise], spec.noise_factor))
        self.net = Net(spec)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        # Another stream than the noise's: drawn alike, the first noise would be the table.
        generator = torch.Generator().manual_seed(seed + 7_919)
        self.net.body.initialise(generator)
        self.embed(torch.randn(self.net.space.table.shape, generator=generator))

    def embed(self, table: Tensor) -> None:
        """§3: fill the table with pretrained vectors, which stay fixed."""
        self.net.space.fill(table)
        if self.spec.times is Times.WARPED:
            # The loss at the start of training: nats of tokens, or the squared error of a number.
            losses = partial(context_free_losses, self.process, self.net.space.vectors)
            of_tokens = self.spec.speaks is Speaks.TOKENS
            self.net.warp.fill(lambda t: losses(t)[0] if of_tokens else losses(t)[1] / self.spec.width)

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """x0_hat(x_t, x0_tilde, t), §3."""
        if self.spec.speaks is Speaks.VECTOR:
            estimate = self._output(noised, cond, previous)
            logits = self.net.space.logits(estimate)
        else:
            logits = self.token_logits(noised, cond, previous).logits
            estimate = logits.softmax(-1) @ self.net.space.vectors
        return Prediction(logits if at is None else logits[at], estimate, estimate)

    def token_logits(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """The prediction without an estimate, for `mean_under`, which makes one of the logits."""
        logits = self._output(noised, cond, previous) + self.process.evidence(noised, self.net.space.vectors)
        return Prediction(logits if at is None else logits[at])

    def _output(self, noised: Noised, cond: Canvas, previous: object) -> Tensor:
        """The network's output: (B, L, V) or, of vectors, (B, L, D)."""
        z = noised.z
        # A network trained without earlier estimates gets none in writing.
        earlier = previous if self._is_conditioned and isinstance(previous, Tensor) else self._first_estimate(noised)
        earlier = earlier * cond.free[..., None]
        inputs = torch.cat(self._streams(z, cond.given, earlier), dim=-1).to(self.net.body.enter.weight.dtype)
        out: Tensor = self.net.body(inputs, noised.t, cond.real)
        return out.to(z.dtype)

    @property
    def _is_conditioned(self) -> bool:
        return self.spec.self_condition is not SelfCondition.NONE

    def _first_estimate(self, noised: Noised) -> Tensor:
        """The stand-in for an earlier estimate where there is none.

        Departure: the mean under each noisy vector and the token frequencies alone, where the paper has zeros.
        """
        if not self.spec.evidence:
            return torch.zeros_like(noised.z)
        logits = self.process.evidence(noised, self.net.space.vectors) + self.net.frequency.detach()
        return (logits.softmax(-1) @ self.net.space.vectors).detach()

    def _streams(self, z: Tensor, given: Tensor, earlier: Tensor) -> list[Tensor]:
        """The network's inputs (B, L, *), side by side."""
        if self.spec.streams is Streams.IN_PLACE:
            return [z, earlier]
        mark = given[..., None].to(z)
        return [z * (1 - mark), z * mark, mark, earlier]

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """§3: the error of the estimate at noised positions, and the rounding loss of the noised true vectors."""
        batch, _ = self._scatter_padding(batch, rng)
        given = given_either(batch.real, self.spec.spans, self.spec.singly, rng.at("spans"))
        batch = Canvas(batch.ids, given, batch.real, batch.index)
        t = self._times(1 - rng.at("time").stratified()).to(batch.ids.device)
        z0 = self.net.space.encode(batch.ids, self.spec.sigma0, rng.at("sigma0"))
        noised = self.process.corrupt(z0, t, batch.free, rng.at("noise"))
        is_dropped = (rng.at("drop").uniform() < self.spec.drop).to(batch.ids.device)
        noised = Noised(dropped(noised.z, batch.given & is_dropped[:, None]), t)
        predictions = self._passes(noised, batch, rng)
        errors = torch.stack([self._error(prediction, z0, batch) for prediction in predictions]).mean(0)
        error = errors.sum()
        rounding = row_nll(self.net.space.logits(z0.detach()), batch.ids, batch.free).sum()
        frequency = row_nll(self.net.frequency.expand(*batch.ids.shape, -1), batch.ids, batch.free).sum()
        parts = {"error": error.detach(), "rounding": rounding.detach(), "frequency": frequency.detach()}
        clock = self._clock_loss(t, errors, batch.free.sum(1))
        yield Loss(error + rounding + AUXILIARY_WEIGHT * (frequency + clock), parts, float(batch.free.sum()))

    def _times(self, u: Tensor) -> Tensor:
        """Times (N,) of uniform numbers (N,) in (0, 1], warped to where the loss falls if the spec says so."""
        return self.net.warp.times(u) if self.spec.times is Times.WARPED else u

    def _clock_loss(self, t: Tensor, errors: Tensor, free: Tensor) -> Tensor | float:
        """The clock's own loss, summed over free (B,) positions; 0 if there is none."""
        if self.spec.times is not Times.WARPED:
            return 0.0
        return (self.net.warp.misfit(t, errors / free.clamp(min=1)) * free).sum()

    def _passes(self, noised: Noised, batch: Canvas, rng: Rng) -> Iterator[Prediction]:
        if self.spec.self_condition is SelfCondition.BOTH:
            yield from both_passes(self.denoise, noised, batch)
        elif self.spec.self_condition is SelfCondition.COIN:
            yield coin(self.denoise, noised, batch, rng)
        else:
            yield self.denoise(noised, batch)

    def _error(self, prediction: Prediction, z0: Tensor, batch: Canvas) -> Tensor:
        if self.spec.speaks is Speaks.TOKENS:
            return row_nll(prediction.logits, batch.ids, batch.free)
        assert prediction.estimate is not None
        return squared_error(prediction.estimate, z0, batch.free)

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound of the chain; a self-conditioned network passes twice a step.

        Departure: a network that says vectors has sure words settled, as Diffusion-LM's bound has.
        """
        batch, log_q = self._scatter_padding(batch, rng)
        denoise = twice(self.denoise) if self._is_conditioned else self.denoise
        if self.spec.speaks is Speaks.VECTOR:
            denoise = settle(denoise, self.net.space.vectors, self.process)
        bound = chain_bound(denoise, self.process, self.net.space.vectors, batch, self.spec.chain, rng)
        return bound + log_q + self.length(batch.real).double()

    def _scatter_padding(self, batch: Canvas, rng: Rng) -> tuple[Canvas, Tensor]:
        """Padding at random positions of each text, and log q of which, so that the bound is one on the text."""
        return scattered(batch, self.spec.padding, self.spec.end, self.spec.pad, rng.at("padding"))

    def sample(self, request: Request) -> Iterator[Frame]:
        canvas, vectors = request.canvas, self.net.space.vectors.detach()
        counted = Counted(self.token_logits if self.spec.speaks is Speaks.TOKENS else self.denoise, canvas)
        denoise = respect_spacing(forbid(counted, request.forbidden), request.spaced)
        if self.spec.speaks is Speaks.TOKENS:
            denoise = mean_under(denoise, vectors, request.temperature, request.top_p)
        elif (request.temperature, request.top_p) != (1, 1):
            raise CapabilityError("a run with speaks=vector has no odds of tokens; leave temperature and top_p at 1")
        guided = classifier_free(denoise, request.guidance, request.carry_guided)
        step = GaussianStep(self.process, SOLVERS[request.decoder], F.embedding(canvas.ids, vectors), clock=self._times)
        return drive(guided, step, canvas, request.steps, Rng(request.seed, canvas.index.tolist()), counted.calls)
