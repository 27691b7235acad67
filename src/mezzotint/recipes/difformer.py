"""difformer at three sizes."""

from __future__ import annotations

from mezzotint.spec.base import Size
from mezzotint.spec.difformer import DifformerSpec
from mezzotint.spec.encoder_decoder import EncoderDecoderSpec
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training
from mezzotint.spec.transformer import NEIGHBOURS, SHAPES, Positions
from mezzotint.types import Ending


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes.

    Small batches, for more steps, and noise that is twice as loud as the data, not four times: in four minutes of one
    core each is worth some 3 BLEU on bistro's fields into its texts (docs/log.md). Expected on Multi30k, German to
    English, with a dropout of 0.3 after 12 minutes (6,900 steps): 25.7 BLEU, 27.2 of 7x3 candidates by MBR.
    """
    return _recipe(Size.TINY, corpus, width=64, dropout=0.0).with_settings({"batch": "16", "factor": "2"})


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus, width=128, dropout=0.1)


def base(corpus: Corpus) -> Recipe:
    """The paper's width for its larger sets, for several GPUs; not yet measured."""
    return _recipe(Size.BASE, corpus, width=128, dropout=0.1)


def _recipe(size: Size, corpus: Corpus, width: int, dropout: float) -> Recipe:
    shape = SHAPES[size]
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
    return Recipe(spec, training(size))


recipe = by_size(tiny, small, base)
