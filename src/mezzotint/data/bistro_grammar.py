"""The grammar of the bundled corpus: its rules, and their reading.

The rules carry the tree, the tags and what is said, and are the only source of truth: `bistro` writes by them and
`bistro_parser` parses by them. There is no recursion and no empty rule.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache, cached_property
from typing import NamedTuple

# A line at the margin is a symbol; the lines below it are its rules, with `|` between rules that share a line and an
# optional `weight:` in front. `word/TAG` is a word, a bare name is a symbol, `(NP ... )` a phrase.
# `symbol: field` says that field; each rule gives the value in front of `=`, or its own words are the value.
# Three things are settled by `bistro.Reading`: a/DET is "an" before a vowel, &/CCONJ is "but" between opposite verdicts
# and "and" otherwise, and a sentence starts with a capital.
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
   2: front ,/PUNCT name (VP is/AUX described)
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

described
  (NP a/DET mods kind)
base
  3: described
  1: (NP a/DET kind)
brief
  4: described
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
"""All that can be said. Every aspect can be said in several ways, and each way can say every value of it."""


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

    @cached_property
    def right(self) -> tuple[Word | Ref, ...]:
        """The words and symbols it rewrites to, in order."""
        return tuple(item for item in self.items if isinstance(item, Word | Ref))

    @cached_property
    def refs(self) -> tuple[str, ...]:
        """The symbols among them."""
        return tuple(item.symbol for item in self.right if isinstance(item, Ref))

    @property
    def length(self) -> int:
        """How many words are among them."""
        return len(self.right) - len(self.refs)


class Derivation(NamedTuple):
    """A rule with a derivation for each of its symbols, in order: one way to say something."""

    rule: Rule
    parts: tuple[Derivation, ...]


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
