"""The bundled corpus: restaurant one-liners from a seeded probabilistic grammar of our own, with gold everything.

`GRAMMAR` below is the only source of truth. Its rules carry the tree, the tags and what is said, so the writer here
and the judge (`bistro_judge`) cannot disagree: the writer draws derivations, the judge searches for one, and both
hand it to `analyse`, which alone turns a derivation into a text with its analysis.

Writing starts from fields. `inside` sums, for every symbol and every set of fields, the weight of the derivations
that say exactly that set, each field once; drawing top-down in proportion gives the probabilistic grammar
conditioned on what is to be said (the inside algorithm: Baker 1979; sampling: Goodman 1998, §4). With ones in place of
the weights the same sums count sentences, with lengths they bound them.

Two things beside the fields are said or not: a `mood` (a remark on staff, service or rooms, which moves the
sentiment) and an `aside` (opening hours, a garden), which says nothing anyone asks about.
"""

from __future__ import annotations

import operator
import re
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from hashlib import sha256
from itertools import accumulate, count, islice
from math import prod
from random import Random
from typing import TypeVar

from mezzotint.errors import UsageError, unknown

# A line at the margin is a symbol; the lines below it are its rules, with `|` between rules that share a line and an
# optional `weight:` in front. `word/TAG` is a word, a bare name is a symbol (`?`: or nothing), `(NP ... )` a phrase.
# `symbol: field` says that field; each rule gives the value in front of `=`, or its own words are the value.
# Three things are settled by `analyse`: a/DET is "an" before a vowel, &/CCONJ is "but" between opposite verdicts and
# "and" otherwise, and a sentence starts with a capital.
GRAMMAR = """
text
  10: (S clause ./PUNCT)
   3: (S clause ./PUNCT) (S more ./PUNCT)
   2: (S (S clause) ,/PUNCT &/CCONJ (S more) ./PUNCT)
   2: (S advice ./PUNCT)
   1: (S advice ./PUNCT) (S more ./PUNCT)

clause
  10: name (VP is/AUX place)
   6: name doing
   3: name (VP serve dishes where)
   3: name (VP doing &/CCONJ doing)
   4: name (VP is/AUX traits)
   2: name (VP is/AUX (VP rated/VERB (ADJP rating_adj) (PP by/ADP people)))
   4: front ,/PUNCT name doing
   2: front ,/PUNCT name (VP is/AUX base)
   3: (VP located/VERB where) ,/PUNCT name doing
   2: (PP with/ADP stuff) ,/PUNCT name (VP is/AUX brief)
   3: name ,/PUNCT brief ,/PUNCT doing
   2: name ,/PUNCT brief ,/PUNCT (VP is/AUX traits)
   4: (NP there/PRON) (VP is/VERB there)
   2: front (NP there/PRON) (VP is/VERB (NP base (VP called/VERB name)))
   2: front (NP you/PRON) (VP will/AUX (VP find/VERB (NP name ,/PUNCT brief)))
   1: front (NP you/PRON) (VP will/AUX (VP find/VERB name))
   2: (NP you/PRON) (VP can/AUX (VP get dishes (PP at/ADP name)))
   2: (NP you/PRON) (VP can/AUX (VP get dishes (PP at/ADP name) where))
   2: people (VP say/VERB (SBAR that/SCONJ (S name (VP is/AUX brief))))
   1: people (VP say/VERB (SBAR that/SCONJ (S name (VP is/AUX traits))))
   2: people (VP say/VERB (SBAR that/SCONJ (S name doing)))
   2: people (VP opinion name)
   1: people (VP opinion (NP name ,/PUNCT brief))

advice
  (PP for/ADP cuisine) ,/PUNCT (VP visit name) | (PP for/ADP cuisine) ,/PUNCT (VP visit (NP name where))
  (SBAR if/SCONJ (S (NP you/PRON) (VP like cuisine))) ,/PUNCT (VP visit name)
  (SBAR if/SCONJ (S (NP you/PRON) (VP like cuisine))) ,/PUNCT (VP visit (NP name ,/PUNCT brief))

more
  3: it (VP is/AUX traits)
  5: it doing
  3: (NP its/PRON prices/NOUN) (VP are/AUX (ADJP price_level))
  3: (NP the/DET food/NOUN) (VP is/AUX (ADJP rating_adj)) | (NP the/DET cooking/NOUN) (VP is/AUX (ADJP rating_adj))
  1: people (VP find/VERB (NP it/PRON) (ADJP rating_adj))
  3: family_clause | mood_clause
  2: (NP you/PRON) (VP will/AUX (VP find/VERB (NP it/PRON) where))
  2: it (VP is/AUX where)
  1: people (VP opinion (NP it/PRON))
it
  3: (NP it/PRON)
  1: (NP the/DET place/NOUN) | (NP this/DET place/NOUN)

there
  (NP base (VP called/VERB name)) | (NP base where (VP called/VERB name)) | (NP base (VP called/VERB name) where)
  (NP base (VP called/VERB name) deal) | (NP base (VP called/VERB name) (SBAR that/PRON (S act)))

base
  3: (NP a/DET mods kind)
  1: (NP a/DET kind)
brief
  4: base
  3: (NP base where)
place
  5: brief
  2: (NP base deal)
  1: (NP base where deal) | (NP base (SBAR that/PRON (S act))) | (NP base where (SBAR that/PRON (S act)))
mods
  6: food_adj | price_adj food_adj | rating_adj food_adj
  3: price_adj | rating_adj | family_adj | rating_adj price_adj food_adj | price_adj family_adj food_adj
  2: family_adj food_adj | rating_adj family_adj | look | look food_adj | price_adj look | rating_adj look food_adj
  1: (ADJP price_adj &/CCONJ rating_adj) food_adj | (ADJP price_adj &/CCONJ rating_adj) | rating_adj price_adj
look
  little/ADJ | small/ADJ | busy/ADJ | quiet/ADJ | modern/ADJ | simple/ADJ | traditional/ADJ
  elegant/ADJ | rustic/ADJ
kind
  3: restaurant/NOUN | place/NOUN | pub/NOUN
  1: bistro/NOUN | diner/NOUN | tavern/NOUN | eatery/NOUN | cafe/NOUN | inn/NOUN | canteen/NOUN
traits
  2: (ADJP trait)
  3: (ADJP trait &/CCONJ trait)
trait
  price_adj | rating_adj | family_pred
doing
  12: act
   1: (VP stand where)
act
  4: (VP serve dishes)
  2: (VP serve dishes (PP at/ADP price_np)) | (VP has/VERB stuff) | welcome
  1: (VP specialises/VERB (PP in/ADP cuisine)) | (VP charges/VERB price_np) | hours
  1: (VP keeps/VERB (NP its/PRON prices/NOUN) (ADJP price_level))
stand
  stands/VERB | sits/VERB | lies/VERB
dishes
  3: cuisine
  2: (NP rating_adj food_adj fare) | (NP price_adj food_adj fare)
  1: (NP rating_adj fare) | (NP price_adj fare) | (NP (ADJP price_adj &/CCONJ rating_adj) food_adj fare)
cuisine
  (NP food_adj fare)
fare
  3: food/NOUN
  1: dishes/NOUN | meals/NOUN | dinners/NOUN | lunches/NOUN
serve
  3: serves/VERB
  1: offers/VERB | sells/VERB
get
  get/VERB | find/VERB | order/VERB
visit
  try/VERB | visit/VERB | choose/VERB
like
  like/VERB | want/VERB | love/VERB
people
  (NP diners/NOUN) | (NP locals/NOUN) | (NP visitors/NOUN) | (NP guests/NOUN) | (NP critics/NOUN)
  (NP regulars/NOUN) | (NP students/NOUN) | (NP tourists/NOUN)
deal
  (PP with/ADP stuff)
stuff
  2: thing
  1: (NP thing &/CCONJ thing)
thing
  price_np | review_np | mood_np | feature
where
  3: front
  1: in_area near_pp | near_pp in_area
front
  area_pp | near_pp
in_area
  (PP in/ADP (NP the/DET area))
area_pp
  5: in_area
  1: (PP in/ADP (NP (NP the/DET heart/NOUN) (PP of/ADP (NP the/DET area))))
near_pp
  3: (PP near/ADP (NP the/DET landmark))
  1: (PP beside/ADP (NP the/DET landmark)) | (PP by/ADP (NP the/DET landmark)) | (PP opposite/ADP (NP the/DET landmark))
  1: (PP behind/ADP (NP the/DET landmark)) | (PP close/ADV to/ADP (NP the/DET landmark))
  1: (PP (NP a/DET minute/NOUN) from/ADP (NP the/DET landmark))

name: name
  5: (NP The/DET style creature) | (NP The/DET style object)
  4: (NP The/DET creature and/CCONJ object)
  2: (NP style creature house) | (NP style object house)
style
  Copper/PROPN | Golden/PROPN | Silver/PROPN | Blue/PROPN | Red/PROPN | Green/PROPN | White/PROPN | Black/PROPN
  Crooked/PROPN | Hungry/PROPN | Sleepy/PROPN | Lucky/PROPN | Dancing/PROPN | Royal/PROPN | Wild/PROPN | Gentle/PROPN
  Merry/PROPN | Humble/PROPN | Secret/PROPN | Wandering/PROPN
creature
  Fox/PROPN | Heron/PROPN | Otter/PROPN | Badger/PROPN | Swan/PROPN | Stag/PROPN | Raven/PROPN | Lion/PROPN
  Hare/PROPN | Owl/PROPN | Bear/PROPN | Robin/PROPN | Falcon/PROPN | Salmon/PROPN | Tiger/PROPN | Magpie/PROPN
object
  Kettle/PROPN | Lantern/PROPN | Anchor/PROPN | Crown/PROPN | Barrel/PROPN | Plough/PROPN | Bell/PROPN | Wheel/PROPN
  Spoon/PROPN | Compass/PROPN | Ladle/PROPN | Candle/PROPN | Thimble/PROPN | Teapot/PROPN | Feather/PROPN | Harp/PROPN
house
  Kitchen/PROPN | House/PROPN | Table/PROPN

food_adj: food
  Thai/ADJ | Italian/ADJ | Indian/ADJ | Greek/ADJ | French/ADJ | Mexican/ADJ | Japanese/ADJ | Spanish/ADJ
  Turkish/ADJ | Korean/ADJ | Lebanese/ADJ | English/ADJ | Ethiopian/ADJ | Polish/ADJ | Chinese/ADJ | Moroccan/ADJ

price_adj: price
  cheap = cheap/ADJ | inexpensive/ADJ | affordable/ADJ
  moderate = (ADJP moderately/ADV priced/ADJ) | (ADJP fairly/ADV priced/ADJ)
  expensive = expensive/ADJ | pricey/ADJ | costly/ADJ
price_level: price
  cheap = low/ADJ
  moderate = moderate/ADJ | reasonable/ADJ
  expensive = high/ADJ | steep/ADJ
price_np: price
  cheap = (NP low/ADJ prices/NOUN)
  moderate = (NP moderate/ADJ prices/NOUN) | (NP reasonable/ADJ prices/NOUN)
  expensive = (NP high/ADJ prices/NOUN) | (NP steep/ADJ prices/NOUN)

area: area
  city/NOUN centre/NOUN | old/ADJ town/NOUN | west/NOUN end/NOUN | east/NOUN end/NOUN | harbour/NOUN district/NOUN
  market/NOUN quarter/NOUN | student/NOUN quarter/NOUN | garden/NOUN district/NOUN
landmark: near
  river/NOUN | old/ADJ bridge/NOUN | cathedral/NOUN | train/NOUN station/NOUN | town/NOUN hall/NOUN | museum/NOUN
  library/NOUN | park/NOUN | theatre/NOUN | lighthouse/NOUN | football/NOUN ground/NOUN | fish/NOUN market/NOUN
  castle/NOUN | post/NOUN office/NOUN | canal/NOUN | opera/NOUN house/NOUN

rating_adj: rating
  excellent = excellent/ADJ | superb/ADJ | outstanding/ADJ
  good = good/ADJ | fine/ADJ | decent/ADJ
  average = average/ADJ | ordinary/ADJ | passable/ADJ
  poor = poor/ADJ | disappointing/ADJ | dreadful/ADJ
opinion: rating
  excellent = love/VERB | adore/VERB
  good = like/VERB | enjoy/VERB
  average = tolerate/VERB
  poor = dislike/VERB | avoid/VERB
review_np: rating
  excellent = (NP excellent/ADJ reviews/NOUN) | (NP glowing/ADJ reviews/NOUN)
  good = (NP good/ADJ reviews/NOUN) | (NP positive/ADJ reviews/NOUN)
  average = (NP average/ADJ reviews/NOUN) | (NP mixed/ADJ reviews/NOUN)
  poor = (NP poor/ADJ reviews/NOUN) | (NP bad/ADJ reviews/NOUN)

family_adj: family
  yes = (ADJP family/NOUN friendly/ADJ) | (ADJP child/NOUN friendly/ADJ)
  no = (ADJP adults/NOUN only/ADV)
family_pred: family
  yes = (ADJP family/NOUN friendly/ADJ) | (ADJP child/NOUN friendly/ADJ)
  no = (ADJP not/PART family/NOUN friendly/ADJ) | (ADJP not/PART child/NOUN friendly/ADJ)
young
  (NP children/NOUN) | (NP families/NOUN)
welcome: family
  yes = (VP welcomes/VERB young) | (VP caters/VERB (PP for/ADP young))
  no = (VP turns/VERB young away/ADV) | (VP admits/VERB (NP only/ADV adults/NOUN))
family_clause: family
  yes = young (VP are/AUX (ADJP welcome/ADJ))
  no = young (VP are/AUX (ADJP not/PART welcome/ADJ))

mood_np: mood
  positive = (NP nice_staff staff/NOUN) | (NP nice_service service/NOUN) | (NP nice_rooms rooms/NOUN)
  negative = (NP bad_staff staff/NOUN) | (NP bad_service service/NOUN) | (NP bad_rooms rooms/NOUN)
mood_clause: mood
  positive = (NP the/DET staff/NOUN) (VP are/AUX (ADJP nice_staff))
  positive = (NP the/DET service/NOUN) (VP is/AUX (ADJP nice_service))
  positive = (NP the/DET rooms/NOUN) (VP are/AUX (ADJP nice_rooms))
  negative = (NP the/DET staff/NOUN) (VP are/AUX (ADJP bad_staff))
  negative = (NP the/DET service/NOUN) (VP is/AUX (ADJP bad_service))
  negative = (NP the/DET rooms/NOUN) (VP are/AUX (ADJP bad_rooms))
nice_staff
  friendly/ADJ | charming/ADJ | helpful/ADJ | polite/ADJ
bad_staff
  rude/ADJ | careless/ADJ | grumpy/ADJ | unhelpful/ADJ
nice_service
  quick/ADJ | prompt/ADJ | attentive/ADJ
bad_service
  slow/ADJ | clumsy/ADJ | chaotic/ADJ
nice_rooms
  cosy/ADJ | lovely/ADJ | comfortable/ADJ | cheerful/ADJ
bad_rooms
  gloomy/ADJ | chilly/ADJ | cramped/ADJ | noisy/ADJ

feature: aside
  some = (NP a/DET size spot)
size
  small/ADJ | large/ADJ | sunny/ADJ | shady/ADJ | pretty/ADJ
spot
  terrace/NOUN | garden/NOUN | courtyard/NOUN | balcony/NOUN | patio/NOUN
hours: aside
  some = (VP opens/VERB (NP every/DET time)) | (VP opens/VERB (PP on/ADP day)) | (VP opens/VERB (PP at/ADP noon/NOUN))
  some = (VP closes/VERB (PP on/ADP day)) | (VP closes/VERB (PP at/ADP midnight/NOUN)) | (VP closes/VERB early/ADV)
  some = (VP stays/VERB open/ADJ late/ADV)
time
  day/NOUN | evening/NOUN | weekend/NOUN
day
  Mondays/PROPN | Tuesdays/PROPN | Fridays/PROPN | Saturdays/PROPN | Sundays/PROPN
"""

