"""AR-seq2seq: an autoregressive encoder-decoder (Vaswani et al. 2017, arXiv:1706.03762); the bar for all others.

log p(y | x) = sum over i of log p(y_i | y_<i, x), exactly; the symbol before the first token is the end symbol.
It is another system than `ar` and not an `ar` with a source: it reads with a network of its own, cannot write without
a source, and so can do nothing that `ar` can; what both need (the writer, the cache, the attention) is shared.

Departure: rotary positions (Su et al. 2021), and by default norms before the branches (Xiong et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from mezzotint.data.canvas import shifted_right
from mezzotint.data.lengths import Lengths
from mezzotint.data.sketch import candidates
from mezzotint.net.attention import Cache
from mezzotint.net.encoder_decoder import EncoderDecoder, Memory
from mezzotint.objective.rounding import row_nll, token_nll
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import Next, write
from mezzotint.sampler.beam import Hypothesis, beam_search
from mezzotint.spec.ar_seq2seq import CARD, ARSeq2SeqSpec
from mezzotint.types import Canvas, Decoder, Frame, Loss, Request, Sketch


class ARSeq2Seq:
    """A causal decoder over an encoder."""

    card = CARD

    def __init__(self, spec: ARSeq2SeqSpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        lengths_of_both = (spec.source_canvas, spec.canvas)
        self.net = EncoderDecoder(spec.net, spec.vocab, spec.vocab, lengths_of_both, causal=True)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def logits(self, batch: Canvas) -> Tensor:
        """(B, L, V): of the token at each position, given those before it and the source."""
        assert batch.source is not None, "ar-seq2seq writes from a source"
        source, row = batch.source.apart()
        memory = self.net.read(source.ids, source.real).rows(row)
        # Padding follows the text, and no position looks ahead: it needs no hiding.
        logits: Tensor = self.net(shifted_right(batch.ids, self.spec.end), memory)
        return logits

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        total = row_nll(self.logits(batch), batch.ids, batch.free, self.spec.smoothing).sum()
        yield Loss(total, {"tokens": total.detach()}, float(batch.free.sum()))

    def token_nll(self, batch: Canvas) -> Tensor:
        """(B, L) nats: -log p of each free token given those before it and the source; 0 elsewhere."""
        return token_nll(self.logits(batch), batch.ids, batch.free)

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats, exact."""
        return self.token_nll(batch).double().sum(1)

    # ------------------------------------------------------------ writing

    def sketch(self, source: Canvas, lengths: int, each: int) -> Sketch:
        """Canvases for `lengths * each` candidates of each source; texts end by themselves."""
        widths = [[self.spec.canvas] * (lengths * each)] * len(source.ids)
        return Sketch(candidates(source, widths, self.spec.pad))

    def sample(self, request: Request) -> Iterator[Frame]:
        """Token after token; with Decoder.BEAM the rows of one source get its best hypotheses, best first."""
        canvas, spec = request.canvas, self.spec
        assert canvas.source is not None, "ar-seq2seq writes from a source"
        source, owner = canvas.source.apart()
        memory = self.net.read(source.ids, source.real)
        if request.decoder is Decoder.BEAM:
            return self._beam_search(request, memory, owner)
        return write(
            self._next_logits(memory, owner, request), canvas, Rng(request.seed, canvas.index.tolist()),
            start=spec.end, end=spec.end, pad=spec.pad,
            temperature=request.temperature, top_p=request.top_p, spaced=request.spaced,
        )  # fmt: skip

    def _next_logits(self, memory: Memory, owner: Tensor, request: Request) -> Next:
        """The network with its cache; owner (R,) is the index of each row's source in the memory."""
        cache = Cache(self.spec.net.depth)
        cache.reserve(self.spec.canvas)
        forbidden = torch.tensor(request.forbidden, dtype=torch.int64, device=owner.device)
        row_memory = memory.rows(owner)

        def next_logits(keep: Tensor, fresh: Tensor) -> Tensor:
            nonlocal owner, row_memory
            if cache.length and not torch.equal(keep, torch.arange(len(owner), device=keep.device)):
                cache.rows(keep)
                if not torch.equal(owner[keep], owner):
                    row_memory = row_memory.rows(keep)
                owner = owner[keep]
            logits: Tensor = self.net(fresh, row_memory, cache=cache)[:, -1]
            return logits.float().index_fill(1, forbidden, -math.inf)

        return next_logits

    @torch.no_grad()
    def _beam_search(self, request: Request, memory: Memory, owner: Tensor) -> Iterator[Frame]:
        """One frame: every row's hypothesis, with the probability of each of its tokens."""
        canvas, spec = request.canvas, self.spec
        sources, width = owner.unique_consecutive(return_counts=True)
        assert bool((width == width[0]).all()), "a beam is as wide for every source"
        beam = int(width[0])
        hypotheses, calls = beam_search(
            self._next_logits(memory, owner, request), len(sources), canvas.ids.shape[1],
            start=spec.end, end=spec.end, width=beam, device=owner.device,
        )  # fmt: skip
        ids, known = torch.full_like(canvas.ids, spec.pad), torch.zeros_like(canvas.real)
        confidence = torch.zeros(ids.shape, device=ids.device)
        for row, ranked in enumerate(hypotheses):
            for rank in range(beam):
                # Where there are fewer texts than beams, the last one stands in.
                best: Hypothesis = ranked[min(rank, len(ranked) - 1)]
                at = (row * beam + rank, slice(len(best.ids)))
                ids[at] = torch.tensor(best.ids, device=ids.device)
                confidence[at] = torch.tensor(best.log_p, device=ids.device).exp()
                known[at] = True
        t = torch.zeros(len(ids), dtype=torch.float64)
        yield Frame(1, 1, t, ids, known, confidence, calls.repeat_interleave(beam), True)
