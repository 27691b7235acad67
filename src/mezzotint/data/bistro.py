"""The bundled corpus: restaurant one-liners from a seeded probabilistic grammar of our own, with gold everything.

The rules stand in `bistro_grammar`. The writer draws a derivation, the judge has `bistro_parser` search for that of a
given text, and both hand it to `Reading`, which alone turns a derivation into a text with its analysis. So they cannot
disagree.

Writing starts from what is to be said. `inside` sums, for every symbol and every set of aspects, the weight of the
derivations that say exactly that set, each aspect once; drawing top-down in proportion is then the probabilistic
grammar conditioned on that set (the inside algorithm: Baker 1979; over any semiring: Goodman 1999, "Semiring Parsing").
With ones in place of the weights the same sums count sentences, with lengths they bound them.

Two aspects are no fields: `mood` (a remark on staff, service or rooms, which moves the sentiment) and `aside` (opening
hours, a garden), which says nothing that anyone asks about.
"""

from __future__ import annotations

import operator
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from hashlib import sha256
from itertools import accumulate, count, islice
from math import prod
from random import Random
from typing import TypeVar

from mezzotint.data.bistro_grammar import ASPECTS, Derivation, Open, Ref, Rule, Word, rules, values
from mezzotint.data.bistro_parser import Chart
from mezzotint.errors import UsageError, unknown

CHANCE = {
    "food": 0.5,
    "price": 0.3,
    "area": 0.25,
    "rating": 0.4,
    "family": 0.15,
    "near": 0.25,
    "mood": 0.12,
    "aside": 0.08,
}
"""How often a text says each aspect beside the name, before texts that would say none are drawn again."""
FAVOUR = {
    ("price", "cheap"): 1,
    ("price", "expensive"): -1,
    ("rating", "excellent"): 1,
    ("rating", "good"): 1,
    ("rating", "poor"): -1,
    ("family", "yes"): 1,
    ("family", "no"): -1,
    ("mood", "positive"): 1,
    ("mood", "negative"): -1,
}
"""What counts for or against a place where "and" or "but" must be chosen; what is missing counts as 0."""
SENTIMENTS = ("neutral", "positive", "negative")
"""At the sign of what the rating and the mood sum to: 0, 1 or -1."""
SPLITS = {"train": range(2, 10), "valid": range(1, 2), "test": range(1)}
"""Which tenths of all texts each split holds."""


@dataclass(frozen=True)
class Fields:
    """What a text says of a restaurant; None where it says nothing."""

    name: str
    food: str | None = None
    price: str | None = None
    """cheap, moderate or expensive."""
    area: str | None = None
    rating: str | None = None
    """excellent, good, average or poor."""
    family: str | None = None
    """yes or no: are children welcome."""
    near: str | None = None


@dataclass(frozen=True)
class Example:
    """A text with its gold analysis."""

    text: str
    fields: Fields
    words: tuple[str, ...]
    """Words and punctuation marks, as they stand in the text."""
    tags: tuple[str, ...]
    """The universal part of speech of each word."""
    tree: str
    """The constituency tree in brackets, under ROOT."""
    spans: tuple[tuple[int, int, str], ...]
    """Every phrase of the tree but ROOT, outer ones first: first word, word after the last, label."""
    sentiment: str
    """positive, neutral or negative."""


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


# --- from a derivation to a text with its analysis