ASPECTS = ("name", "food", "price", "area", "rating", "family", "near", "mood", "aside")
"""All that can be said; a set of them is an integer, the first being the lowest bit."""
CHANCE = {"food": 0.5, "price": 0.3, "area": 0.25, "rating": 0.4, "family": 0.15, "near": 0.25, "mood": 0.12, "aside": 0.08}
"""How often a text says each aspect beside the name, before texts that would say none are drawn again."""
VERDICT = {
    **{("price", "cheap"): 1, ("price", "expensive"): -1, ("family", "yes"): 1, ("family", "no"): -1},
    **{("rating", "excellent"): 1, ("rating", "good"): 1, ("rating", "poor"): -1},
    **{("mood", "positive"): 1, ("mood", "negative"): -1},
}
"""What counts for or against a place where "and" or "but" must be chosen; what is missing counts as 0."""
SENTIMENTS = ("neutral", "positive", "negative")
"""By the sign of the verdicts on rating and mood: 0, 1, -1 (the last indexes from the end)."""
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
class Word:
    """A word of a rule, with its tag."""

    text: str
    tag: str


@dataclass(frozen=True)
class Ref:
    """A symbol of a rule, to be rewritten."""

    symbol: str


@dataclass(frozen=True)
class Open:
    """Where a phrase begins."""

    label: str


