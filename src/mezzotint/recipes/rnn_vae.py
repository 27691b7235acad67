"""rnn-vae at three sizes: tokens' vectors as wide as in the other systems, states twice that.

At small that is the shape of He et al. 2019, arXiv:1901.05534: 512, 1,024 and a latent of 32.
"""

from __future__ import annotations

from dataclasses import replace

from mezzotint.spec.base import Size
from mezzotint.spec.elbo import WEIGHED
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training
from mezzotint.spec.rnn_vae import RecurrentSpec, RNNVAESpec
from mezzotint.spec.transformer import SHAPES
from mezzotint.types import Ending

LR_FACTOR = 2.5
"""Times the learning rate of the transformers, which is too low here (docs/decisions/0023)."""


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes; not yet measured."""
    return _recipe(Size.TINY, corpus)


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus)


def base(corpus: Corpus) -> Recipe:
    """For one GPU; not yet measured."""
    return _recipe(Size.BASE, corpus)


def _recipe(size: Size, corpus: Corpus) -> Recipe:
    dim = SHAPES[size].dim
    net = RecurrentSpec(dim=dim, hidden=2 * dim)
    spec = RNNVAESpec(vocab=corpus.vocab, canvas=corpus.canvas, ending=Ending.SYMBOL, net=net, **WEIGHED)
    default = training(size)
    return Recipe(spec, replace(default, lr=LR_FACTOR * default.lr))


recipe = by_size(tiny, small, base)
