"""A transformer as the denoiser of masks: SUBS, Sahoo et al. 2024 (MDLM), arXiv:2406.07524, §3.2.3.

The mask is never predicted; unmasked positions are never queried, so they carry over.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.data.canvas import frame_rows
from mezzotint.errors import CapabilityError
from mezzotint.net.attention import Cache
from mezzotint.net.transformer import Transformer
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import Cosine, LogLinear
from mezzotint.sampler.reuse import Reuse
from mezzotint.spec.mdlm import MaskNoise, MDLMSpec
from mezzotint.types import Canvas, Denoiser, Noised, Prediction


class Subs:
    """The network of a masked diffusion model, its process, and its denoiser."""

    def __init__(self, spec: MDLMSpec) -> None:
        self.spec = spec
        schedule = LogLinear() if spec.noise is MaskNoise.LOG_LINEAR else Cosine()
        self.process = Absorbing(schedule, spec.vocab)  # §3.1, App. E.1
        self.net = Transformer(spec.net, spec.vocab + 1, spec.vocab + spec.mask_output, num_positions(spec))

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """The denoiser: logits of tokens, never of the mask."""
        return Prediction(self.logits(noised, cond.real, at))

    def logits(
        self, noised: Noised, real: Tensor | None, at: tuple[Tensor, Tensor] | None, cache: Cache | None = None
    ) -> Tensor:
        """(K, vocab) float32 at the pairs `at`, else (B, L, vocab); with a cache, of positions after those in it."""
        sigma = self.process.schedule.sigma(noised.t) if self.spec.time_conditioning else None
        if self.spec.frame < 0:
            unframed: Tensor = self.net(noised.z, sigma, real, at, cache)
            return unframed[..., : self.spec.vocab].float()
        z, real = add_frame(noised.z, real, self.spec)
        framed_at = None if at is None else (at[0], at[1] + 1)
        logits: Tensor = self.net(z, sigma, real, framed_at)
        return (logits[:, 1:-1] if at is None else logits)[..., : self.spec.vocab].float()

    def with_prefix_cache(self) -> Denoiser:
        """The denoiser that reads a given prefix once (sampler/reuse.py); CapabilityError where it would move."""
        if self.spec.frame >= 0:
            raise CapabilityError("this run's windows have an end token, which moves with every block; leave reuse out")
        return Reuse(lambda part, at, cache: self.logits(part, None, at, cache), self.spec.net.depth)


def num_positions(spec: MDLMSpec) -> int:
    """The most positions that the network reads: the canvas, and its frame where there is one."""
    return spec.canvas + 2 * (spec.frame >= 0)


def add_frame(z: Tensor, real: Tensor | None, spec: MDLMSpec) -> tuple[Tensor, Tensor | None]:
    """The state (B, L) and its real positions as the network reads them: (B, L + 2) where the spec has a frame."""
    if spec.frame < 0:
        return z, real
    return frame_rows(z, torch.ones_like(z, dtype=torch.bool) if real is None else real, spec.frame)
