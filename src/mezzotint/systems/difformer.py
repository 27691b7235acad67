"""Difformer: Gaussian diffusion over learned embeddings, from a source (Gao et al. 2022, arXiv:2212.09412).

An encoder reads the source once. A decoder without a causal mask predicts the clean vectors from noisy ones, the time
and its last estimate. The anchor loss has the estimate name the token, so that vectors cannot collapse; noise
several times as loud as the data keeps the network from reading tokens off it instead of off the source.

Departure: a canvas holds the text alone; its edges are known by its places, where the code frames it with two symbols.
Departure: times are continuous and stratified over the batch, where the code draws one of 2,000 for each text.
Departure: the steps of writing are 1/K apart and begin at t = 1; the code's K points include both ends of its 2,000.
Departure: rotary attention, neighbours mixed at the entrance (net/transformer.py), GELU, and by default norms before
the branches; `norms=post` is the paper's.
Departure: places are added behind the norm of the entrance, in the code before it. What enters grew in training until
its places were lost: without them nothing changed, and a masked model without its own loses a nat at t = 1.
Departure: `temperature` is how much of the ancestral step's noise is added; `translate` adds half of it, or none where
a length has one text (translation/write.py). In the code it is all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from mezzotint.data.lengths import Lengths
from mezzotint.guidance.self_condition import coin, twice
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.net.conditioning import sinusoids
from mezzotint.net.encoder_decoder import Memory, Stack
from mezzotint.objective.chain import chain_bound
from mezzotint.objective.offset import LengthHead, length_nll, length_sketch
from mezzotint.objective.regression import squared_error
from mezzotint.objective.rounding import row_nll
from mezzotint.process.gaussian import Gaussian, RescaledVariance, SqrtVariance
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.gaussian import GaussianStep, solver
from mezzotint.space.scaled import ScaledEmbedding
from mezzotint.spec.difformer import CARD, DifformerSpec, EmbedNorm, Louder, Names
from mezzotint.types import Canvas, Denoiser, Frame, Loss, Noised, Prediction, Request, Sketch

CLOCK = 1000.0
"""Times are fed as the code counts them, 0 to 1000."""


class Net(nn.Module):
    """The table, the encoder with its length head, and the decoder with its entrance and exit."""

    def __init__(self, spec: DifformerSpec) -> None:
        super().__init__()
        dim, width = spec.net.dim, spec.width
        self.space = ScaledEmbedding(spec.vocab, width, normed=spec.embed_norm is EmbedNorm.TABLE)
        self.read_in = nn.Linear(width, dim, bias=False)
        self.encoder = Stack(spec.net, spec.source_canvas, crosses=False)
        self.length = LengthHead(dim, spec.source_canvas, spec.canvas)
        self.write_in = nn.Linear(width, dim, bias=False)
        self.joined = nn.Sequential(
            nn.Linear(2 * dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.Dropout(spec.net.dropout)
        )
        self.time = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim))
        self.decoder = Stack(spec.net, spec.canvas, crosses=True, normed=spec.embed_norm is EmbedNorm.INPUT)
        self.write_out = nn.Linear(dim, width, bias=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Fresh weights: matrices between the stacks by the width that they read."""
        with torch.no_grad():
            for name, p in self.named_parameters():
                if "norm" not in name:
                    p.zero_() if name.endswith("bias") else p.normal_(0, p.shape[-1] ** -0.5, generator=generator)
        self.space.initialise(generator)
        self.encoder.initialise(generator)
        self.decoder.initialise(generator)

    def encode(self, source: Canvas) -> Tensor:
        """The encoder's state at each position of a source, (B, S, D)."""
        states: Tensor = self.encoder(self.read_in(self._cast(self.space.encode(source.ids))), source.real)
        return states

    def forward(self, z_BLW: Tensor, earlier_BLW: Tensor, t: Tensor, real: Tensor, memory: Memory) -> Tensor:
        """The estimate of the clean vectors (B, L, W)."""
        h = self.joined(torch.cat([self.write_in(self._cast(x)) for x in (z_BLW, earlier_BLW)], dim=-1))
        clock = self.time(sinusoids(t * CLOCK, self.read_in.out_features).to(h.dtype))
        out: Tensor = self.write_out(self.decoder(h + clock[:, None], real, memory))
        return out.to(z_BLW.dtype)

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(self.read_in.weight.dtype)


