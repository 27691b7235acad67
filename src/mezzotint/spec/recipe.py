"""A recipe: a system's spec and its training, for a corpus of a given vocabulary and canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mezzotint.errors import unknown
from mezzotint.spec.base import Size
from mezzotint.spec.training import TrainingSpec
from mezzotint.spec.transformer import NEIGHBOURS, SHAPES, Positions, TransformerSpec
from mezzotint.types import Layout, SystemSpec

FROM_TOKENIZER = ("vocab", "end", "pad")
"""Fields of a spec that follow from the tokenizer: a spec declares those that its system needs."""


@dataclass(frozen=True)
class Corpus:
    """What a recipe has to know of the data."""

    vocab: int
    canvas: int
    layout: Layout


@dataclass(frozen=True)
class Recipe:
    """What to build and how to train it."""

    spec: SystemSpec
    training: TrainingSpec

    def with_settings(self, settings: Mapping[str, str]) -> Recipe:
        """A copy with fields of either set from text, as in `--set dim=256 --set lr=1e-3`.

        A name that both have is the system's: `beta1` of sed is that of its noise, and leaves Adam's as it is.
        """
        of_spec, of_training = divided(settings, self.spec.settings(), self.training.settings())
        return Recipe(self.spec.with_settings(of_spec), self.training.with_settings(of_training))


def divided(
    settings: Mapping[str, str], of_spec: Sequence[str], of_training: Sequence[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The settings of a spec and those of its training; UsageError for a name that neither has."""
    ours = [name for name in of_spec if name not in FROM_TOKENIZER]
    theirs = [name for name in of_training if name not in ours]
    for name in settings:
        if name not in (*ours, *theirs):
            raise unknown("setting", name, (*ours, *theirs))
    return {k: v for k, v in settings.items() if k in ours}, {k: v for k, v in settings.items() if k in theirs}


Sized = Callable[[Corpus], Recipe]
Make = Callable[[Size, Corpus], Recipe]


def by_size(tiny: Sized, small: Sized, base: Sized) -> Make:
    """A system's three recipes as one function of the size."""
    made = {Size.TINY: tiny, Size.SMALL: small, Size.BASE: base}
    return lambda size, corpus: made[size](corpus)


def training(size: Size, ema: float = 0.999) -> TrainingSpec:
    """The training of a size. The learning rate falls with the width: 2e-3 at 128 (measured; 1e-3 and 4e-3 learn
    slower there, docs/log.md), so 3.3e-4 at 768, where MDLM has 3e-4."""
    shape = SHAPES[size]
    return TrainingSpec(batch=shape.batch, lr=2e-3 * 128 / shape.dim, ema=ema)


def two_way(size: Size, corpus: Corpus, tied: bool = True) -> TransformerSpec:
    """The transformer of a size for systems that look both ways."""
    shape = SHAPES[size]
    # In a window any place is as good as another; in a text both its edges matter.
    positions = Positions.NONE if corpus.layout is Layout.WINDOWS else Positions.EDGES
    return TransformerSpec(
        dim=shape.dim, depth=shape.depth, heads=shape.heads, tied=tied, positions=positions, neighbours=NEIGHBOURS
    )
