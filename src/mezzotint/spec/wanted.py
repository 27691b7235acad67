"""What a person wants of a text, in words: how long it is, what stands in it and what does not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mezzotint.errors import UsageError

Span = tuple[int, int, str]
"""First word, word after the last, label; words are counted from 0."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Everything that is to hold of a text at once; UsageError where it contradicts itself."""

    length: int | None = None
    """Exactly so many tokens: words and punctuation marks, or pieces of words where a run writes those."""
    has: tuple[str, ...] = ()
    """Words, or phrases, that stand somewhere in it."""
    without: tuple[str, ...] = ()
    """Words, or phrases, that stand nowhere in it."""
    says: tuple[tuple[str, str], ...] = ()
    """Fields and their values, as the run's classifiers learned to tell them; as all that follows."""
    pos: tuple[str, ...] = ()
    """The part of speech of every word, one after another."""
    spans: tuple[Span, ...] = ()
    """Phrases in it."""
    tree: tuple[int, tuple[Span, ...]] | None = None
    """How many words it has, and all phrases in it."""

    def __post_init__(self) -> None:
        if self.length is not None and (type(self.length) is not int or self.length < 1):
            raise UsageError(f"a text has at least 1 token; a length of {self.length} is none")
        self._take_lists()
        for phrase in (*self.has, *self.without):
            if not isinstance(phrase, str) or not phrase.strip():
                raise UsageError(f"what a text is to have, or not, must be words, not {phrase!r}")
        for phrase in self.has:
            barred = [other for other in self.without if occurs(other, phrase)]
            if barred:
                raise UsageError(f"a text cannot have '{phrase}' without '{barred[0]}'; drop one of the two")

        self._refuse_contradictions()

    def _take_lists(self) -> None:
        """Lists become tuples, and a mapping its pairs, so that what is wanted can be compared and counted."""
        for name in ("has", "without", "pos", "says", "spans"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise UsageError(f"{name} is a list, not one string; as in {name}=[{value!r}]")
            pairs = value.items() if isinstance(value, Mapping) else value
            items = tuple(tuple(one) if isinstance(one, list) else one for one in pairs)
            size = {"says": 2, "spans": 3}.get(name)
            if size is not None and not all(isinstance(one, tuple) and len(one) == size for one in items):
                what = (
                    "pairs of a field and its value" if name == "says" else "(first word, word after the last, label)"
                )
                raise UsageError(f"{name} is a list of {what}, not {value!r}")
            object.__setattr__(self, name, items)
        if self.tree is not None and not _is_tree(self.tree):
            raise UsageError("a tree is (words, phrases), as `mezzotint.read_tree(text)` has them")
        if not all(isinstance(tag, str) for tag in self.pos):
            raise UsageError(f"pos is a list of parts of speech, not {self.pos!r}")
        if not all(isinstance(name, str) and isinstance(value, str) for name, value in self.says):
            raise UsageError(f"says is a list of pairs of a field and its value, both strings, not {self.says!r}")
        if not all(_is_span(span) for span in self.spans):
            raise UsageError(f"spans are (first word, word after the last, label), not {self.spans!r}")

    def _refuse_contradictions(self) -> None:
        told: dict[str, str] = {}
        for name, value in self.says:
            if told.setdefault(name, value) != value:
                raise UsageError(f"a text cannot say both {name}={told[name]} and {name}={value}; drop one of the two")
        lengths = {n for n in (self.length, len(self.pos) or None, self.tree[0] if self.tree else None) if n}
        if len(lengths) > 1:
            raise UsageError(f"a text cannot be {' and '.join(map(str, sorted(lengths)))} tokens long at once")
        phrases = (*self.spans, *(self.tree[1] if self.tree else ()))
        for first, last, label in phrases:
            if not 0 <= first < last or last > (self.tokens or last):
                raise UsageError(f"there is no {first}:{last}={label} in a text of {self.tokens or 'any'} words")
        for one in phrases:
            for other in phrases:
                if one[0] < other[0] < one[1] < other[1] or other[0] < one[0] < other[1] < one[1]:
                    raise UsageError(f"{one[0]}:{one[1]} and {other[0]}:{other[1]} cross; no tree has both")
        for one in self.spans:
            if self.tree is not None and one not in self.tree[1]:
                raise UsageError(f"the tree has no {one[2]} at {one[0]}:{one[1]}; drop one of the two")

    @property
    def tokens(self) -> int | None:
        """How long a text is to be, whatever says so."""
        return self.length or len(self.pos) or (self.tree[0] if self.tree else None)

    @property
    def of_words(self) -> bool:
        """Whether words are counted one by one, so that a token has to be a word."""
        return bool(self.pos or self.spans or self.tree)

    @property
    def is_read(self) -> bool:
        """Whether it takes classifiers to tell."""
        return bool(self.says) or self.of_words

    @property
    def is_anything(self) -> bool:
        """Whether something is wanted at all."""
        return self != Wanted()

    def unmet_in(self, text: str, tokens: int) -> list[str]:
        """What of this does not hold of a finished text of so many tokens, as it was asked for."""
        wrong = [f"{self.tokens} tokens long"] if self.tokens not in (None, tokens) else []
        wrong += [f"with '{phrase}'" for phrase in self.has if not occurs(phrase, text)]
        return wrong + [f"without '{phrase}'" for phrase in self.without if occurs(phrase, text)]


def _is_span(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 3:
        return False
    return type(value[0]) is int and type(value[1]) is int and isinstance(value[2], str)


def _is_tree(value: object) -> bool:
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    words, phrases = value
    return type(words) is int and words > 0 and isinstance(phrases, tuple) and all(map(_is_span, phrases))


def spellings(phrase: str) -> tuple[str, ...]:
    """A phrase as it is typed and as it stands at the beginning of a sentence."""
    phrase = " ".join(phrase.split())
    return tuple(dict.fromkeys((phrase, phrase[0].upper() + phrase[1:])))


def occurs(phrase: str, text: str) -> bool:
    """Whether a phrase stands in a text as whole words; punctuation at its ends may stand next to a word.

    >>> occurs("rain", "Rain fell."), occurs("rain", "a rainbow"), occurs(".", "Rain fell.")
    (True, False, True)
    """
    either = "|".join(_bounded(spelling) for spelling in spellings(phrase))
    return re.search(either, text) is not None


def _bounded(spelling: str) -> str:
    """A pattern for a spelling that neither begins nor ends inside a word."""
    before = r"(?<!\w)" if re.match(r"\w", spelling) else ""
    after = r"(?!\w)" if re.search(r"\w$", spelling) else ""
    return f"{before}{re.escape(spelling)}{after}"
