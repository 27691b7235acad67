"""cmlm at three sizes."""

from __future__ import annotations

from mezzotint.spec.base import Size
from mezzotint.spec.cmlm import CMLMSpec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training
from mezzotint.spec.transformer import NEIGHBOURS, SHAPES, Positions
from mezzotint.types import Ending


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes. The shape is that of ar-seq2seq.

    Expected after four minutes of one core on bistro's fields: 28 BLEU in ten steps, where ar-seq2seq has 29.
    """
    return _recipe(Size.TINY, corpus, dropout=0.0)


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus, dropout=0.1)


def base(corpus: Corpus) -> Recipe:
    """For several GPUs; not yet measured."""
    return _recipe(Size.BASE, corpus, dropout=0.1)


def _recipe(size: Size, corpus: Corpus, dropout: float) -> Recipe:
    shape = SHAPES[size]
    net = EncoderDecoderSpec(
        dim=shape.dim, depth=shape.depth, heads=shape.heads, hidden=(2 if size is Size.TINY else 4) * shape.dim,
        positions=Positions.EDGES, neighbours=NEIGHBOURS, dropout=dropout,
    )  # fmt: skip
    spec = CMLMSpec(
        vocab=corpus.vocab, canvas=corpus.canvas, source_canvas=corpus.canvas, ending=Ending.LENGTH, net=net
    )
    return Recipe(spec, training(size))


recipe = by_size(tiny, small, base)
