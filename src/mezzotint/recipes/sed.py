"""sed at three sizes."""

from __future__ import annotations

from mezzotint.spec.base import Size
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training
from mezzotint.spec.sed import SEDSpec
from mezzotint.spec.transformer import NEIGHBOURS, SHAPES, Positions, TransformerSpec
from mezzotint.types import Ending, Layout


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes."""
    return _recipe(Size.TINY, corpus)


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus)


def base(corpus: Corpus) -> Recipe:
    """For several GPUs and days; not yet measured."""
    return _recipe(Size.BASE, corpus)


def _recipe(size: Size, corpus: Corpus) -> Recipe:
    shape = SHAPES[size]
    positions = Positions.NONE if corpus.layout is Layout.WINDOWS else Positions.EDGES
    net = TransformerSpec(
        dim=shape.dim, depth=shape.depth, heads=shape.heads, positions=positions, neighbours=NEIGHBOURS
    )
    spec = SEDSpec(vocab=corpus.vocab, canvas=corpus.canvas, ending=Ending.LENGTH, net=net)
    return Recipe(spec, training(size))


recipe = by_size(tiny, small, base)