class Reading:
    """What a derivation comes to."""

    def __init__(self, found: Derivation) -> None:
        self.words: list[str] = []
        """Words and punctuation marks as they are spelt."""
        self.said: list[tuple[str, str]] = []
        """Aspects and values; where an aspect comes twice, this is no derivation of the grammar."""
        self._found = found
        self._read(found)
        self._spell()

    def _read(self, found: Derivation) -> int:
        """Adds the words of a derivation and what they say; returns what they sum to, for or against."""
        start, parts = len(self.words), iter(found.parts)
        favour, before, joint = 0, 0, -1
        for item in found.rule.right:
            if isinstance(item, Ref):
                favour += self._read(next(parts))
                continue
            if item.text == "&":
                joint, before, favour = len(self.words), favour, 0
            self.words.append(item.text)
        if joint >= 0:
            self.words[joint] = "but" if favour * before < 0 else "and"
        if found.rule.aspect:
            self.said.append((found.rule.aspect, found.rule.value or " ".join(self.words[start:])))
            favour += FAVOUR.get(self.said[-1], 0)
        return favour + before

    def _spell(self) -> None:
        """Settles "a" or "an", and the capitals."""
        for i, word in enumerate(self.words):
            if word == "a" and self.words[i + 1][0].lower() in "aeiou":
                self.words[i] = "an"
            if i == 0 or self.words[i - 1] == ".":
                self.words[i] = self.words[i][0].upper() + self.words[i][1:]

    @cached_property
    def text(self) -> str:
        """The words as running text."""
        return " ".join(self.words).replace(" .", ".").replace(" ,", ",")

    @property
    def twice(self) -> str | None:
        """An aspect that is said more than once, if any."""
        return next((aspect for i, (aspect, _) in enumerate(self.said) if aspect in dict(self.said[:i])), None)

    def example(self) -> Example:
        """The text with its analysis."""
        root, tags = _Phrase("ROOT", 0), list[str]()
        _grow(self._found, root, tags)
        said = dict(self.said)
        fields = Fields(**{aspect: value for aspect, value in said.items() if aspect in Fields.__dataclass_fields__})
        sentiment = _sentiment(*(FAVOUR.get((aspect, said.get(aspect, "")), 0) for aspect in ("rating", "mood")))
        leaves = [f"({tag} {word})" for tag, word in zip(tags, self.words, strict=True)]
        tree, spans = root.bracketed(leaves), tuple(root.spans())[1:]
        return Example(self.text, fields, tuple(self.words), tuple(tags), tree, spans, sentiment)


def _sentiment(rating: int, mood: int) -> str:
    favour = rating + mood
    return SENTIMENTS[(favour > 0) - (favour < 0)]


@dataclass
class _Phrase:
    label: str
    start: int
    end: int = 0
    below: list[_Phrase | int] = field(default_factory=list)
    """Phrases and places of words."""

    def only(self) -> _Phrase:
        """The lowest phrase with the same words, if it and all between have the same label."""
        one = self.below[0]
        return one.only() if len(self.below) == 1 and isinstance(one, _Phrase) and one.label == self.label else self

    def bracketed(self, leaves: Sequence[str]) -> str:
        """The tree below, in brackets, the words as they are in `leaves`."""
        below = [leaves[one] if isinstance(one, int) else one.only().bracketed(leaves) for one in self.below]
        return f"({self.label} {' '.join(below)})"

    def spans(self) -> Iterator[tuple[int, int, str]]:
        """Itself and all phrases below: first word, word after the last, label."""
        yield self.start, self.end, self.label
        for one in self.below:
            if isinstance(one, _Phrase):
                yield from one.only().spans()


def _grow(found: Derivation, under: _Phrase, tags: list[str]) -> None:
    """Adds the phrases of a derivation below a phrase, and its tags."""
    path, parts = [under], iter(found.parts)
    for item in found.rule.items:
        if isinstance(item, Ref):
            _grow(next(parts), path[-1], tags)
        elif isinstance(item, Word):
            path[-1].below.append(len(tags))
            tags.append(item.tag)
        elif isinstance(item, Open):
            path.append(_Phrase(item.label, len(tags)))
            path[-2].below.append(path[-1])
        else:
            path.pop().end = len(tags)


# --- judging


def judge(text: str) -> Verdict:
    """Whether the grammar derives exactly this text, with its analysis or what is wrong with it.

    >>> judge("The Copper Kettle is a Italian pub.").reason
    "word 5 is 'a' and should be 'an'"
    """
    chart = Chart(text)
    readings = [Reading(found) for found in chart.derivations]
    for one in readings:
        if one.text == text and one.twice is None:
            return Verdict(True, one.example())
    return Verdict(False, reason=_fault(readings[0], text, chart.words) if readings else chart.fault)


def _fault(found: Reading, text: str, words: list[str]) -> str:
    if found.twice:
        return f"the {found.twice} is said twice"
    for place, (word, right) in enumerate(zip(words, found.words, strict=True), 1):
        if word != right:
            return f"word {place} is '{word}' and should be '{right}'"
    return f"the spaces of {text!r} are not those of {found.text!r}"


# --- names


@cache
def names() -> dict[str, Derivation]:
    """Every restaurant's name, with the derivation that says it."""
    return {_words_below(found): found for found in _all("name")}