@dataclass(frozen=True)
class Close:
    """Where the phrase opened last ends."""


Item = Word | Ref | Open | Close


@dataclass(frozen=True, eq=False)
class Rule:
    """One way to rewrite a symbol."""

    weight: float
    """Given the value that is said, if any, the weights of a symbol's rules sum to 1."""
    items: tuple[Item, ...]
    aspect: str | None = None
    value: str | None = None
    """None in a rule with an aspect: the words below it are the value."""

    @property
    def refs(self) -> list[str]:
        """The symbols it rewrites to, in order."""
        return [item.symbol for item in self.items if isinstance(item, Ref)]

    @property
    def length(self) -> int:
        """Words of its own."""
        return sum(isinstance(item, Word) for item in self.items)


@dataclass(frozen=True, eq=False)
class Derivation:
    """A rule with a derivation for each of its symbols, in order: one way to say something."""

    rule: Rule
    parts: tuple[Derivation, ...]


# --- reading the grammar


@cache
def rules() -> dict[str, tuple[Rule, ...]]:
    """The rules of every symbol."""
    found: dict[str, list[Rule]] = {}
    for line in filter(None, GRAMMAR.splitlines()):
        if not line.startswith(" "):
            symbol, _, aspect = line.partition(": ")
            found[symbol] = []
        else:
            found[symbol] += _read_line(line.strip(), aspect or None)
    return {symbol: _normalised(some) for symbol, some in found.items()}


