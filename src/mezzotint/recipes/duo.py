"""duo at three sizes."""

from __future__ import annotations

from dataclasses import replace

from mezzotint.spec.base import Size
from mezzotint.spec.duo import DuoSpec
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training, two_way
from mezzotint.types import Ending


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes.

    Expected on bistro after 5 minutes of one thread (batch 32): at most 2.08 nats a token on its test split.
    """
    return _recipe(Size.TINY, corpus, tied=True)


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus, tied=False)


def base(corpus: Corpus) -> Recipe:
    """The published size, for several GPUs and days; not yet measured."""
    return _recipe(Size.BASE, corpus, tied=False)


def _recipe(size: Size, corpus: Corpus, tied: bool) -> Recipe:
    net = replace(two_way(size, corpus, tied), condition=128)
    return Recipe(DuoSpec(vocab=corpus.vocab, canvas=corpus.canvas, ending=Ending.LENGTH, net=net), training(size))


recipe = by_size(tiny, small, base)
