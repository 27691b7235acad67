"""difformer at three sizes."""

from __future__ import annotations

from dataclasses import replace

from mezzotint.spec.base import Size
from mezzotint.spec.difformer import DifformerSpec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training
from mezzotint.spec.transformer import NEIGHBOURS, SHAPES, Positions
from mezzotint.types import Ending


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes.

    Small batches, for more steps: 16 rows and 1,296 steps of four minutes have 3.4 BLEU more than 64 rows and 429 steps
    (bistro's fields into its texts; docs/log.md).
    """
    return _recipe(Size.TINY, corpus, width=64, dropout=0.0, batch=16)


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus, width=128, dropout=0.1)


def base(corpus: Corpus) -> Recipe:
    """The paper's width for its larger sets, for several GPUs; not yet measured."""
    return _recipe(Size.BASE, corpus, width=128, dropout=0.1)


def _recipe(size: Size, corpus: Corpus, width: int, dropout: float, batch: int | None = None) -> Recipe:
    shape, usual = SHAPES[size], training(size)
    net = EncoderDecoderSpec(
        dim=shape.dim, depth=shape.depth, heads=shape.heads, hidden=4 * shape.dim, positions=Positions.EDGES,
        neighbours=NEIGHBOURS, dropout=dropout,
    )  # fmt: skip
    spec = DifformerSpec(
        vocab=corpus.vocab,
        canvas=corpus.canvas,
        source_canvas=corpus.canvas,
        ending=Ending.LENGTH,
        net=net,
        width=width,
    )
    return Recipe(spec, usual if batch is None else replace(usual, batch=batch))


recipe = by_size(tiny, small, base)