def _read_line(line: str, aspect: str | None) -> list[Rule]:
    head, weight, value = re.fullmatch(r"((?:(\d+): *)?(?:(\w+) = )?).*", line).groups()  # type: ignore[union-attr]
    return [_read_rule(text, float(weight or 1), aspect, value) for text in line[len(head) :].split(" | ")]


def _read_rule(text: str, weight: float, aspect: str | None, value: str | None) -> Rule:
    items = tuple(_read_item(piece) for piece in re.findall(r"\(\w+|\)|[^\s()]+", text))
    if aspect and not value and all(isinstance(item, Word) for item in items):
        value = " ".join(item.text for item in items if isinstance(item, Word))
    return Rule(weight, items, aspect, value)


def _read_item(piece: str) -> Item:
    if piece == ")":
        return Close()
    if piece.startswith("("):
        return Open(piece[1:])
    word, slash, tag = piece.partition("/")
    return Word(word, tag) if slash else Ref(word)


def _normalised(some: list[Rule]) -> tuple[Rule, ...]:
    total: dict[str | None, float] = defaultdict(float)
    for rule in some:
        total[rule.value] += rule.weight
    return tuple(Rule(rule.weight / total[rule.value], rule.items, rule.aspect, rule.value) for rule in some)


@cache
def values(aspect: str) -> tuple[str, ...]:
    """All values that a text can give to an aspect other than the name."""
    tables = (some for some in rules().values() if some[0].aspect == aspect)
    return tuple(dict.fromkeys(rule.value for rule in next(tables) if rule.value))


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
    own = (item for item in found.rule.items if isinstance(item, Word | Ref))
    return " ".join(item.text if isinstance(item, Word) else _words_below(next(parts)) for item in own)


