"""What a person wants of a text, as constraints on the tokens of a run."""

from __future__ import annotations

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import unknown
from mezzotint.guidance.constraint import Constraint, Length, Unended
from mezzotint.guidance.phrases import Absent, Contains
from mezzotint.spec.wanted import Wanted, spellings
from mezzotint.types import Ending

Phrases = tuple[tuple[int, ...], ...]


def constraints_of(wanted: Wanted, tokenizer: Tokenizer, ending: Ending) -> list[Constraint]:
    """A constraint for everything wanted; UsageError for a word that the run has never learned to write."""
    parts: list[Constraint] = []
    if ending is Ending.FILL:
        parts.append(Unended(end=tokenizer.end, pad=tokenizer.pad))
    if wanted.length is not None:
        end, pad = (tokenizer.end, tokenizer.pad) if ending is Ending.FILL else (None, None)
        parts.append(Length(tokens=wanted.length, end=end, pad=pad))
    for phrase in wanted.has:
        phrases = _phrases(phrase, tokenizer)
        if not phrases:
            raise unknown("word", phrase, {word.strip() for word in tokenizer.surfaces(range(tokenizer.size))})
        parts.append(Contains(phrases=phrases, name=f"'{phrase}'"))
    for phrase in wanted.without:
        # What the run cannot write at all stands nowhere.
        if phrases := _phrases(phrase, tokenizer):
            parts.append(Absent(phrases=phrases, name=f"'{phrase}'"))
    return parts


def least_tokens(parts: list[Constraint]) -> int:
    """How many tokens have to be there for all that is to be contained, each for itself."""
    return sum(min(map(len, part.phrases)) for part in parts if isinstance(part, Contains))


def _phrases(phrase: str, tokenizer: Tokenizer) -> Phrases:
    """Every run of ids that spells a phrase, with the space before it or without; those with unknown words left out."""
    ways = (tokenizer.encode(spelling, space) for spelling in spellings(phrase) for space in (True, False))
    return tuple(dict.fromkeys(tuple(ids) for ids in ways if tokenizer.unk not in ids))
