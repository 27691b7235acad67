"""What a person wants of a text, in words: how long it is, what stands in it and what does not."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mezzotint.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Everything that is to hold of a text at once; UsageError where it contradicts itself."""

    length: int | None = None
    """Exactly so many tokens: words and punctuation marks, or pieces of words where a run writes those."""
    has: tuple[str, ...] = ()
    """Words, or phrases, that stand somewhere in it."""
    without: tuple[str, ...] = ()
    """Words, or phrases, that stand nowhere in it."""

    def __post_init__(self) -> None:
        if self.length is not None and (type(self.length) is not int or self.length < 1):
            raise UsageError(f"a text has at least 1 token; a length of {self.length} is none")
        for phrase in (*self.has, *self.without):
            if not isinstance(phrase, str) or not phrase.strip():
                raise UsageError(f"what a text is to have, or not, must be words, not {phrase!r}")
        for phrase in self.has:
            barred = [other for other in self.without if occurs(other, phrase)]
            if barred:
                raise UsageError(f"a text cannot have '{phrase}' without '{barred[0]}'; drop one of the two")

    @property
    def is_anything(self) -> bool:
        """Whether something is wanted at all."""
        return self != Wanted()

    def unmet_in(self, text: str, tokens: int) -> list[str]:
        """What of this does not hold of a finished text of so many tokens, as it was asked for."""
        wrong = [f"{self.length} tokens long"] if self.length not in (None, tokens) else []
        wrong += [f"with '{phrase}'" for phrase in self.has if not occurs(phrase, text)]
        return wrong + [f"without '{phrase}'" for phrase in self.without if occurs(phrase, text)]


def spellings(phrase: str) -> tuple[str, ...]:
    """A phrase as it is typed and as it stands at the beginning of a sentence."""
    phrase = " ".join(phrase.split())
    return tuple(dict.fromkeys((phrase, phrase[0].upper() + phrase[1:])))


def occurs(phrase: str, text: str) -> bool:
    """Whether a phrase stands in a text as whole words.

    >>> occurs("rain", "Rain fell."), occurs("rain", "a rainbow")
    (True, False)
    """
    either = "|".join(re.escape(spelling) for spelling in spellings(phrase))
    return re.search(rf"(?<!\w)(?:{either})(?!\w)", text) is not None
