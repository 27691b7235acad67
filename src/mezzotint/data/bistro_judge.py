"""The exact judge of the bundled corpus: does the grammar derive this text, and which fields does it say?

A top-down parser over the very rules that `bistro` writes with. Results are kept for every (symbol, place), and a rule
is tried only where the word there can begin it, so the time is close to linear in practice. The grammar has no
recursion and no empty rule, so the search always ends.

The search does not look at capitals, "a" or "an", "and" or "but", spaces, or whether a field is said twice. A
derivation found is analysed as when writing, and the text is accepted only if it comes out letter for letter.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache

from mezzotint.data.bistro import Analysis, Derivation, Example, Fields, Ref, Rule, Word, analyse, rules


@dataclass(frozen=True)
class Verdict:
    """What the judge says of a text."""

    accepted: bool
    analysis: Example | None = None
    """The grammar's own analysis of an accepted text: fields, tags, tree, spans, sentiment."""
    reason: str = ""
    """Why a text is not accepted, in a phrase that names the first word at fault; words are counted from 1."""

    @property
    def fields(self) -> Fields | None:
        """Exactly what an accepted text says."""
        return self.analysis.fields if self.analysis else None


def judge(text: str) -> Verdict:
    """Whether the grammar derives exactly this text, and its analysis or what is wrong with it."""
    chart = _Chart(_words(text))
    analyses = [analyse(found) for found in chart.derivations()]
    for one in analyses:
        if one.example.text == text and one.twice is None:
            return Verdict(True, one.example)
    return Verdict(False, reason=_fault(analyses[0], text, chart.words) if analyses else chart.fault())


def derivations(text: str) -> list[Derivation]:
    """All derivations of a text, apart from what only `analyse` settles; more than one would be an ambiguity."""
    return _Chart(_words(text)).derivations()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+|[^\w\s]", text)


def _plain(word: str) -> str:
    """A word without what `analyse` settles."""
    low = word.lower()
    return {"an": "a", "but": "and", "&": "and"}.get(low, low)


def _fault(found: Analysis, text: str, words: list[str]) -> str:
    if found.twice:
        return f"the {found.twice} is said twice"
    wrong = (pair for pair in enumerate(zip(words, found.example.words, strict=True), 1) if pair[1][0] != pair[1][1])
    for place, (word, right) in wrong:
        return f"word {place} is '{word}' and should be '{right}'"
    return f"the spaces of {text!r} are not those of {found.example.text!r}"


Right = tuple[tuple[bool, str], ...]
"""The right-hand side of a rule: plain words (True) and symbols (False)."""


@cache
def _starts() -> dict[str, dict[str, list[tuple[Rule, Right]]]]:
    """For every symbol and first word, the rules that can begin with it."""
    rights = {symbol: [(rule, _right(rule)) for rule in some] for symbol, some in rules().items()}

    @cache
    def first(symbol: str) -> frozenset[str]:
        return frozenset(word for _, right in rights[symbol] for word in first_of(right))

    def first_of(right: Right) -> frozenset[str]:
        is_word, what = right[0]
        return frozenset([what]) if is_word else first(what)

    starts: dict[str, dict[str, list[tuple[Rule, Right]]]] = {}
    for symbol, some in rights.items():
        starts[symbol] = defaultdict(list)
        for rule, right in some:
            for word in first_of(right):
                starts[symbol][word].append((rule, right))
    return {symbol: dict(some) for symbol, some in starts.items()}


def _right(rule: Rule) -> Right:
    return tuple(
        (True, _plain(item.text)) if isinstance(item, Word) else (False, item.symbol)
        for item in rule.items
        if isinstance(item, Word | Ref)
    )


class _Chart:
    """All that was found in one text."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.plain = [*map(_plain, words), ""]
        self.found: dict[tuple[str, int], list[tuple[int, Derivation]]] = {}
        self.furthest = 0

    def derivations(self) -> list[Derivation]:
        ends = self.parse("text", 0)
        self.furthest = max([self.furthest, *(end for end, _ in ends)])
        return [found for end, found in ends if end == len(self.words)]

    def fault(self) -> str:
        """Where the longest beginning of a text of the grammar stops."""
        if not self.words:
            return "there are no words"
        if self.furthest == len(self.words):
            return f"the text stops too early, after word {len(self.words)}, '{self.words[-1]}'"
        return f"word {self.furthest + 1}, '{self.words[self.furthest]}', cannot stand there"

    def parse(self, symbol: str, start: int) -> list[tuple[int, Derivation]]:
        """Where a symbol that starts here can end, with the derivation for each."""
        key = (symbol, start)
        if key not in self.found:
            fitting = _starts()[symbol].get(self.plain[start], ())
            self.furthest = max(self.furthest, start)
            self.found[key] = [one for rule, right in fitting for one in self._follow(rule, right, start)]
        return self.found[key]

    def _follow(self, rule: Rule, right: Right, start: int) -> list[tuple[int, Derivation]]:
        ways: list[tuple[int, tuple[Derivation, ...]]] = [(start, ())]
        for is_word, what in right:
            if is_word:
                self.furthest = max(self.furthest, *(end for end, _ in ways))
                ways = [(end + 1, parts) for end, parts in ways if self.plain[end] == what]
            else:
                ways = [(after, (*parts, one)) for end, parts in ways for after, one in self.parse(what, end)]
            if not ways:
                break
        return [(end, Derivation(rule, parts)) for end, parts in ways]
