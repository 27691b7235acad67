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
from mezzotint.net.attention import Cache
from mezzotint.net.transformer import Transformer
from mezzotint.objective.length import LengthCost
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import write
from mezzotint.spec.ar import CARD, ARSpec
from mezzotint.types import Canvas, Ending, Frame, Loss, Request

END, PAD = 0, 1


class AR:
    """A causal language model."""

    card = CARD

    def __init__(self, spec: ARSpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        self.net = Transformer(spec.net, spec.vocab, spec.vocab, spec.canvas)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def token_nll(self, batch: Canvas) -> Tensor:
        """(B, L) nats: -log p of each real token given those before it; 0 on padding."""
        before = torch.cat([torch.full_like(batch.ids[:, :1], END), batch.ids[:, :-1]], dim=1)
        rows, positions = batch.free.nonzero(as_tuple=True)
        # Padding follows the text, and no position looks ahead: it needs no hiding.
        logits = self.net(before, at=(rows, positions)).float()
        nll = F.cross_entropy(logits, batch.ids[rows, positions], reduction="none")
        return torch.zeros(batch.ids.shape, dtype=nll.dtype, device=nll.device).index_put((rows, positions), nll)

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
        cache = Cache(self.spec.net.depth)
        cache.reserve(request.canvas.ids.shape[1] + 1)
        forbidden = torch.tensor(request.forbidden, dtype=torch.int64, device=request.canvas.ids.device)

        def next_logits(keep: Tensor, fresh: Tensor) -> Tensor:
            if cache.length and len(keep) < cache.batch:
                cache.rows(keep)
            last = (torch.arange(len(fresh), device=fresh.device), torch.full_like(fresh[:, 0], fresh.shape[1] - 1))
            logits: Tensor = self.net(fresh, at=last, cache=cache)
            return logits.float().index_fill(1, forbidden, -math.inf)

        end = END if self.spec.ending is Ending.SYMBOL else None
        rng = Rng(request.seed, request.canvas.index.tolist())
        return write(
            next_logits, request.canvas, rng,
            start=END, end=end, pad=PAD, temperature=request.temperature, top_p=request.top_p, spaced=request.spaced,
        )  # fmt: skip
