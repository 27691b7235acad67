"""What a text can be wanted to be like, over HTTP: the library's `Wanted`, field by field."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

import mezzotint
from mezzotint import Steering, Wanted
from mezzotint.serve.body import Number, RequestBody, Whole

PHRASES = 16
"""The most words or phrases of one kind."""
PLACE = 4_096
"""The last place that a word can have."""

Phrase = Annotated[str, Field(min_length=1, max_length=200)]
Place = Annotated[Whole, Field(ge=0, le=PLACE)]


class SpanRequest(RequestBody):
    """A phrase over some words of a text, counted from 0."""

    first: Place
    last: Annotated[Place, Field(description="the word after the last")]
    label: Annotated[str, Field(min_length=1, max_length=50, description="as in NP")]


class WantedRequest(RequestBody):
    """Everything that is to hold of every text at once; a text says of what does not hold that it is `unmet`."""

    length: Annotated[
        Annotated[Whole, Field(ge=1, le=PLACE)] | None,
        Field(description="exactly so many tokens: words and punctuation marks, or pieces, as the model's `unit` says"),
    ] = None
    has: Annotated[tuple[Phrase, ...], Field(max_length=PHRASES, description="what stands somewhere in it")] = ()
    without: Annotated[tuple[Phrase, ...], Field(max_length=PHRASES, description="what stands nowhere in it")] = ()
    says: Annotated[
        dict[str, Phrase] | None,
        Field(max_length=PHRASES, description="fields and values that the model's classifiers tell: its `says`"),
    ] = None
    pos: Annotated[
        tuple[Phrase, ...],
        Field(max_length=PLACE, description="the part of speech of every word, as in DET NOUN VERB PUNCT"),
    ] = ()
    spans: Annotated[tuple[SpanRequest, ...], Field(max_length=4 * PHRASES, description="phrases in it")] = ()
    tree: Annotated[
        str | None, Field(description="all its phrases, any word for each word, as in (S (NP * *) (VP *) *)")
    ] = None
    strength: Annotated[
        Number,
        Field(ge=0, le=100, allow_inf_nan=False, description="how strongly classifiers are followed; 1: Bayes' rule"),
    ] = Steering().strength

    def steering(self) -> Steering:
        """How texts are moved there."""
        return Steering(strength=self.strength)

    def wanted(self) -> Wanted:
        """The same for the library; UsageError where it contradicts itself."""
        tree = None if self.tree is None else mezzotint.read_tree(self.tree)
        return Wanted(
            length=self.length, has=self.has, without=self.without, says=tuple((self.says or {}).items()),
            pos=self.pos, spans=tuple((one.first, one.last, one.label) for one in self.spans),
            tree=None if tree is None else (tree.words, tree.spans),
        )  # fmt: skip
