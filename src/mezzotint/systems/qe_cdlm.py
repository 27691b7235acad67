"""QE-CDLM: diffusion over learned word vectors with weights of few values (Kang et al. 2024, arXiv:2402.10107).

Process, objective and sampler are those of Diffusion-LM (Li et al. 2022, arXiv:2205.14217); with `quantize=none` so is
everything. `quantize=projections` is the authors' code: the layers into the network, of the time and out of it are
quantised. `quantize=table` is the title's reading, the vectors of words themselves; `both` is both.

Departure: the transformer is ours and starts from nothing; the authors start from BERT's encoder.
Departure: a text's length is drawn from the training lengths by default (`ending=length`) and costs -log p(length);
the paper's padding, an ordinary token, is `ending=fill`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mezzotint.data.lengths import Lengths
from mezzotint.guidance.clamp import clamp
from mezzotint.guidance.control import settled_request, within
from mezzotint.guidance.settled import settled
from mezzotint.guidance.vocabulary import forbid, spaces
from mezzotint.net.projected import ProjectedTransformer
from mezzotint.net.quantized import QuantizedLinear, projections, quantizer_of
from mezzotint.objective.chain import chain_bound
from mezzotint.objective.end_to_end import end_to_end
from mezzotint.objective.length import LengthCost
from mezzotint.process.gaussian import Gaussian, SqrtVariance
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.gaussian import Walk, solver
from mezzotint.sampler.updated import pushed
from mezzotint.space.learned import LearnedEmbedding
from mezzotint.space.quantized import QuantizedEmbedding
from mezzotint.spec.qe_cdlm import CARD, QECDLMSpec
from mezzotint.types import Canvas, Ending, Frame, Loss, Noised, Prediction, Request


class Net(nn.Module):
    """All that is trained: the table, which is its own read-out, and the transformer between its projections."""

    def __init__(self, spec: QECDLMSpec) -> None:
        super().__init__()
        few = quantizer_of(spec.few)

        def linear(inputs: int, outputs: int) -> nn.Linear:
            return QuantizedLinear(inputs, outputs, few) if spec.few.of_projections else nn.Linear(inputs, outputs)

        table = QuantizedEmbedding(spec.vocab, spec.width, few) if spec.few.of_table else None
        self.space = table or LearnedEmbedding(spec.vocab, spec.width)
        self.body = ProjectedTransformer(
            spec.net, spec.width, spec.canvas, projections(linear, spec.depth_of_projections)
        )

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights."""
        self.body.initialise(generator)
        self.space.initialise(generator)
        for layer in self.body.modules():
            if isinstance(layer, QuantizedLinear):
                layer.initialise(generator)


class QECDLM:
    """QE-CDLM; `lengths` is the distribution of text lengths for runs whose texts vary in length."""

    card = CARD

    def __init__(self, spec: QECDLMSpec, lengths: Lengths | None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        schedule = SqrtVariance(steps=spec.chain)
        self.process = Gaussian(schedule)
        self.whole = Gaussian(schedule, sigma0=self.process.blur(spec.chain))
        self.net = Net(spec)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        # Another stream than the noise's: drawn alike, the first noise would be the table.
        self.net.initialise(torch.Generator().manual_seed(seed + 7_919))

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """f(x_t, t): the clean vectors themselves, not the noise."""
        estimate = self.net.body(noised.z, noised.t, cond.real)
        logits = self.net.space.logits(estimate)
        return Prediction(logits if at is None else logits[at], estimate)

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """Those of Diffusion-LM: quantisation has no term of its own."""
        terms = end_to_end(self.denoise, self.net.space, self.process, self.spec.chain, batch, rng)
        parts = {name: term.sum() for name, term in terms.items()}
        total = torch.stack(list(parts.values())).sum()
        yield Loss(total, {k: v.detach() for k, v in parts.items()}, float(batch.free.sum()))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of Diffusion-LM's bound as `diffusion-lm` has it, the length's cost included."""
        space, chain = self.net.space, self.spec.chain
        vectors = space.vectors
        said = settled(self.denoise, vectors, self.whole)
        bound = chain_bound(said, self.whole, vectors, batch, chain, rng, read=space.logits)
        return bound + self.length(batch.real).double()

    def sample(self, request: Request) -> Iterator[Frame]:
        """The ancestral step (DDIM with eta = 1 in the code), estimates clamped to words, what is given put back."""
        request, space = settled_request(request, self.spec.vocab), self.net.space
        canvas, counted = request.canvas, Counted(self.denoise, request.canvas)
        said = within(spaces(forbid(counted, request.forbidden), request.spaced), request.control)
        guided = clamp(said, space.vectors.detach(), space.logits) if self.spec.clamp else said
        walk = Walk(self.process, solver(request, self.card.name), space.clean(canvas.ids).detach())
        step = pushed(walk, said, request)
        return drive(guided, step, canvas, request.steps, Rng(request.seed, canvas.index.tolist()), counted.calls)
