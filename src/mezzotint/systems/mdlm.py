"""MDLM: masked diffusion. A text is written by revealing masked tokens in random order.

Sahoo et al. 2024, "Simple and Effective Masked Diffusion Language Models", arXiv:2406.07524.
Notation: the paper's x is ids here; t runs from data (0) to all masks (1).
Departure: the bound is trained in its any-order form by default (`bound=counts`); `bound=times` is the paper's.
Departure: our own presets have no time condition at all, where the paper feeds a constant zero.
Departure: a text's length is drawn from the training lengths by default and costs -log p(length) in the bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.data.canvas import framed
from mezzotint.data.lengths import Lengths
from mezzotint.errors import CapabilityError
from mezzotint.guidance.vocabulary import forbid, spaces
from mezzotint.net.attention import Cache
from mezzotint.net.transformer import Transformer
from mezzotint.objective.length import LengthCost
from mezzotint.objective.masked import counted_bound, timed_bound
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import Cosine, LogLinear
from mezzotint.rng import Rng
from mezzotint.sampler.blocks import write_blocks
from mezzotint.sampler.decoders import rule
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.reuse import Reuse
from mezzotint.spec.mdlm import CARD, Bound, MaskNoise, MDLMSpec
from mezzotint.types import Canvas, Ending, Frame, Loss, Noised, Prediction, Request


class MDLM:
    """A masked diffusion model; `lengths` is the distribution of text lengths for runs whose texts vary in length."""

    card = CARD

    def __init__(self, spec: MDLMSpec, lengths: Lengths | None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        schedule = LogLinear() if spec.noise is MaskNoise.LOG_LINEAR else Cosine()
        self.process = Absorbing(schedule, spec.vocab)  # §3.1, App. E.1
        positions = spec.canvas + 2 * (spec.frame >= 0)
        self.net = Transformer(spec.net, spec.vocab + 1, spec.vocab + spec.mask_output, positions)
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """SUBS, §3.2.3: the mask is never predicted; what is not masked is never asked for, so it carries over."""
        return Prediction(self.logits(noised, cond.real, at))

    def logits(
        self, noised: Noised, real: Tensor | None, at: tuple[Tensor, Tensor] | None, cache: Cache | None = None
    ) -> Tensor:
        """(K, vocab) float32 at the pairs `at`, else (B, L, vocab); with a cache, of what follows what is in it."""
        sigma = -self.process.schedule.alpha(noised.t).log() if self.spec.time_conditioning else None
        if self.spec.frame < 0:
            plain: Tensor = self.net(noised.z, sigma, real, at, cache)
            return plain[..., : self.spec.vocab].float()
        real = torch.ones_like(noised.z, dtype=torch.bool) if real is None else real
        z, real = framed(noised.z, real, self.spec.frame)
        inside = None if at is None else (at[0], at[1] + 1)
        logits: Tensor = self.net(z, sigma, real, inside)
        return (logits[:, 1:-1] if at is None else logits)[..., : self.spec.vocab].float()

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        bound = counted_bound if self.spec.bound is Bound.COUNTS else timed_bound  # §3.4, eq. 10
        masked = bound(self.denoise, self.process, batch, rng).sum()
        length = self.length(batch.real).sum()
        yield Loss(masked + length, {"masked": masked.detach(), "length": length}, self.length.symbols(batch.free))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound, the cost of the length included."""
        bound = timed_bound if self.spec.time_conditioning else counted_bound
        return bound(self.denoise, self.process, batch, rng).double() + self.length(batch.real).double()

    def evidence(self, canvas: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound on what is given, the free positions masked at all times."""
        masked = canvas.ids.masked_fill(canvas.free, self.process.mask)
        return self.nll(replace(canvas, ids=masked, given=canvas.free), rng)

    def sample(self, request: Request) -> Iterator[Frame]:
        canvas, rng = request.canvas, Rng(request.seed, request.canvas.index.tolist())
        if request.reuse and self.spec.frame >= 0:
            raise CapabilityError("this run's windows have an end token, which moves with every block; leave reuse out")
        reuse = Reuse(lambda part, at, cache: self.logits(part, None, at, cache), self.spec.net.depth)
        counted = Counted(reuse if request.reuse else self.denoise, canvas)
        guided = spaces(forbid(counted, request.forbidden), request.spaced)
        step = rule(self.process, request)  # eq. 7, unless another rule is asked for
        if request.block is None:
            return drive(guided, step, canvas, request.steps, rng, counted.calls)
        return write_blocks(
            guided, step, canvas, request.steps, rng, counted.calls, window=self.spec.canvas, block=request.block
        )