class Difformer:
    """Embedding diffusion from a source."""

    card = CARD

    def __init__(self, spec: DifformerSpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        self.process = _process(spec, spec.factor)
        self.decoding = _process(spec, spec.decode_factor)
        self.net = Net(spec)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed + 7_919))  # not the stream of the noise

    def denoiser(self, memory: Memory) -> Denoiser:
        """z_theta(z_t, z_tilde, t, x), for encoded sources."""

        def denoise(
            noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
        ) -> Prediction:
            z = noised.z
            earlier = previous if isinstance(previous, Tensor) else torch.zeros_like(z)
            estimate: Tensor = self.net(z, earlier, noised.t, cond.real, memory)
            return Prediction(self.net.space.logits(estimate if at is None else estimate[at]), estimate, estimate)

        return denoise

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The error of the estimate, the NLL of tokens and of the length; z_0 gets its gradient from all of them."""
        states, memory, real = self._encode(batch)
        t = (1 - rng.at("time").stratified()).to(batch.ids.device)
        z0 = self.net.space.encode(batch.ids)
        noised = self.process.corrupt(z0, t, batch.free, rng.at("noise"))
        denoise = self.denoiser(memory)
        prediction = coin(denoise, noised, batch, rng) if self.spec.self_condition else denoise(noised, batch)
        assert prediction.estimate is not None
        error = squared_error(prediction.estimate, z0, batch.free).sum()
        logits = prediction.logits if self.spec.names is Names.ANCHOR else self.net.space.logits(z0)
        rounding = row_nll(logits, batch.ids, batch.free, self.spec.smoothing).sum()
        # Departure: a text's length counts once for each of its tokens, so that all means are over tokens.
        length = (length_nll(self.net.length(states, real), batch.real) * batch.free.sum(1)).sum()
        parts = {"error": error.detach(), self.spec.names.value: rounding.detach(), "length": length.detach()}
        yield Loss(error + rounding + self.spec.length_weight * length, parts, float(batch.free.sum()))

    def _encode(self, canvas: Canvas, encoded: object = None) -> tuple[Tensor, Memory, Tensor]:
        """The encoder's states of each row's source, the decoder's memory of it, and which of its positions are real.

        `encoded` is the states of the different sources, if they are known.
        """
        assert canvas.source is not None, "difformer writes from a source"
        source, row = canvas.source.apart()
        states = encoded if isinstance(encoded, Tensor) else self.net.encode(source)
        return states[row], self.net.decoder.recall(states, source.real).rows(row), source.real[row]

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound of the chain under the noise of training, and of the length."""
        states, memory, real = self._encode(batch)
        denoise = twice(self.denoiser(memory)) if self.spec.self_condition else self.denoiser(memory)
        bound = chain_bound(denoise, self.process, self.net.space.vectors, batch, self.spec.chain, rng)
        return bound + length_nll(self.net.length(states, real), batch.real).double()

    @torch.no_grad()
    def sketch(self, source: Canvas, lengths: int, each: int) -> Sketch:
        """Canvases for candidates of each source: `each` of every one of the best `lengths` lengths."""
        distinct, row = source.apart()
        states = self.net.encode(distinct)
        log_p = self.net.length(states, distinct.real)[row]
        return length_sketch(source, log_p, lengths, each, self.spec.length_beam, self.spec.pad, states)

    def sample(self, request: Request) -> Iterator[Frame]:
        canvas = request.canvas
        with torch.no_grad():
            _, memory, _ = self._encode(canvas, request.read)
            blank = self.net.space.vectors.new_zeros(*canvas.ids.shape, self.spec.width)
        counted = Counted(self.denoiser(memory), canvas)
        denoise = respect_spacing(forbid(counted, request.forbidden), request.spaced)
        step = GaussianStep(self.decoding, solver(request, "difformer"), blank, self.spec.early_stop, request.drafts)
        rng = Rng(request.seed, canvas.index.tolist())
        return drive(denoise, step, canvas, request.steps, rng, counted.calls)


def _process(spec: DifformerSpec, factor: float) -> Gaussian:
    if spec.louder is Louder.SCHEDULE:
        return Gaussian(RescaledVariance(SqrtVariance(), factor))
    return Gaussian(SqrtVariance(), factor)
