"""The search behind the judge of the bundled corpus: all derivations of a text.

A top-down parser over the very rules that `bistro` writes by. Results are kept for every (symbol, place), and a rule
is tried only where the word there can begin it, so the time is close to linear in practice. The grammar has no
recursion and no empty rule, so the search ends.

The search looks past capitals, "a" or "an", "and" or "but", spaces, and whether an aspect is said twice. These are
settled by `bistro.Reading`, for what is judged as for what is written.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache

from mezzotint.data.bistro_grammar import Derivation, Rule, Word, rules

SAME = {"an": "a", "but": "and", "&": "and"}
"""Words that the search takes for another."""

Right = tuple[tuple[bool, str], ...]
"""The right-hand side of a rule: words (True) and symbols (False)."""


class Chart:
    """All that was found in one text."""

    def __init__(self, text: str) -> None:
        self.words: list[str] = re.findall(r"\w+|[^\w\s]", text)
        """Words and punctuation marks."""
        self._plain = [*map(_plain, self.words), ""]
        self._found: dict[tuple[str, int], list[tuple[int, Derivation]]] = {}
        self._furthest = 0
        ends = self._parse("text", 0)
        self._furthest = max([self._furthest, *(end for end, _ in ends)])
        self.derivations = [found for end, found in ends if end == len(self.words)]
        """More than one would be an ambiguity of the grammar; there is none."""

    @property
    def fault(self) -> str:
        """Where the longest beginning of a text of the grammar stops, for a text with no derivation."""
        if not self.words:
            return "there are no words"
        if self._furthest == len(self.words):
            return f"the text stops too early, after word {len(self.words)}, '{self.words[-1]}'"
        return f"word {self._furthest + 1}, '{self.words[self._furthest]}', cannot stand there"

    def _parse(self, symbol: str, start: int) -> list[tuple[int, Derivation]]:
        """Where a symbol that starts here can end, with the derivation for each."""
        key = (symbol, start)
        if key not in self._found:
            fitting = _starts()[symbol].get(self._plain[start], ())
            self._furthest = max(self._furthest, start)
            self._found[key] = [one for rule, right in fitting for one in self._follow(rule, right, start)]
        return self._found[key]

    def _follow(self, rule: Rule, right: Right, start: int) -> list[tuple[int, Derivation]]:
        ways: list[tuple[int, tuple[Derivation, ...]]] = [(start, ())]
        for is_word, what in right:
            if is_word:
                self._furthest = max(self._furthest, *(end for end, _ in ways))
                ways = [(end + 1, parts) for end, parts in ways if self._plain[end] == what]
            else:
                ways = [(after, (*parts, one)) for end, parts in ways for after, one in self._parse(what, end)]
            if not ways:
                break
        return [(end, Derivation(rule, parts)) for end, parts in ways]


def _plain(word: str) -> str:
    low = word.lower()
    return SAME.get(low, low)


@cache
def _starts() -> dict[str, dict[str, list[tuple[Rule, Right]]]]:
    """For every symbol and first word, the rules that can begin with it."""
    starts: dict[str, dict[str, list[tuple[Rule, Right]]]] = {}
    for symbol, some in rules().items():
        starts[symbol] = defaultdict(list)
        for rule in some:
            for word in _first(rule):
                starts[symbol][word].append((rule, _right(rule)))
    return {symbol: dict(some) for symbol, some in starts.items()}


@cache
def _first(rule: Rule) -> frozenset[str]:
    """The words that a rule can begin with."""
    one = rule.right[0]
    if isinstance(one, Word):
        return frozenset([_plain(one.text)])
    return frozenset(word for below in rules()[one.symbol] for word in _first(below))


def _right(rule: Rule) -> Right:
    return tuple((True, _plain(one.text)) if isinstance(one, Word) else (False, one.symbol) for one in rule.right)
