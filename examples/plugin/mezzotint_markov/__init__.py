"""A Markov chain over tokens as a system of Mezzotint: its card, its settings and its sizes."""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint import Entry, UsageError
from mezzotint.spec import Spec
from mezzotint.spec.base import Size
from mezzotint.spec.recipe import Corpus, Recipe, training
from mezzotint.types import Can, Card, Ending

ENTRY = Entry(
    "mezzotint_markov:CARD",
    "mezzotint_markov:MarkovSpec",
    "mezzotint_markov.chain:Markov",
    "mezzotint_markov:recipe",
)

CARD = Card(
    name="markov",
    title="Markov chain over tokens",
    paper="Shannon 1948, A Mathematical Theory of Communication, §3",
    can=frozenset({Can.CONTINUE, Can.INFILL}),
    exact=True,
)


@dataclass(frozen=True, kw_only=True)
class MarkovSpec(Spec):
    """A chain over `vocab` ids, for texts of up to `canvas` tokens."""

    vocab: int
    canvas: int
    ending: Ending
    width: int = 64
    """Of the vectors whose products are the log-odds of transitions."""

    def validate(self) -> None:
        if self.width < 1:
            raise UsageError(f"width must be at least 1, not {self.width}")
        if self.ending is not Ending.LENGTH:
            raise UsageError("markov draws how long its texts are; it takes ending 'length' only")


def recipe(size: Size, corpus: Corpus) -> Recipe:
    """For seconds of a laptop at any size; the chain grows with the vocabulary alone."""
    return Recipe(MarkovSpec(vocab=corpus.vocab, canvas=corpus.canvas, ending=Ending.LENGTH), training(size))
