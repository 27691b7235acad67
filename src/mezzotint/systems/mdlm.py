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

from mezzotint.data.lengths import Lengths
from mezzotint.guidance.control import excluding, settled_request
from mezzotint.guidance.vocabulary import forbid, respect_spacing
from mezzotint.objective.length import LengthCost
from mezzotint.objective.masked import complement, counted_bound, text_bound, timed_bound
from mezzotint.rng import Rng
from mezzotint.sampler.blocks import fill_canvas
from mezzotint.sampler.decoders import rule
from mezzotint.sampler.drive import Counted
from mezzotint.sampler.subs import Subs
from mezzotint.spec.mdlm import CARD, Bound, MDLMSpec
from mezzotint.types import Canvas, Ending, Frame, Loss, Request


class MDLM:
    """A masked diffusion model; `lengths` is the distribution of text lengths for runs whose texts vary in length."""

    card = CARD

    def __init__(self, spec: MDLMSpec, lengths: Lengths | None) -> None:
        self.spec = spec
        self.length = LengthCost(lengths if spec.ending is Ending.LENGTH else None)
        self.subs = Subs(spec)  # §3.2.3
        self.process, self.net = self.subs.process, self.subs.net
        self.denoise, self.logits = self.subs.denoise, self.subs.logits
        self.players = {"model": self.net}

    def initialise(self, seed: int) -> None:
        self.net.initialise(torch.Generator().manual_seed(seed))

    def losses(self, batch: Canvas, rng: Rng) -> Iterable[Loss]:
        bound = counted_bound if self.spec.bound is Bound.COUNTS else timed_bound  # §3.4, eq. 10
        masked = bound(self.denoise, self.process, batch, rng).sum()
        length = self.length(batch.real).sum()
        yield Loss(masked + length, {"masked": masked.detach(), "length": length}, self.length.symbols(batch.free))

    def nll(self, batch: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound, the cost of the length included."""
        return text_bound(self.denoise, self.process, self.length, self.spec.time_conditioning, batch, rng)

    def evidence(self, canvas: Canvas, rng: Rng) -> Tensor:
        """(B,) float64 nats: one draw of the bound on what is given, the free positions masked at all times."""
        return self.nll(complement(canvas, self.process), rng)

    def sample(self, request: Request) -> Iterator[Frame]:
        request = settled_request(request, self.spec.vocab)
        canvas, rng = request.canvas, Rng(request.seed, request.canvas.index.tolist())
        counted = Counted(self.subs.with_prefix_cache() if request.reuse else self.denoise, canvas)
        guided = respect_spacing(excluding(forbid(counted, request.forbidden), request.control), request.spaced)
        control = request.control
        if control is not None:
            canvas = control.place_words(canvas, guided, self.process.mask, rng.at("control"))
            request = replace(request, canvas=canvas)
            guided = control.guided(guided, self.process.mask)
        step = rule(self.process, request)  # eq. 7, unless another rule is asked for
        return fill_canvas(guided, step, request, rng, counted.calls, window=self.spec.canvas)
