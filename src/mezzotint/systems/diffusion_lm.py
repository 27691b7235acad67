"""Diffusion-LM: diffusion over word vectors that are learned with it (Li et al. 2022, arXiv:2205.14217).

A bidirectional transformer predicts the clean vectors of a text from noisy ones; its estimate is clamped to the
vectors of words at every step of writing. No self-conditioning, and nothing is given in training.

Departure: a text's length is drawn from the training lengths by default (`ending=length`) and costs -log p(length);
the paper's padding, an ordinary token, is `ending=fill`.
Departure: the network is told the true time on grids coarser than the chain; the paper's code says a little less.
Departure: times are stratified over the batch, and means are over all its tokens; texts of one length have them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.data.lengths import Lengths
from mezzotint.guidance.clamp import clamp
from mezzotint.guidance.control import excluding, settled_request
from mezzotint.guidance.settled import settle
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.net.projected import ProjectedTransformer
from mezzotint.objective.chain import chain_bound
from mezzotint.objective.end_to_end import end_to_end
from mezzotint.objective.length import LengthCost
from mezzotint.process.gaussian import Gaussian, SqrtVariance
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.gaussian import GaussianStep, solver
from mezzotint.sampler.steered import steer
from mezzotint.space.learned import LearnedEmbedding
from mezzotint.spec.diffusion_lm import CARD, Chained, DiffusionLMSpec
from mezzotint.types import Canvas, Denoiser, Ending, Frame, Loss, Noised, Prediction, Request


class Net(nn.Module):
    """All trained modules: the table, which is its own read-out, and the transformer."""

    def __init__(self, space: LearnedEmbedding, body: ProjectedTransformer) -> None:
        super().__init__()
        self.space = space
        self.body = body

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights."""
        self.body.initialise(generator)
        self.space.initialise(generator)


def network(spec: DiffusionLMSpec) -> Net:
    """Vectors and weights of any value."""
    return Net(LearnedEmbedding(spec.vocab, spec.width), ProjectedTransformer(spec.net, spec.width, spec.canvas))


class DiffusionLM:
    """Diffusion-LM; `lengths` is the distribution of text lengths for runs whose texts vary in length."""

    card = CARD

    def __init__(self, spec: Chained, lengths: Lengths | None, network: Callable[[Any], Net] = network) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        schedule = SqrtVariance(steps=spec.chain)
        self.process = Gaussian(schedule)  # App. A
        self.word_process = Gaussian(schedule, sigma0=self.process.blur(spec.chain))  # of the word's vector, not z_0
        self.net = network(spec)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        # Another stream than the noise's: drawn alike, the first noise would be the table.
        self.net.initialise(torch.Generator().manual_seed(seed + 7_919))

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """f(x_t, t), §4.2: the clean vectors themselves, not the noise."""
        estimate = self.net.body(noised.z, noised.t, cond.real)
        logits = self.net.space.logits(estimate)
        return Prediction(logits if at is None else logits[at], estimate)

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """L_simple^e2e, §4.1 and §4.2."""
        terms = end_to_end(self.denoise, self.net.space, self.process, self.spec.chain, batch, rng)
        parts = {name: term.sum() for name, term in terms.items()}
        total = torch.stack(list(parts.values())).sum()
        yield Loss(total, {k: v.detach() for k, v in parts.items()}, float(batch.free.sum()))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound L_vlb^e2e of §4.1, the cost of the length included.

        Departure: the steps' variances are those of x_{t-1} given x_t and the word, not given x0, so that the noise of
        x0 is not paid for twice; and sure words are settled, without which the bound is many nats above any use: next
        to no noise, a squared error of 0.01 that no text would show costs several.
        """
        space, chain = self.net.space, self.spec.chain
        denoise = self._settled_denoiser
        bound = chain_bound(denoise, self.word_process, space.vectors, batch, chain, rng, readout=space.logits)
        return bound + self.length(batch.real).double()

    @property
    def _settled_denoiser(self) -> Denoiser:
        """The denoiser of the words' own vectors; where noisy vector and read-out leave no doubt, of that word's."""
        return settle(self.denoise, self.net.space.vectors, self.word_process)

    def sample(self, request: Request) -> Iterator[Frame]:
        """§4.3. What is given is put back at every step, clean, as in the paper's code: the network never learned what
        a clean vector among noisy ones is. Departure: at the first step too, where the code has it noised."""
        request, space = settled_request(request, self.spec.vocab), self.net.space
        canvas, counted = request.canvas, Counted(self.denoise, request.canvas)
        denoise = respect_spacing(excluding(forbid(counted, request.forbidden), request.control), request.spaced)
        guided = clamp(denoise, space.vectors.detach(), space.logits) if self.spec.clamp else denoise
        gaussian = GaussianStep(self.process, solver(request, self.card.name), space.clean(canvas.ids).detach())
        step = steer(gaussian, denoise, request)
        return drive(guided, step, canvas, request.steps, Rng(request.seed, canvas.index.tolist()), counted.calls)
