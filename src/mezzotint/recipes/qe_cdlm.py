"""qe-cdlm at three sizes: those of diffusion-lm."""

from __future__ import annotations

from functools import partial

from mezzotint.recipes import diffusion_lm
from mezzotint.spec.qe_cdlm import QECDLMSpec
from mezzotint.spec.recipe import by_size

tiny = partial(diffusion_lm.tiny, spec=QECDLMSpec)
small = partial(diffusion_lm.small, spec=QECDLMSpec)
base = partial(diffusion_lm.base, spec=QECDLMSpec)

recipe = by_size(tiny, small, base)
