"""Duo: uniform-state diffusion. A text is written by changing the tokens of a random one until they fit each other.

Sahoo et al. 2025, "The Diffusion Duality", arXiv:2506.10892.
Notation: the paper's K is V here, its x is ids; t runs from data (0) to any token (1).
Departure: the paper's curriculum (tokens relaxed to a softmax of Gaussian latents for some of the training) and its
distillation are left out: this is the model that it calls the base.
Departure: the network is told which tokens are given, and spans of half of the training texts are; the paper's models
only write from nothing.
Departure: times below 1e-3 are gone in one step, in the bound as in writing, which makes it one; the code drops them.
Departure: a text's length is drawn from the training lengths by default and costs -log p(length) in the bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.data.lengths import Lengths
from mezzotint.data.spans import given_spans
from mezzotint.errors import CapabilityError
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.net.transformer import Transformer
from mezzotint.objective.length import LengthCost
from mezzotint.process.schedule import LogLinear
from mezzotint.process.uniform import Uniform
from mezzotint.rng import Rng
from mezzotint.sampler.blocks import fill_canvas
from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.sampler.drive import Counted, Grid, State
from mezzotint.sampler.masks import masked_logits, write_tokens
from mezzotint.space.odds import tilt
from mezzotint.spec.duo import CARD, DuoSpec
from mezzotint.types import Canvas, Decoder, Denoiser, Ending, Frame, Loss, Noised, Prediction, Request

EARLIEST = 1e-3
"""The time from which the last step leads to the text."""


class Duo:
    """A uniform-state model; `lengths` is the distribution of text lengths for runs whose texts vary in length."""

    card = CARD

    def __init__(self, spec: DuoSpec, lengths: Lengths | None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        self.process = Uniform(LogLinear(), spec.vocab)  # alpha as in MDLM
        self.net = Transformer(spec.net, spec.vocab + 1, spec.vocab, spec.canvas)
        self.net.embed = MarkedEmbedding(self.net.embed)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """x_theta(z_t, t); a given token is read as itself with a mark."""
        ids = noised.z + self.spec.vocab * cond.given
        sigma = self.process.schedule.sigma(noised.t)
        logits: Tensor = self.net(ids, sigma, cond.real, at)
        return Prediction(logits.float())

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        has_spans = (rng.at("told").uniform() < self.spec.told).to(batch.ids.device)
        spans = given_spans(batch.real, self.spec.spans, rng.at("spans")) & has_spans[:, None]
        batch = replace(batch, given=batch.given | spans)
        uniform, length = bound(self.denoise, self.process, batch, rng).sum(), self.length(batch.real).sum()
        yield Loss(uniform + length, {"uniform": uniform.detach(), "length": length}, self.length.symbols(batch.free))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound, the cost of the length included."""
        return bound(self.denoise, self.process, batch, rng) + self.length(batch.real).double()

    def sample(self, request: Request) -> Iterator[Frame]:
        if request.reuse:
            raise CapabilityError("every token of duo's text can change at every step; leave reuse out")
        canvas, rng = request.canvas, Rng(request.seed, request.canvas.index.tolist())
        counted = Counted(self.denoise, canvas)
        denoise = respect_spacing(forbid(counted, request.forbidden), request.spaced)
        greedy = request.decoder is Decoder.GREEDY_TAIL
        step = Rewrite(self.process, request.temperature, request.top_p, greedy)
        return fill_canvas(denoise, step, request, rng, counted.calls, window=self.spec.canvas)


class MarkedEmbedding(nn.Embedding):
    """Vectors of tokens whose last row is a mark: the id V + i is token i, given."""

    def __init__(self, plain: nn.Embedding) -> None:
        super().__init__(plain.num_embeddings, plain.embedding_dim)

    def forward(self, ids: Tensor) -> Tensor:
        mark = self.num_embeddings - 1
        return super().forward(ids % mark) + self.weight[mark] * (ids >= mark)[..., None].to(self.weight)


def bound(denoise: Denoiser, process: Uniform, batch: Canvas, rng: Rng) -> Tensor:
    """(B,) float64 nats: one draw of the bound on each row, times stratified over the global batch.

    Times below EARLIEST stand for the one step that remains there, -log q(x | z_t, x_theta), drawn as often as its
    share of the times and weighted for that; the prior's divergence is added.
    """
    u = rng.at("time").stratified().to(batch.ids.device)
    t = u.clamp(min=EARLIEST)
    noised = process.corrupt(batch.ids, t, batch.free, rng.at("noise"))
    rows, positions = batch.free.nonzero(as_tuple=True)
    logits = denoise(noised, batch, None, (rows, positions)).logits
    p_KV, z, x = logits.softmax(-1), noised.z[rows, positions], batch.ids[rows, positions]
    nats = process.divergence(p_KV, z, x, t[rows])
    is_last = (u < EARLIEST)[rows]
    if bool(is_last.any()):
        t_last = t[rows][is_last]
        q = process.posterior(p_KV[is_last].double(), z[is_last], t_last, torch.zeros_like(t_last))
        nats = nats.index_put((is_last.nonzero()[:, 0],), F.nll_loss(q.log(), x[is_last], reduction="none") / EARLIEST)
    total = torch.zeros(len(u), dtype=torch.float64, device=u.device).index_add(0, rows, nats)
    return total + process.remainder() * batch.free.sum(1)


class Rewrite:
    """Ancestral sampling: at every step each free token is drawn from q(z_s | z_t, x_theta).

    With a greedy tail the last step takes the likeliest tokens of x_theta instead, as Duo's sampler of that name.
    """

    def __init__(self, process: Uniform, temperature: float = 1.0, top_p: float = 1.0, greedy: bool = False) -> None:
        self.process = process
        self.temperature = temperature
        self.top_p = top_p
        self.greedy = greedy

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        grid = times.to(canvas.ids.device)[:, None].expand(-1, len(canvas.ids))
        moves = len(times) - 1 if bool(canvas.free.any()) else 0
        state = State(self.process.prior(canvas, rng.at("prior")), canvas.given, canvas.given.float())
        return Grid(grid[:moves], grid[1 : moves + 1]), state

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        rows, positions, logits = masked_logits(denoise, state.noised, cond, cond.free)
        z, t = state.noised.z[rows, positions], state.noised.t[rows]
        if self.greedy and bool((s == 0).all()):
            p_KV = tilt(logits, 0, 1)
            return write_tokens(state, (rows, positions), p_KV.argmax(-1), logits.softmax(-1), s)
        p_KV = self.process.posterior(tilt(logits, self.temperature, self.top_p), z, t, s[rows])
        u = rng.at("token").uniform(cond.ids.shape[1]).to(z.device)
        return write_tokens(state, (rows, positions), inverse_cdf(p_KV, u[rows, positions]), p_KV, s)
