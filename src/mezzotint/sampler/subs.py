"""A transformer as the denoiser of masks: SUBS, Sahoo et al. 2024 (MDLM), arXiv:2406.07524, §3.2.3.

The mask is never predicted; what is not masked is never asked for, so it carries over.
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
    """The network of a masked diffusion model, its process, and what it says of a state."""

    def __init__(self, spec: MDLMSpec) -> None:
        self.spec = spec
        schedule = LogLinear() if spec.noise is MaskNoise.LOG_LINEAR else Cosine()
        self.process = Absorbing(schedule, spec.vocab)  # §3.1, App. E.1
        self.net = Transformer(spec.net, spec.vocab + 1, spec.vocab + spec.mask_output, places(spec))

    def denoise(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        """The denoiser: logits of tokens, never of the mask."""
        return Prediction(self.logits(noised, cond.real, at))

    def logits(
        self, noised: Noised, real: Tensor | None, at: tuple[Tensor, Tensor] | None, cache: Cache | None = None
    ) -> Tensor:
        """(K, vocab) float32 at the pairs `at`, else (B, L, vocab); with a cache, of what follows what is in it."""
        sigma = self.process.schedule.sigma(noised.t) if self.spec.time_conditioning else None
        if self.spec.frame < 0:
            plain: Tensor = self.net(noised.z, sigma, real, at, cache)
            return plain[..., : self.spec.vocab].float()
        z, real = in_frame(noised.z, real, self.spec)
        inside = None if at is None else (at[0], at[1] + 1)
        logits: Tensor = self.net(z, sigma, real, inside)
        return (logits[:, 1:-1] if at is None else logits)[..., : self.spec.vocab].float()

    def reading_once(self) -> Denoiser:
        """The denoiser that reads a given prefix once (sampler/reuse.py); CapabilityError where it would move."""
        if self.spec.frame >= 0:
            raise CapabilityError("this run's windows have an end token, which moves with every block; leave reuse out")
        return Reuse(lambda part, at, cache: self.logits(part, None, at, cache), self.spec.net.depth)


def places(spec: MDLMSpec) -> int:
    """Positions that the network reads at most: the canvas, and its frame where there is one."""
    return spec.canvas + 2 * (spec.frame >= 0)


def in_frame(z: Tensor, real: Tensor | None, spec: MDLMSpec) -> tuple[Tensor, Tensor | None]:
    """The state (B, L) and its real positions as the network reads them: (B, L + 2) where the spec has a frame."""
    if spec.frame < 0:
        return z, real
    return frame_rows(z, torch.ones_like(z, dtype=torch.bool) if real is None else real, spec.frame)
