"""AR: an autoregressive transformer of the same shape as the others; the baseline, and the judge of fluency.

log p(x) = sum over i of log p(x_i | x_<i), exactly; the symbol before the first token is the end symbol
(Radford et al. 2019). Same blocks, rotary positions and initialisation as the diffusion systems, with a causal mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from mezzotint.data.canvas import shifted_right
from mezzotint.data.lengths import Lengths
from mezzotint.errors import CapabilityError
from mezzotint.guidance.control import settled_request
from mezzotint.net.transformer import Transformer
from mezzotint.objective.length import LengthCost
from mezzotint.objective.rounding import scattered_nll
from mezzotint.process.truncated import Truncated
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import cached_logits, write
from mezzotint.spec.ar import CARD, ARSpec
from mezzotint.types import Canvas, Ending, Frame, Loss, Request


class AR:
    """A causal language model."""

    card = CARD

    def __init__(self, spec: ARSpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        self.net = Transformer(spec.net, spec.vocab, spec.vocab, spec.canvas)
        self.process = Truncated()  # its classifiers read prefixes
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def token_nll(self, batch: Canvas) -> Tensor:
        """(B, L) nats: -log p of each real token given those before it; 0 on padding."""
        at = batch.free.nonzero(as_tuple=True)
        # Padding follows the text, and no position looks ahead: it needs no hiding.
        return scattered_nll(self.net(shifted_right(batch.ids, self.spec.end), at=at), batch.ids, at)

    def hidden(self, batch: Canvas) -> Tensor:
        """(B, L, D): the normed vector that each token is predicted from, a function of the tokens before it alone."""
        x_BLD = self.net.embed(shifted_right(batch.ids, self.spec.end))
        vectors: Tensor = self.net.head.norm(self.net.through(x_BLD, None, None))
        return vectors

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        tokens, length = self.token_nll(batch).sum(), self.length(batch.real).sum()
        yield Loss(tokens + length, {"tokens": tokens.detach(), "length": length}, self.length.symbols(batch.free))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats, exact, the cost of the length included where it is drawn."""
        return self.token_nll(batch).double().sum(1) + self.length(batch.real).double()

    def sample(self, request: Request) -> Iterator[Frame]:
        if request.decoder not in CARD.decoders:
            raise CapabilityError(f"decoder '{request.decoder.value}' is a way of drawing masked tokens; ar has none")
        assert request.block is None, "ar cannot write past its canvas"
        request = settled_request(request, self.spec.vocab)
        spec = self.spec
        end = spec.end if spec.ending is Ending.SYMBOL else None
        control, canvas = request.control, request.canvas
        processor = None if control is None else control.logits_processor(canvas, end, spec.vocab)
        rng = Rng(request.seed, canvas.index.tolist())
        return write(
            cached_logits(self.net, spec.net.depth, request), canvas, rng,
            start=spec.end, end=end, pad=spec.pad,
            temperature=request.temperature, top_p=request.top_p, spaced=request.spaced, processor=processor,
        )  # fmt: skip
