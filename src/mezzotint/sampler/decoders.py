"""The step rule of each decoder over masks: the one table.

The rules' sources are named in their own files (Sahoo et al. 2024 and later).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mezzotint.process.absorbing import Absorbing
from mezzotint.sampler.ancestral import LegacyAncestral
from mezzotint.sampler.drive import Step
from mezzotint.sampler.mask_predict import MaskPredict
from mezzotint.sampler.ordered import Ordered, certainty, confidence, margin
from mezzotint.sampler.remask import Remask, capped, rescaled
from mezzotint.sampler.reveal import Reveal
from mezzotint.sampler.spread import Spread
from mezzotint.types import Decoder, Request

RULES: Mapping[Decoder, Callable[[Absorbing, Request], Step]] = {
    Decoder.EXACT: lambda p, r: Reveal(p, r.temperature, r.top_p),
    Decoder.SPREAD: lambda p, r: Spread(p, r.temperature, r.top_p),
    Decoder.CONFIDENCE: lambda p, r: Ordered(p, confidence, r.temperature, r.top_p),
    Decoder.MARGIN: lambda p, r: Ordered(p, margin, r.temperature, r.top_p),
    Decoder.ENTROPY: lambda p, r: Ordered(p, certainty, r.temperature, r.top_p),
    Decoder.THRESHOLD: lambda p, r: Ordered(p, confidence, r.temperature, r.top_p, threshold=r.threshold),
    Decoder.REMASK: lambda p, r: Remask(p, capped(r.strength), r.temperature, r.top_p),
    Decoder.REMASK_RESCALED: lambda p, r: Remask(p, rescaled(r.strength), r.temperature, r.top_p),
    Decoder.MASK_PREDICT: lambda p, r: MaskPredict(p, r.temperature, r.top_p),
    Decoder.LEGACY_FLOAT32: lambda p, r: LegacyAncestral(p, r.temperature, r.top_p),
}


def rule(process: Absorbing, request: Request) -> Step:
    """The step rule of a request, over masks."""
    return RULES[request.decoder](process, request)
