"""AR: an autoregressive transformer of the same shape as the others; the baseline, and the judge of fluency.

log p(x) = sum over i of log p(x_i | x_<i), exactly; the symbol before the first token is the end symbol
(Radford et al. 2019). Same blocks, rotary positions and initialisation as the diffusion systems, with a causal mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.data.lengths import Lengths
from mezzotint.errors import CapabilityError
from mezzotint.guidance.control import settled_request
from mezzotint.net.attention import Cache
from mezzotint.net.transformer import Transformer
from mezzotint.objective.length import LengthCost
from mezzotint.process.truncated import Truncated
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import write
from mezzotint.spec.ar import CARD, ARSpec
from mezzotint.types import Canvas, Ending, Frame, Loss, Request


class AR:
    """A causal language model."""

    card = CARD

    def __init__(self, spec: ARSpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        self.net = Transformer(spec.net, spec.vocab, spec.vocab, spec.canvas)
        self.process = Truncated()  # what its classifiers read: texts that are begun
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def token_nll(self, batch: Canvas) -> Tensor:
        """(B, L) nats: -log p of each real token given those before it; 0 on padding."""
        rows, positions = batch.free.nonzero(as_tuple=True)
        # Padding follows the text, and no position looks ahead: it needs no hiding.
        logits = self.net(self._before(batch), at=(rows, positions)).float()
        nll = F.cross_entropy(logits, batch.ids[rows, positions], reduction="none")
        return torch.zeros(batch.ids.shape, dtype=nll.dtype, device=nll.device).index_put((rows, positions), nll)

    def hidden(self, batch: Canvas) -> Tensor:
        """(B, L, D): the normed vectors that each token is predicted from; nothing of what follows is in them."""
        vectors: Tensor = self.net.head.norm(self.net.through(self.net.embed(self._before(batch)), None, None))
        return vectors

    def _before(self, batch: Canvas) -> Tensor:
        """(B, L): the token before each position, the end symbol before the first."""
        return torch.cat([torch.full_like(batch.ids[:, :1], self.spec.end), batch.ids[:, :-1]], dim=1)

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
        cache = Cache(self.spec.net.depth)
        cache.reserve(request.canvas.ids.shape[1] + 1)
        forbidden = torch.tensor(request.forbidden, dtype=torch.int64, device=request.canvas.ids.device)

        def next_logits(keep: Tensor, fresh: Tensor) -> Tensor:
            if cache.length and len(keep) < cache.batch:
                cache.rows(keep)
            last = (torch.arange(len(fresh), device=fresh.device), torch.full_like(fresh[:, 0], fresh.shape[1] - 1))
            logits: Tensor = self.net(fresh, at=last, cache=cache)
            return logits.float().index_fill(1, forbidden, -math.inf)

        spec = self.spec
        end = spec.end if spec.ending is Ending.SYMBOL else None
        control, canvas = request.control, request.canvas
        processor = None if control is None else control.logits_processor(canvas, end, spec.vocab)
        rng = Rng(request.seed, canvas.index.tolist())
        return write(
            next_logits, canvas, rng,
            start=spec.end, end=end, pad=spec.pad,
            temperature=request.temperature, top_p=request.top_p, spaced=request.spaced, processor=processor,
        )  # fmt: skip
