"""What a person wants of a text, as constraints on the tokens of a run."""

from __future__ import annotations

from collections.abc import Callable

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import unknown
from mezzotint.guidance.classifier import Classifiers
from mezzotint.guidance.constraint import Constraint, Length, Unended
from mezzotint.guidance.phrases import Absent, Contains
from mezzotint.spec.wanted import Wanted, spellings
from mezzotint.types import Ending

Phrases = tuple[tuple[int, ...], ...]


def constraints_of(
    wanted: Wanted, tokenizer: Tokenizer, ending: Ending, read: Callable[[], Classifiers], foreseen: bool = False
) -> list[Constraint]:
    """A constraint for everything wanted; UsageError for a word that the run has never learned to write.

    `read` gives the run's classifiers, and is called where they are needed: for a length too, where a text ends by a
    token and that is to be `foreseen`.
    """
    parts: list[Constraint] = []
    if ending is Ending.FILL:
        parts.append(Unended(end=tokenizer.end, pad=tokenizer.pad))
    if wanted.tokens is not None:
        end = None if ending is Ending.LENGTH else tokenizer.end
        pad = tokenizer.pad if ending is Ending.FILL else None
        ends = read().ends if foreseen else None
        parts.append(Length(tokens=wanted.tokens, end=end, pad=pad, ends=ends))
    for phrase in wanted.has:
        phrases = _phrases(phrase, tokenizer)
        if not phrases:
            plain = (i for i in range(tokenizer.size) if i not in tokenizer.special)
            raise unknown("word", phrase, {word.strip() for word in tokenizer.surfaces(plain)})
        parts.append(Contains(phrases=phrases, name=f"'{phrase}'"))
    for phrase in wanted.without:
        # What the run cannot write at all stands nowhere.
        if phrases := _phrases(phrase, tokenizer):
            parts.append(Absent(phrases=phrases, name=f"'{phrase}'"))
    return parts + (_read(wanted, read()) if wanted.is_read else [])


def _read(wanted: Wanted, reader: Classifiers) -> list[Constraint]:
    """What classifiers are asked for."""
    parts: list[Constraint] = [reader.says(name, value) for name, value in wanted.says]
    if wanted.pos:
        parts.append(reader.parts_of_speech(wanted.pos))
    parts += [reader.span(span) for span in wanted.spans]
    return parts if wanted.tree is None else [*parts, reader.tree(*wanted.tree)]


def least_tokens(wanted: Wanted, parts: list[Constraint]) -> int:
    """How many tokens have to be there for all that is to be contained, each for itself, and for the phrases."""
    contained = sum(min(map(len, part.phrases)) for part in parts if isinstance(part, Contains))
    return max([contained, *(last for _, last, _ in wanted.spans)])


def _phrases(phrase: str, tokenizer: Tokenizer) -> Phrases:
    """Every run of ids that spells a phrase, with the space before it or without; those with unknown words left out."""
    ways = (tokenizer.encode(spelling, space) for spelling in spellings(phrase) for space in (True, False))
    return tuple(dict.fromkeys(tuple(ids) for ids in ways if tokenizer.unk not in ids))
