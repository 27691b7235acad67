"""AdaVAE: a variational autoencoder between the halves of one frozen language model.

Tu et al. 2022, "AdaVAE: Exploring adaptive GPT-2s in variational auto-encoders for language modeling",
arXiv:2205.05862. The first blocks read a text, without a causal mask, into a posterior of its latent; all blocks write
it, given the latent as a key and a value in front of it. Both halves are the same weights, which stay as they are;
each has adapters of its own.

Departure: the end of a text is learned like any token; the authors' loss leaves it out.
Departure: texts that do not fit are left out, and said to be; the authors cut them.
Departure: no dropout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.data.canvas import shifted_right
from mezzotint.data.lengths import Lengths
from mezzotint.net.adapter import Adapter, Graft
from mezzotint.net.transformer import Transformer
from mezzotint.objective.elbo import annealing_weight, divergence, negative_elbo, weighted_elbo
from mezzotint.objective.rounding import scattered_nll
from mezzotint.rng import Rng
from mezzotint.sampler.autoregressive import cached_logits, write
from mezzotint.space.latent import Infusion, PosteriorHead, Prior, draw, standard_normal
from mezzotint.spec.adavae import CARD, AdaVAESpec, Beside, Infuse, Tune
from mezzotint.types import Canvas, Frame, Loss, Posterior, Request


class Net(nn.Module):
    """All trained modules. Norms are the backbone's own, which both halves share and train."""

    def __init__(self, spec: AdaVAESpec, backbone: Transformer) -> None:
        super().__init__()
        dim, depth = spec.net.dim, spec.net.depth
        self.encoder = nn.ModuleList(Adapter(dim, spec.width) for _ in range(spec.readers if spec.has_latent else 0))
        self.decoder = nn.ModuleList(Adapter(dim, spec.width) for _ in range(depth))
        self.reader = PosteriorHead(dim, spec.latent) if spec.has_latent else None
        self.infusion = Infusion(
            spec.latent, dim, depth, spec.net.heads,
            pairs=spec.infuse in (Infuse.ATTENTION, Infuse.BOTH), memory=spec.infuse in (Infuse.MEMORY, Infuse.BOTH),
            projection=spec.projection if spec.has_latent else 0,
        )  # fmt: skip
        if spec.tune is Tune.ALL:
            self.backbone = backbone
        else:
            self.norms = nn.ModuleList(_norms(backbone))


def _norms(backbone: Transformer) -> list[nn.Module]:
    """Two for each block, then the last."""
    blocks: Iterable[Any] = backbone.blocks
    return [*(norm for block in blocks for norm in (block.norm1, block.norm2)), backbone.head.norm]


class AdaVAE:
    """A text as a point of a latent space; `frozen` is the backbone, whose weights come from elsewhere."""

    card = CARD

    def __init__(self, spec: AdaVAESpec, lengths: Lengths | None = None) -> None:
        self.spec = spec
        self.backbone = Transformer(spec.net, spec.vocab, spec.vocab, spec.reach or spec.canvas)
        self.net = Net(spec, self.backbone)
        self.players = {"model": self.net}
        self.frozen = {"backbone": self.backbone}
        self.weight = spec.beta
        self.prior: Prior = partial(standard_normal, spec.latent)
        self.backbone.requires_grad_(spec.tune is Tune.ALL)
        for norm in _norms(self.backbone):
            norm.requires_grad_(True)

    def initialise(self, seed: int) -> None:
        """All but the backbone, whose weights are loaded."""
        generator = torch.Generator().manual_seed(seed)
        for adapter in (*self.net.encoder, *self.net.decoder):
            adapter.initialise(generator)
        with torch.no_grad():
            for name, p in self.net.named_parameters():
                if name.startswith(("reader", "infusion")):
                    p.zero_() if name.endswith("bias") else p.normal_(0, 0.02, generator=generator)

    def schedule(self, fraction: float) -> Mapping[str, float]:
        """After `fraction` of the training: sets the divergence's weight, and whether the decoder learns yet."""
        spec = self.spec
        self.weight = spec.beta * annealing_weight(fraction, spec.cycles, spec.silent, spec.rising)
        for part in (self.net.decoder, *_norms(self.backbone)[2 * spec.readers : -1]):
            part.requires_grad_(fraction >= spec.late)
        return {}

    # ------------------------------------------------------------ the two halves

    @property
    def has_latent(self) -> bool:
        return self.spec.has_latent

    def posterior(self, batch: Canvas) -> Posterior:
        """q(z | x) of whole texts (B, L), their ends included: the first blocks, without a causal mask.

        For a decoder without a latent it is the prior.
        """
        if self.net.reader is None:
            zeros = torch.zeros(len(batch.ids), self.spec.latent, device=batch.ids.device)
            return Posterior(zeros, zeros)
        x_BLD = self.backbone.vectors(shifted_right(batch.ids, self.spec.end))
        grafts = [self._graft(adapter) for adapter in self.net.encoder]
        h_BLD = self.backbone.through(x_BLD, None, batch.real, grafts=grafts, causal=False)
        q: Posterior = self.net.reader(self.backbone.head.norm(h_BLD), batch.real)
        return q

    def token_nll(self, batch: Canvas, z: Tensor) -> Tensor:
        """(B, L) nats: -log p of each real token given those before it and the latents (B, Z); 0 on padding."""
        at = batch.free.nonzero(as_tuple=True)
        logits = self.backbone(shifted_right(batch.ids, self.spec.end), at=at, grafts=self._decoder_grafts(z))
        return scattered_nll(logits, batch.ids, at)

    def _decoder_grafts(self, z: Tensor) -> list[Graft]:
        if not self.spec.has_latent:
            return [self._graft(adapter) for adapter in self.net.decoder]
        slots = self.net.infusion(z)
        return [self._graft(adapter, slot) for adapter, slot in zip(self.net.decoder, slots, strict=True)]

    def _graft(self, adapter: nn.Module, slot: tuple[Tensor, Tensor] | None = None) -> Graft:
        assert isinstance(adapter, Adapter)
        return Graft(adapter, slot, both=self.spec.beside is Beside.BOTH)

    # ------------------------------------------------------------ training and sampling

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        """The bound with the divergence weighted, annealed and partly free; the plain one stands in the parts."""
        spec, q = self.spec, self.posterior(batch)
        nll = self.token_nll(batch, draw(q, rng.at("latent"))).sum(1)
        yield weighted_elbo(nll, divergence(q), batch.free.sum(1), self.weight, spec.free, spec.bits, spec.weigh)

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: -log p(x | z) for one draw of the posterior, and the divergence."""
        return negative_elbo(self.posterior(batch), partial(self.token_nll, batch), rng)

    def sample(self, request: Request) -> Iterator[Frame]:
        """Texts at `request.latent` (B, Z), or at draws of the prior, whose cost is not counted."""
        spec, canvas = self.spec, request.canvas
        assert request.block is None, "adavae cannot write past its canvas"
        rng = Rng(request.seed, canvas.index.tolist())
        z = self.prior(rng.at("latent")) if request.latent is None else request.latent
        z = z.to(canvas.ids.device)
        return write(
            cached_logits(self.backbone, spec.net.depth, request, self._decoder_grafts(z)), canvas, rng,
            start=spec.end, end=spec.end, pad=spec.pad,
            temperature=request.temperature, top_p=request.top_p, spaced=request.spaced,
        )  # fmt: skip
