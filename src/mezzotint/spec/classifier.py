"""What a run's classifiers of noisy texts are made of, and what they tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mezzotint.errors import RunError
from mezzotint.spec.base import Spec
from mezzotint.spec.transformer import TransformerSpec


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec(Spec):
    """A transformer over states of `width` numbers a position."""

    width: int
    canvas: int
    vocab: int
    """Rows of a table through which odds of tokens become such states; 0 where states are vectors themselves."""
    net: TransformerSpec
    pair: int = 64
    """Numbers of a pair of words, from which its phrase is told."""
    words: int = 0
    """Tokens that have a say of their own in what a text says; 0 for none, as before there were such."""
    say: int = 128
    """Numbers of that."""
    prefixes: bool = False
    """Whether it reads texts that are only begun, and tells where they will end."""


@dataclass(frozen=True)
class Labels:
    """What is told apart. The first of each is "": not said, or no phrase."""

    fields: Mapping[str, tuple[str, ...]]
    tags: tuple[str, ...]
    phrases: tuple[str, ...]
    """Labels of phrases; those of the same words are joined by +, outer first."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Labels:
        """What `to_json` gave; RunError if it is anything else."""
        try:
            fields = {str(k): tuple(map(str, v)) for k, v in values["fields"].items()}
            return cls(fields, tuple(map(str, values["tags"])), tuple(map(str, values["phrases"])))
        except (KeyError, TypeError, AttributeError):
            raise RunError("what the classifiers of this run tell apart is damaged; train them again") from None
