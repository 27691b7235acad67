"""RNN-VAE: a variational autoencoder of two recurrent networks; the small baseline of those with a latent.

Bowman et al. 2016, "Generating sentences from a continuous space", arXiv:1511.06349. An LSTM reads a text, and its last
state gives the posterior of a latent (§3); another writes the text, told of the latent. The divergence's weight is
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

from mezzotint.data.lengths import Lengths
from mezzotint.net.recurrent import RecurrentReader, RecurrentWriter, initialise
from mezzotint.objective.elbo import annealed, divergence, weighted_elbo
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import write
from mezzotint.space.latent import Prior, draw, standard_normal, within_bounds
from mezzotint.spec.rnn_vae import CARD, RNNVAESpec
from mezzotint.types import Canvas, Frame, Loss, Posterior, Request


class Net(nn.Module):
    """All that is trained."""

    def __init__(self, spec: RNNVAESpec) -> None:
        super().__init__()
        self.embed = nn.Embedding(spec.vocab, spec.net.dim)
        self.reader = RecurrentReader(spec.net)
        self.mean = nn.Linear(spec.net.hidden, spec.latent)
        self.logvar = nn.Linear(spec.net.hidden, spec.latent)
        self.writer = RecurrentWriter(spec.net, spec.latent)
        self.bias = nn.Parameter(torch.zeros(spec.vocab))

    def logits(self, y: Tensor) -> Tensor:
        """(..., V) float32: the log odds of the tokens that vectors (..., D) of the writer say."""
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
        """The divergence's weight when so much of the training is done."""
        spec = self.spec
        self.weight = spec.beta * annealed(fraction, spec.cycles, spec.silent, spec.rising)
        return {}

    # ------------------------------------------------------------ the two halves

    def posterior(self, batch: Canvas) -> Posterior:
        """q(z | x) of whole texts (B, L): what the reader's last state says, after the end symbol."""
        state = self.net.reader(self.net.embed(batch.ids), batch.real)
        return within_bounds(self.net.mean(state), self.net.logvar(state))

    def token_nll(self, batch: Canvas, z: Tensor, seen: Tensor | None = None) -> Tensor:
        """(B, L) nats: -log p of each real token given those before it and the latents (B, Z); 0 on padding.

        Of what stands before a position the writer sees only what is `seen` (B, L); None: all of it.
        """
        rows, positions = batch.free.nonzero(as_tuple=True)
        before = torch.cat([torch.full_like(batch.ids[:, :1], self.spec.end), batch.ids[:, :-1]], dim=1)
        x_BLD = self.net.embed(before)
        x_BLD = x_BLD if seen is None else x_BLD * seen[..., None]
        z = z.to(x_BLD.dtype)
        y_BLD, _ = self.net.writer(x_BLD, z, self.net.writer.initial_memory(z))
        logits = self.net.logits(y_BLD[rows, positions])
        nll = F.cross_entropy(logits, batch.ids[rows, positions], reduction="none")
        return torch.zeros(batch.ids.shape, dtype=nll.dtype, device=nll.device).index_put((rows, positions), nll)

    def _seen(self, batch: Canvas, rng: Rng) -> Tensor | None:
        """(B, L) bool: what word dropout leaves. What stands before the first token is no token, and stays."""
        share = self.spec.word_dropout
        if not share:
            return None
        seen = rng.uniform(batch.ids.shape[1]).to(batch.ids.device) >= share
        return seen.index_fill(1, torch.zeros(1, dtype=torch.int64, device=seen.device), True)

    # ------------------------------------------------------------ what every system does

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The bound with the divergence weighed, annealed and partly free; what it is itself stands in the parts."""
        spec, q = self.spec, self.posterior(batch)
        text = self.token_nll(batch, draw(q, rng.at("latent")), self._seen(batch, rng.at("seen"))).sum(1)
        yield weighted_elbo(text, divergence(q), batch.free.sum(1), self.weight, spec.free, spec.bits, spec.weigh)

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: -log p(x | z) for one draw of the posterior, and the divergence."""
        q = self.posterior(batch)
        text = self.token_nll(batch, draw(q, rng.at("latent")))
        return text.double().sum(1) + divergence(q).double().sum(1)

    def sample(self, request: Request) -> Iterator[Frame]:
        """Texts at `request.latent` (B, Z), or where the prior draws it; what that takes is not counted."""
        spec, canvas, net = self.spec, request.canvas, self.net
        assert request.block is None, "rnn-vae cannot write past its canvas"
        rng = Rng(request.seed, canvas.index.tolist())
        z = self.prior(rng.at("latent")) if request.latent is None else request.latent
        z = z.to(net.embed.weight)
        forbidden = torch.tensor(request.forbidden, dtype=torch.int64, device=canvas.ids.device)
        held = [(z, net.writer.initial_memory(z))]

        def next_logits(keep: Tensor, fresh: Tensor) -> Tensor:
            z, (state, cell) = held[0]
            z, memory = z[keep], (state[:, keep], cell[:, keep])
            y_BLD, memory = net.writer(net.embed(fresh), z, memory)
            held[0] = z, memory
            return net.logits(y_BLD[:, -1]).index_fill(1, forbidden, -math.inf)

        return write(
            next_logits, canvas, rng,
            start=spec.end, end=spec.end, pad=spec.pad,
            temperature=request.temperature, top_p=request.top_p, spaced=request.spaced,
        )  # fmt: skip
