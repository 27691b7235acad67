"""CMLM: a masked language model from a source (Ghazvininejad et al. 2019, arXiv:1904.09324), written by mask-predict.

An encoder reads the source once. A decoder without a causal mask predicts the masked tokens of a text, of which any
number may be masked; it is masked diffusion in its any-order form, and all decoders for masks serve it.

Departure: the length is a class of the encoder's mean state (objective/offset.py), where the paper has a symbol LENGTH.
Departure: rotary attention, neighbours mixed at the entrance, and by default norms before the branches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mezzotint.data.lengths import Lengths
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.net.encoder_decoder import EncoderDecoder
from mezzotint.objective.masked import counted_bound, counted_nll
from mezzotint.objective.offset import LengthHead, length_nll, length_sketch
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import LogLinear
from mezzotint.rng import Rng
from mezzotint.sampler.decoders import rule
from mezzotint.sampler.drive import Counted, drive
from mezzotint.spec.cmlm import CARD, CMLMSpec
from mezzotint.types import Canvas, Denoiser, Frame, Loss, Noised, Prediction, Request, Sketch


class Net(nn.Module):
    """The encoder-decoder, whose decoder also reads the mask, and the head that predicts lengths."""

    def __init__(self, spec: CMLMSpec) -> None:
        super().__init__()
        canvases = (spec.source_canvas, spec.canvas)
        self.text = EncoderDecoder(spec.net, spec.vocab + 1, spec.vocab, canvases, causal=False)
        self.length = LengthHead(spec.net.dim, *canvases)

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights; every length equally likely."""
        self.text.initialise(generator)
        nn.init.zeros_(self.length.classes.weight)


class CMLM:
    """A masked language model over an encoder."""

    card = CARD

    def __init__(self, spec: CMLMSpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        self.process = Absorbing(LogLinear(), spec.vocab)
        self.net = Net(spec)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def denoiser(self, canvas: Canvas, encoded: object = None) -> tuple[Denoiser, Tensor]:
        """The denoiser of a canvas, and log p of its rows' lengths (B, longest), each source encoded once; `encoded` is
        the encoder's states of the different sources, if they are known."""
        assert canvas.source is not None, "cmlm writes from a source"
        source, row = canvas.source.apart()
        states = encoded if isinstance(encoded, Tensor) else self.net.text.encode(source.ids, source.real)
        memory = self.net.text.decoder.recall(states, source.real)
        index, row_memory = source.index[:0], memory

        def denoise(
            noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
        ) -> Prediction:
            nonlocal index, row_memory
            assert cond.source is not None
            if not torch.equal(index, cond.source.index):
                index = cond.source.index
                row_memory = memory.rows(torch.searchsorted(source.index, index).to(cond.ids.device))
            return Prediction(self.net.text(noised.z, row_memory, cond.real, at).float())

        return denoise, self.net.length(states, source.real)[row]

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The masked tokens (§3.1) and the length (§3.3)."""
        denoise, log_p_length = self.denoiser(batch)
        nll, count = counted_nll(denoise, self.process, batch, rng, self.spec.smoothing)
        masked = nll.sum()
        # Departure: a text's length counts once for each of its masks, so that all means are over tokens.
        length = (length_nll(log_p_length, batch.real) * count).sum()
        parts = {"masked": masked.detach(), "length": length.detach()}
        yield Loss(masked + self.spec.length_weight * length, parts, float(count.sum()))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound in its any-order form, and the length."""
        denoise, log_p_length = self.denoiser(batch)
        bound = counted_bound(denoise, self.process, batch, rng).double()
        return bound + length_nll(log_p_length, batch.real).double()

    @torch.no_grad()
    def sketch(self, source: Canvas, lengths: int, each: int) -> Sketch:
        """Canvases for candidates of each source: `each` of every one of the best `lengths` lengths."""
        distinct, row = source.apart()
        states = self.net.text.encode(distinct.ids, distinct.real)
        log_p = self.net.length(states, distinct.real)[row]
        return length_sketch(source, log_p, lengths, each, self.spec.length_beam, self.spec.pad, states)

    def sample(self, request: Request) -> Iterator[Frame]:
        canvas, rng = request.canvas, Rng(request.seed, request.canvas.index.tolist())
        with torch.no_grad():
            denoise, _ = self.denoiser(canvas, request.read)
        counted = Counted(denoise, canvas)
        guided = respect_spacing(forbid(counted, request.forbidden), request.spaced)
        return drive(guided, rule(self.process, request), canvas, request.steps, rng, counted.calls)
