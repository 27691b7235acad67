"""didi-instruct at three sizes, which are those of its teachers: only the training is of its own."""

from __future__ import annotations

from dataclasses import replace

from mezzotint.recipes.mdlm import recipe as teacher_recipe
from mezzotint.spec.base import Size
from mezzotint.spec.didi_instruct import DiDiSpec
from mezzotint.spec.mdlm import MDLMSpec
from mezzotint.spec.recipe import Corpus, Recipe, by_size
from mezzotint.spec.transformer import SHAPES

PAPER_LR = 1e-6
"""The paper's learning rate, at the width of 768."""


def tiny(corpus: Corpus) -> Recipe:
    """For a laptop's processor, minutes.

    A run of minutes has several hundred steps: the critic takes a tenth of them alone, and the rate is far above the
    paper's. Expected on e2e after five minutes (some 950 steps): 0.26 to 0.30 nats a token off the judge NLL at 4 to 16
    steps, at 0.5 % less word entropy and 11 to 16 % fewer distinct pairs. At three times the rate a student gains as
    much in 300 steps, and in as many as these it unlearns what it had (docs/log.md).
    """
    return _recipe(Size.TINY, corpus, batch=16, lr=3e-5, critic_alone=0.1, minutes=5)


def small(corpus: Corpus) -> Recipe:
    """For one GPU; not yet measured."""
    return _recipe(Size.SMALL, corpus, batch=32, lr=1e-5)


def base(corpus: Corpus) -> Recipe:
    """The published size and its learning rate; not yet measured."""
    return _recipe(Size.BASE, corpus, batch=128, lr=PAPER_LR)


def _recipe(
    size: Size, corpus: Corpus, batch: int, lr: float, critic_alone: float = 0.02, minutes: float = 10
) -> Recipe:
    teacher = teacher_recipe(size, corpus)
    assert isinstance(teacher.spec, MDLMSpec)
    spec = DiDiSpec(
        vocab=corpus.vocab, canvas=corpus.canvas, ending=teacher.spec.ending, net=teacher.spec.net,
        critic_blocks=max(2, SHAPES[size].depth // 3), critic_alone=critic_alone,
    )  # fmt: skip
    # Departure: both players' gradients are clipped at the student's 0.5, where the critic has 1 in the public code.
    training = replace(
        teacher.training, batch=batch, lr=lr, beta2=0.999, clip=0.5, ema=0.999, warmup=0.1, minutes=minutes
    )
    return Recipe(spec, training)


recipe = by_size(tiny, small, base)
