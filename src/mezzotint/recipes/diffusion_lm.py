"""diffusion-lm at three sizes."""

from __future__ import annotations

from collections.abc import Callable

from mezzotint.spec.base import Size
from mezzotint.spec.diffusion_lm import DiffusionLMSpec
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training, two_way
from mezzotint.types import Ending, SystemSpec


def tiny(corpus: Corpus, spec: Callable[..., SystemSpec] = DiffusionLMSpec) -> Recipe:
    """For a laptop's processor, minutes. The paper's width for a small vocabulary (E2E).

    Expected on e2e after 30 minutes of one thread (batch 32): at most 2.67 nats a token on its test split.
    """
    return _recipe(Size.TINY, corpus, spec, width=16)


def small(corpus: Corpus, spec: Callable[..., SystemSpec] = DiffusionLMSpec) -> Recipe:
    """For one GPU, an hour; not yet measured. The paper's width for a large vocabulary (ROCStories)."""
    return _recipe(Size.SMALL, corpus, spec, width=128)


def base(corpus: Corpus, spec: Callable[..., SystemSpec] = DiffusionLMSpec) -> Recipe:
    """The published size, for one GPU and hours; not yet measured."""
    return _recipe(Size.BASE, corpus, spec, width=128)


def _recipe(size: Size, corpus: Corpus, spec: Callable[..., SystemSpec], width: int) -> Recipe:
    # Departure: the paper pads every text to one length and learns the padding. Drawn lengths are our default wherever
    # there is a choice: small networks learn padding slowly, and tables compare systems under one cost of lengths.
    net = two_way(size, corpus)
    made = spec(vocab=corpus.vocab, canvas=corpus.canvas, ending=Ending.LENGTH, net=net, width=width)
    return Recipe(made, training(size))


recipe = by_size(tiny, small, base)
