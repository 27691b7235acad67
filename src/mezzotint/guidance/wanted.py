"""A `Wanted` as constraints on the tokens of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mezzotint.data.template import Gap
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import unknown
from mezzotint.guidance.classifier import Classifiers
from mezzotint.guidance.constraint import Constraint, Length, Unended
from mezzotint.guidance.phrases import Absent, Contains
from mezzotint.spec.wanted import Wanted, spellings
from mezzotint.types import Ending

Phrases = tuple[tuple[int, ...], ...]


def constraints_of(
    wanted: Wanted, tokenizer: Tokenizer, ending: Ending, classifiers: Callable[[], Classifiers], foreseen: bool = False
) -> list[Constraint]:
    """A constraint for everything wanted; UsageError for a word that the run has never learned to write.

    `classifiers` gives those of the run, and is called where they are needed: for a length too, where a text ends by a
    token and that is to be `foreseen`.
    """
    constraints: list[Constraint] = []
    if ending is Ending.FILL:
        constraints.append(Unended(end=tokenizer.end, pad=tokenizer.pad))
    if wanted.tokens is not None:
        end = None if ending is Ending.LENGTH else tokenizer.end
        pad = tokenizer.pad if ending is Ending.FILL else None
        ends = classifiers().ends if foreseen else None
        constraints.append(Length(tokens=wanted.tokens, end=end, pad=pad, ends=ends))
    for phrase in wanted.has:
        phrases = _token_phrases(phrase, tokenizer)
        if not phrases:
            plain = (i for i in range(tokenizer.size) if i not in tokenizer.special)
            raise unknown("word", phrase, {word.strip() for word in tokenizer.surfaces(plain)})
        constraints.append(Contains(phrases=phrases, name=f"'{phrase}'"))
    for phrase in wanted.without:
        # What the run cannot write at all stands nowhere.
        if phrases := _token_phrases(phrase, tokenizer):
            constraints.append(Absent(phrases=phrases, name=f"'{phrase}'"))
    return constraints + (_classifier_constraints(wanted, classifiers()) if wanted.is_read else [])


def _classifier_constraints(wanted: Wanted, classifiers: Classifiers) -> list[Constraint]:
    """Those that classifiers judge."""
    constraints: list[Constraint] = [classifiers.says(name, value) for name, value in wanted.says]
    if wanted.pos:
        constraints.append(classifiers.parts_of_speech(wanted.pos))
    constraints += [classifiers.span(span) for span in wanted.spans]
    return constraints if wanted.tree is None else [*constraints, classifiers.tree(*wanted.tree)]


def least_tokens(wanted: Wanted, constraints: list[Constraint], prefix: int = 0) -> int:
    """The tokens that a text with a prefix of so many needs: behind it one, and all that it must contain, none shared;
    and for the wanted spans, which count from its beginning."""
    contained = sum(min(map(len, part.phrases)) for part in constraints if isinstance(part, Contains))
    return max([prefix + max(1, contained), *(last for _, last, _ in wanted.spans)])


def roomy_gaps(gaps: Sequence[Gap], needed: int) -> list[Gap]:
    """The gaps with room for so many tokens: the widest are drawn no shorter than it takes to hold them.

    A phrase stands in one gap, so what others have room for does not count.
    """
    lows = [gap.low for gap in gaps]
    for i in sorted(range(len(gaps)), key=lambda i: -gaps[i].high):
        lows[i] = min(gaps[i].high, max(lows[i], needed))
        needed -= lows[i]
    return [replace(gap, low=low) for gap, low in zip(gaps, lows, strict=True)]


def _token_phrases(phrase: str, tokenizer: Tokenizer) -> Phrases:
    """Every run of ids that spells a phrase, with a space before it or without; none with unknown tokens."""
    spelled_ids = (tokenizer.encode(spelling, space) for spelling in spellings(phrase) for space in (True, False))
    return tuple(dict.fromkeys(tuple(ids) for ids in spelled_ids if tokenizer.unk not in ids))
