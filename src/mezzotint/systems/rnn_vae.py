"""RNN-VAE: a variational autoencoder of two recurrent networks; the small baseline of those with a latent.

Bowman et al. 2016, "Generating sentences from a continuous space", arXiv:1511.06349. An LSTM reads a text, and its last
state gives the posterior of a latent (§3); another writes the text, given the latent. The divergence's weight is
annealed, and the writer can be kept from seeing some of the tokens before it (both §3.1). The latent, the bound and
whatever is measured of them are those of adavae, so that the two differ in their networks alone.

Departure: the latent stands beside each token that the writer reads, too, and one lookup reads, writes and names the
tokens (Press and Wolf 2017, arXiv:1608.05859); the paper tried the first and saw little difference.
Departure: the weight rises linearly, in cycles (Fu et al. 2019), and some of the divergence is free; the paper's rises
once, along a sigmoid, and all of it is paid.
Departure: a token that the writer is not to see is a vector of zeros; the paper puts in its word for unknown ones,
which not every tokenizer has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mezzotint.data.canvas import shifted_right
from mezzotint.data.lengths import Lengths
from mezzotint.net.recurrent import RecurrentReader, RecurrentWriter, initialise
from mezzotint.objective.elbo import annealing_weight, divergence, negative_elbo, weighted_elbo
from mezzotint.objective.rounding import scattered_nll
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import write
from mezzotint.space.latent import Prior, draw, standard_normal, within_bounds
from mezzotint.spec.rnn_vae import CARD, RNNVAESpec
from mezzotint.types import Canvas, Frame, Loss, Posterior, Request


class Net(nn.Module):
    """All trained modules."""

    def __init__(self, spec: RNNVAESpec) -> None:
        super().__init__()
        self.embed = nn.Embedding(spec.vocab, spec.net.dim)
        self.reader = RecurrentReader(spec.net)
        self.mean = nn.Linear(spec.net.hidden, spec.latent)
        self.logvar = nn.Linear(spec.net.hidden, spec.latent)
        self.writer = RecurrentWriter(spec.net, spec.latent)
        self.bias = nn.Parameter(torch.zeros(spec.vocab))

    def logits(self, y: Tensor) -> Tensor:
        """(..., V) float32, from vectors (..., D) of the writer."""
        return F.linear(y, self.embed.weight, self.bias).float()


class RNNVAE:
    """A text as a point of a latent space, read and written by LSTMs."""

    card = CARD

    def __init__(self, spec: RNNVAESpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        self.net = Net(spec)
        self.players = {"model": self.net}
        self.weight = spec.beta
        self.prior: Prior = partial(standard_normal, spec.latent)

    def initialise(self, seed: int) -> None:
        generator, net = torch.Generator().manual_seed(seed), self.net
        for lstm in (net.reader.lstm, net.writer.lstm):
            initialise(lstm, generator)
        with torch.no_grad():
            # Smaller vectors are hardly heard at the gates at first, and learned from later (docs/decisions/0023).
            net.embed.weight.normal_(0, 0.3, generator=generator)
            net.bias.zero_()
            for linear in (net.mean, net.logvar, net.writer.begin, net.writer.leave):
                linear.weight.normal_(0, linear.in_features**-0.5, generator=generator)
                linear.bias.zero_()

    def schedule(self, fraction: float) -> Mapping[str, float]:
        """Sets the divergence's weight after `fraction` of the training."""
        spec = self.spec
        self.weight = spec.beta * annealing_weight(fraction, spec.cycles, spec.silent, spec.rising)
        return {}

    # ------------------------------------------------------------ the two halves

    @property
    def has_latent(self) -> bool:
        return self.spec.has_latent

    def posterior(self, batch: Canvas) -> Posterior:
        """q(z | x) of whole texts (B, L): from the reader's last state, after the end symbol."""
        state = self.net.reader(self.net.embed(batch.ids), batch.real)
        return within_bounds(self.net.mean(state), self.net.logvar(state))

    def token_nll(self, batch: Canvas, z: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, L) nats: -log p of each real token given those before it and the latents (B, Z); 0 on padding.

        `visible` (B, L) says which of the writer's inputs word dropout leaves; None: all of them.
        """
        at = batch.free.nonzero(as_tuple=True)
        x_BLD = self.net.embed(shifted_right(batch.ids, self.spec.end))
        x_BLD = x_BLD if visible is None else x_BLD * visible[..., None]
        z = z.to(x_BLD.dtype)
        y_BLD, _ = self.net.writer(x_BLD, z, self.net.writer.initial_memory(z))
        return scattered_nll(self.net.logits(y_BLD[at]), batch.ids, at)

    def _visible(self, batch: Canvas, rng: Rng) -> Tensor | None:
        """(B, L) bool: the inputs that word dropout leaves; the start symbol is always among them."""
        rate = self.spec.word_dropout
        if not rate:
            return None
        visible = rng.uniform(batch.ids.shape[1]).to(batch.ids.device) >= rate
        return visible.index_fill(1, torch.zeros(1, dtype=torch.int64, device=visible.device), True)

    # ------------------------------------------------------------ training and sampling

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The bound with the divergence weighted, annealed and partly free; the plain one stands in the parts."""
        spec, q = self.spec, self.posterior(batch)
        nll = self.token_nll(batch, draw(q, rng.at("latent")), self._visible(batch, rng.at("seen"))).sum(1)
        yield weighted_elbo(nll, divergence(q), batch.free.sum(1), self.weight, spec.free, spec.bits, spec.weigh)

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: -log p(x | z) for one draw of the posterior, and the divergence."""
        return negative_elbo(self.posterior(batch), partial(self.token_nll, batch), rng)

    def sample(self, request: Request) -> Iterator[Frame]:
        """Texts at `request.latent` (B, Z), or at draws of the prior, whose cost is not counted."""
        spec, canvas, net = self.spec, request.canvas, self.net
        assert request.block is None, "rnn-vae cannot write past its canvas"
        rng = Rng(request.seed, canvas.index.tolist())
        z = self.prior(rng.at("latent")) if request.latent is None else request.latent
        z = z.to(net.embed.weight)
        forbidden = torch.tensor(request.forbidden, dtype=torch.int64, device=canvas.ids.device)
        state, cell = net.writer.initial_memory(z)

        def next_logits(keep: Tensor, fresh: Tensor) -> Tensor:
            nonlocal z, state, cell
            z = z[keep]
            y_BLD, (state, cell) = net.writer(net.embed(fresh), z, (state[:, keep], cell[:, keep]))
            return net.logits(y_BLD[:, -1]).index_fill(1, forbidden, -math.inf)

        return write(
            next_logits, canvas, rng,
            start=spec.end, end=spec.end, pad=spec.pad,
            temperature=request.temperature, top_p=request.top_p, spaced=request.spaced,
        )  # fmt: skip