def _all(symbol: str) -> Iterator[Derivation]:
    for rule in rules()[symbol]:
        parts: list[tuple[Derivation, ...]] = [()]
        for ref in rule.refs:
            parts = [(*some, one) for some in parts for one in _all(ref)]
        yield from (Derivation(rule, some) for some in parts)


def _words_below(found: Derivation) -> str:
    parts = iter(found.parts)
    return " ".join(item.text if isinstance(item, Word) else _words_below(next(parts)) for item in found.rule.right)


# --- sums over all derivations

Number = TypeVar("Number", int, float)
Table = dict[int, Number]
"""A number for each set of aspects that can be said; a set is an integer, the first of `ASPECTS` its lowest bit."""


def inside(
    add: Callable[[Number, Number], Number],
    times: Callable[[Number, Number], Number],
    of_rule: Callable[[Rule], Number],
) -> dict[str, Table[Number]]:
    """For every symbol and set of aspects, the sum (`add`) over all derivations of the product (`times`) of its rules.

    A derivation says each aspect at most once. Sum and product can be any semiring: with (+, ×) and weights these are
    probabilities up to a factor that depends on the set only, with ones counts, with (max, +) and lengths the longest.
    """
    tables: dict[str, Table[Number]] = {}

    def table(symbol: str) -> Table[Number]:
        if symbol not in tables:
            total: Table[Number] = {}
            for rule in rules()[symbol]:
                _merge(total, product(rule), add)
            tables[symbol] = total
        return tables[symbol]

    def product(rule: Rule) -> Table[Number]:
        so_far = {_bit(rule.aspect): of_rule(rule)}
        for ref in rule.refs:
            longer: Table[Number] = {}
            for said, number in so_far.items():
                apart = {said | other: times(number, more) for other, more in table(ref).items() if not said & other}
                _merge(longer, apart, add)
            so_far = longer
        return so_far

    table("text")
    return tables


def _merge(total: Table[Number], more: Table[Number], add: Callable[[Number, Number], Number]) -> None:
    for said, number in more.items():
        total[said] = add(total[said], number) if said in total else number


def _bit(aspect: str | None) -> int:
    return 1 << ASPECTS.index(aspect) if aspect else 0


# --- writing


@cache
def _weights() -> dict[str, Table[float]]:
    return inside(operator.add, operator.mul, lambda rule: rule.weight)


@cache
def _ways(symbol: str, said: int) -> tuple[list[tuple[Rule, tuple[int, ...]]], list[float]]:
    """The rules by which a symbol can say exactly this set, what each part then says, and their cumulated weights."""
    ways = [
        (rule, parts, weight * rule.weight)
        for rule in rules()[symbol]
        for parts, weight in _shares(rule.refs, said ^ _bit(rule.aspect))
    ]
    return [(rule, parts) for rule, parts, _ in ways], list(accumulate(weight for *_, weight in ways))


def _shares(refs: tuple[str, ...], said: int) -> Iterator[tuple[tuple[int, ...], float]]:
    if not refs:
        if not said:
            yield (), 1.0
        return
    for first, weight in _weights()[refs[0]].items():
        if first & said == first:
            for rest, more in _shares(refs[1:], said ^ first):
                yield (first, *rest), weight * more


@cache
def _ways_to_say(symbol: str, value: str) -> tuple[list[Rule], list[float]]:
    some = [rule for rule in rules()[symbol] if rule.value == value]
    return some, list(accumulate(rule.weight for rule in some))


def _derive(symbol: str, said: int, saying: Mapping[str, str], rng: Random) -> Derivation:
    aspect = rules()[symbol][0].aspect
    if aspect == "name":
        return names()[saying["name"]]
    if aspect:
        rule = _pick(*_ways_to_say(symbol, saying[aspect]), rng)
        shares: tuple[int, ...] = (0,) * len(rule.refs)
    else:
        rule, shares = _pick(*_ways(symbol, said), rng)
    return Derivation(rule, tuple(_derive(ref, part, saying, rng) for ref, part in zip(rule.refs, shares, strict=True)))


Choice = TypeVar("Choice")


def _pick(choices: list[Choice], cumulated: list[float], rng: Random) -> Choice:
    return choices[min(bisect(cumulated, rng.random() * cumulated[-1]), len(choices) - 1)]


def _say(saying: Mapping[str, str], rng: Random) -> Reading:
    return Reading(_derive("text", sum(map(_bit, saying)), saying, rng))