# --- sums over all derivations

Number = TypeVar("Number", int, float)
Table = dict[int, Number]
"""A number for each set of aspects that can be said."""


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


def count_sentences() -> int:
    """How many texts the grammar derives: exact, because no text has two derivations."""
    return sum(inside(operator.add, operator.mul, lambda rule: 1)["text"].values())


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
        for parts, weight in _shares(tuple(rule.refs), said ^ _bit(rule.aspect))
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


def _say(saying: Mapping[str, str], rng: Random) -> Example:
    return analyse(_derive("text", sum(map(_bit, saying)), saying, rng)).example


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
    for i in range(start, start + n):
        rng = Random(f"bistro {seed} {i}")
        yield _say(_draw_saying(rng), rng)


def split_of(text: str) -> str:
    """The split that a text belongs to, whatever the seed: train (8 in 10), valid or test (1 in 10 each)."""
    tenth = int.from_bytes(sha256(f"bistro split {text}".encode()).digest()[:8]) % 10
    return next(split for split, tenths in SPLITS.items() if tenth in tenths)


def corpus(split: str, n: int, seed: int = 0) -> Iterator[Example]:
    """The first n written examples whose text falls in a split; no text is ever in two.

    Raises UsageError for a split that is not train, valid or test.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return islice((e for i in count() for e in write(1, seed, i) if split_of(e.text) == split), n)


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
    return _say(saying, rng)


def _check(aspect: str, value: str) -> None:
    if aspect != "name" and value not in values(aspect):
        raise unknown(aspect, value, values(aspect))
    if aspect == "name" and value not in names():
        raise UsageError(f"no restaurant of this grammar is called '{value}'; write one like 'The Copper Kettle'")


def _remark(rating: str | None, sentiment: str, rng: Random) -> dict[str, str]:
    """The mood to add to a rating for this sentiment, if any; one at random where several would do."""
    if sentiment not in SENTIMENTS:
        raise unknown("sentiment", sentiment, SENTIMENTS)
    rated = VERDICT.get(("rating", rating or ""), 0)
    moods = [mood for mood in ("", *values("mood")) if _sentiment(rated + VERDICT.get(("mood", mood), 0)) == sentiment]
    if not moods:
        raise UsageError(f"a text with the rating '{rating}' cannot be {sentiment}; ask for the rating's own or 'neutral'")
    mood = _even(moods, rng)
    return {"mood": mood} if mood else {}


def _sentiment(verdict: int) -> str:
    return SENTIMENTS[(verdict > 0) - (verdict < 0)]


# --- from a derivation to a text with its analysis


@dataclass(frozen=True)
class Analysis:
    """What a derivation comes to."""

    example: Example
    twice: str | None
    """An aspect that it says more than once, which makes it no derivation of the grammar."""


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


class _Walk:
    """Collects words, phrases and what is said, going through a derivation from left to right."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.tags: list[str] = []
        self.said: list[tuple[str, str]] = []

    def go(self, found: Derivation, under: _Phrase) -> int:
        """Adds a derivation below a phrase; returns the sum of the verdicts in it."""
        start, open_phrases, parts = len(self.words), [under], iter(found.parts)
        verdict, before, joint = 0, 0, -1
        for item in found.rule.items:
            match item:
                case Word("&", _):
                    joint, before, verdict = len(self.words), verdict, 0
                    self._add(item, open_phrases[-1])
                case Word():
                    self._add(item, open_phrases[-1])
                case Ref():
                    verdict += self.go(next(parts), open_phrases[-1])
                case Open(label):
                    open_phrases.append(_Phrase(label, len(self.words)))
                    open_phrases[-2].below.append(open_phrases[-1])
                case Close():
                    open_phrases.pop().end = len(self.words)
        if joint >= 0:
            self.words[joint] = "but" if verdict * before < 0 else "and"
        return verdict + before + self._hear(found.rule, start)

    def _add(self, word: Word, under: _Phrase) -> None:
        under.below.append(len(self.words))
        self.words.append(word.text)
        self.tags.append(word.tag)

    def _hear(self, rule: Rule, start: int) -> int:
        if rule.aspect is None:
            return 0
        self.said.append((rule.aspect, rule.value or " ".join(self.words[start:])))
        return VERDICT.get(self.said[-1], 0)

    def spell(self) -> None:
        """Settles "a" or "an", and the capitals."""
        for i, word in enumerate(self.words):
            if word == "a" and self.words[i + 1][0].lower() in "aeiou":
                self.words[i] = "an"
            if i == 0 or self.words[i - 1] == ".":
                self.words[i] = self.words[i][0].upper() + self.words[i][1:]


