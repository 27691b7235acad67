"""sed at three sizes.

What differs from the paper was chosen on the valid split of the bundled corpus, one change at a time (docs/log.md);
FAITHFUL undoes it. What it leaves to be asked for: `neighbours=0`, the paper's padding (`ending=fill`, `padding=0.1`),
and its vectors (`mezzotint train-embeddings`, then `--embeddings`).
"""

from __future__ import annotations

from mezzotint.spec.base import Size
from mezzotint.spec.recipe import Corpus, Recipe, by_size, training, two_way
from mezzotint.spec.sed import SEDSpec, SelfCondition, Times
from mezzotint.types import Ending

FAITHFUL = {
    "speaks": "vector", "evidence": "false", "noise_factor": "1", "singly": "0", "times": "uniform",
    "self_condition": "both",
}  # fmt: skip
"""Settings (`--set`) that make a run as the paper has it."""


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes.

    Expected on bistro after ten minutes of one thread (batch 32), a minute and a half of them spent on a pretrained
    table: at most 2.05 nats a token on its valid split.
    """
    return _recipe(Size.TINY, corpus)


def small(corpus: Corpus) -> Recipe:
    """For one GPU, an hour; not yet measured."""
    return _recipe(Size.SMALL, corpus)


def base(corpus: Corpus) -> Recipe:
    """For several GPUs and days; not yet measured."""
    return _recipe(Size.BASE, corpus)


def _recipe(size: Size, corpus: Corpus) -> Recipe:
    spec = SEDSpec(
        vocab=corpus.vocab, canvas=corpus.canvas, ending=Ending.LENGTH, net=two_way(size, corpus),
        noise_factor=3.0, singly=0.5, self_condition=SelfCondition.COIN, times=Times.WARPED,
    )  # fmt: skip
    return Recipe(spec, training(size))


recipe = by_size(tiny, small, base)
