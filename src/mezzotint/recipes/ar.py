"""ar at three sizes: the shapes of the other systems, so that a comparison compares methods."""

from __future__ import annotations

from dataclasses import replace

from mezzotint.spec.ar import ARSpec
from mezzotint.spec.base import Size
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training
from mezzotint.spec.transformer import NEIGHBOURS, SHAPES, TransformerSpec
from mezzotint.types import Ending, Layout


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes.

    Expected on e2e after half an hour of one core: 1.89 nats a token on its test split, at the best of its validations.
    """
    return _recipe(Size.TINY, corpus, tied=True)


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus, tied=False)


def base(corpus: Corpus) -> Recipe:
    """GPT-2 small's shape, for several GPUs and days; not yet measured."""
    return _recipe(Size.BASE, corpus, tied=False)


def _recipe(size: Size, corpus: Corpus, tied: bool) -> Recipe:
    shape = SHAPES[size]
    ending = Ending.LENGTH if corpus.layout is Layout.WINDOWS else Ending.SYMBOL
    net = TransformerSpec(
        dim=shape.dim, depth=shape.depth, heads=shape.heads, tied=tied, causal=True, neighbours=NEIGHBOURS
    )
    spec = ARSpec(vocab=corpus.vocab, canvas=corpus.canvas, ending=ending, net=net)
    # On a small file it has learned the training texts by heart long before the others begin to.
    return Recipe(spec, replace(training(size), average_best=1))


recipe = by_size(tiny, small, base)