def analyse(found: Derivation) -> Analysis:
    """The text of a derivation of `text`, with its gold analysis."""
    walk, root = _Walk(), _Phrase("ROOT", 0)
    walk.go(found, root)
    walk.spell()
    said = dict(walk.said)
    twice = next((aspect for i, (aspect, _) in enumerate(walk.said) if aspect in dict(walk.said[:i])), None)
    verdict = sum(VERDICT.get(one, 0) for one in walk.said if one[0] in ("rating", "mood"))
    fields = Fields(**{aspect: value for aspect, value in said.items() if aspect in Fields.__dataclass_fields__})
    text = re.sub(r" (?=[.,])", "", " ".join(walk.words))
    tree, spans = _bracketed(root, walk), tuple(_spans(root))[1:]
    return Analysis(Example(text, fields, tuple(walk.words), tuple(walk.tags), tree, spans, _sentiment(verdict)), twice)


def _bracketed(phrase: _Phrase, walk: _Walk) -> str:
    below = (
        _bracketed(one.only(), walk) if isinstance(one, _Phrase) else f"({walk.tags[one]} {walk.words[one]})"
        for one in phrase.below
    )
    return f"({phrase.label} {' '.join(below)})"


def _spans(phrase: _Phrase) -> Iterator[tuple[int, int, str]]:
    yield phrase.start, phrase.end, phrase.label
    for one in phrase.below:
        if isinstance(one, _Phrase):
            yield from _spans(one.only())