def _draw(seed: int, index: int) -> Reading:
    rng = Random(f"bistro {seed} {index}")
    return _say(_draw_saying(rng), rng)


def _draw_saying(rng: Random) -> dict[str, str]:
    said: list[str] = []
    while not said:
        said = [aspect for aspect, chance in CHANCE.items() if rng.random() < chance]
    return {"name": _pick(*_weighted_names(), rng)} | {aspect: _even(values(aspect), rng) for aspect in said}


def _even(choices: Sequence[Choice], rng: Random) -> Choice:
    return choices[int(rng.random() * len(choices))]


@cache
def _weighted_names() -> tuple[list[str], list[float]]:
    return list(names()), list(accumulate(map(_weight, names().values())))


def _weight(found: Derivation) -> float:
    return found.rule.weight * prod(map(_weight, found.parts))


def write(n: int, seed: int = 0, start: int = 0) -> Iterator[Example]:
    """Examples `start` to `start + n - 1`; example i depends on nothing but (seed, i)."""
    return (_draw(seed, i).example() for i in range(start, start + n))


def split_of(text: str) -> str:
    """The split that a text belongs to, whatever the seed: train (8 in 10), valid or test (1 in 10 each)."""
    tenth = int.from_bytes(sha256(f"bistro split {text}".encode()).digest()[:8]) % 10
    return next(split for split, tenths in SPLITS.items() if tenth in tenths)


def corpus(split: str, n: int, seed: int = 0) -> Iterator[Example]:
    """The first n written examples whose text falls in a split; no text is ever in two.

    Raises UsageError for a split that is not train, valid or test.
    """
    return (one.example() for one in _in_split(split, n, seed))


def texts(split: str, n: int, seed: int = 0) -> Iterator[str]:
    """The texts of `corpus` without their analyses, in half the time."""
    return (one.text for one in _in_split(split, n, seed))


def pairs(split: str, n: int, seed: int = 0) -> Iterator[tuple[str, str]]:
    """What is said, as `fields_line` has it, and the text that says it: the examples of `corpus`."""
    return ((fields_line(one.example().fields), one.text) for one in _in_split(split, n, seed))


def _in_split(split: str, n: int, seed: int) -> Iterator[Reading]:
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return islice((one for one in (_draw(seed, i) for i in count()) if split_of(one.text) == split), n)


def fields_line(fields: Fields) -> str:
    """The fields that are said, on one line: "name = The Copper Kettle; food = Thai"."""
    return "; ".join(f"{aspect} = {value}" for aspect, value in asdict(fields).items() if value is not None)


def paraphrase(fields: Fields, seed: int = 0, sentiment: str | None = None) -> Example:
    """One of the many texts that say exactly these fields, all seeds giving independent draws.

    Without a sentiment there is no remark on staff, service or rooms, so it is the rating's. With one, a remark
    brings it about where the rating alone does not. Raises UsageError for a value that the grammar cannot say, and for
    a sentiment that contradicts the rating.
    """
    rng = Random(f"bistro paraphrase {seed}")
    saying = {aspect: value for aspect, value in asdict(fields).items() if value is not None}
    for aspect, value in saying.items():
        _check(aspect, value)
    if sentiment is not None:
        saying |= _remark(fields.rating, sentiment, rng)
    if rng.random() < CHANCE["aside"]:
        saying["aside"] = "some"
    return _say(saying, rng).example()


def _check(aspect: str, value: str) -> None:
    if aspect != "name" and value not in values(aspect):
        raise unknown(aspect, value, values(aspect))
    if aspect == "name" and value not in names():
        raise UsageError(f"no restaurant of this grammar is called '{value}'; write one like 'The Copper Kettle'")


def _remark(rating: str | None, sentiment: str, rng: Random) -> dict[str, str]:
    """The mood to add to a rating for this sentiment, if any; one at random where several would do."""
    if sentiment not in SENTIMENTS:
        raise unknown("sentiment", sentiment, SENTIMENTS)
    rated = FAVOUR.get(("rating", rating or ""), 0)
    moods = [mood for mood in ("", *values("mood")) if _sentiment(rated, FAVOUR.get(("mood", mood), 0)) == sentiment]
    if not moods:
        raise UsageError(f"a text rated '{rating}' cannot be {sentiment}; ask for 'neutral' or what the rating is")
    mood = _even(moods, rng)
    return {"mood": mood} if mood else {}
