"""The bundled corpus: what is written is judged to be exactly what it was written to be, and little else passes."""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, astuple, replace
from hashlib import sha256
from itertools import product
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.data import bistro
from mezzotint.data.bistro import Example, Fields, corpus, fields_line, inside, judge, paraphrase, split_of, write
from mezzotint.data.bistro_grammar import ASPECTS, rules, values
from mezzotint.data.bistro_parser import Chart
from mezzotint.errors import UsageError

UNIVERSAL = {"ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "NOUN", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "VERB"}
FULL = Fields("The Copper Kettle", "Thai", "cheap", "old town", "poor", "no", "river")


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return list(write(2000, seed=1))


# --- the grammar


def test_every_symbol_is_used_and_every_way_to_say_an_aspect_can_say_all_of_it() -> None:
    used = {"text"}.union(*(rule.refs for some in rules().values() for rule in some))
    assert used == set(rules())
    for some in rules().values():
        aspect = some[0].aspect
        if aspect and aspect != "name":
            assert {rule.value for rule in some} == set(values(aspect))


def test_every_set_of_fields_can_be_said_in_6_to_40_words() -> None:
    shortest = inside(min, operator.add, lambda rule: rule.length)["text"]
    longest = inside(max, operator.add, lambda rule: rule.length)["text"]
    assert set(shortest) == set(range(1, 2 ** len(ASPECTS), 2))
    assert min(shortest.values()) == 6
    assert max(longest.values()) <= 40


@pytest.mark.parametrize("symbol", ["traits", "stuff", "fare"])
def test_the_count_of_derivations_is_that_of_listing_them(symbol: str) -> None:
    def said(found: bistro.Derivation) -> list[str]:
        own = [found.rule.aspect] if found.rule.aspect else []
        return sum(map(said, found.parts), own)

    listed = Counter(frozenset(s) for s in map(said, bistro._all(symbol)) if len(set(s)) == len(s))
    counted = inside(operator.add, operator.mul, lambda rule: 1)[symbol]
    assert {frozenset(a for i, a in enumerate(ASPECTS) if m >> i & 1): n for m, n in counted.items()} == listed


def test_memorising_is_impossible() -> None:
    # A derivation is a text: none has two.
    assert sum(inside(operator.add, operator.mul, lambda rule: 1)["text"].values()) > 10**15


# --- what is written


def test_the_judge_finds_exactly_what_was_written(examples: list[Example]) -> None:
    for example in examples:
        verdict = judge(example.text)
        assert verdict.accepted, (example.text, verdict.reason)
        assert verdict.analysis == example
        assert verdict.fields == example.fields


def test_no_text_is_ambiguous(examples: list[Example]) -> None:
    assert all(len(Chart(example.text).derivations) == 1 for example in examples[:1000])


def test_sizes_are_those_of_the_demo(examples: list[Example]) -> None:
    more = examples + list(write(3000, seed=1, start=2000))
    pieces = {piece for e in more for piece in re.findall(r" ?\w+| ?[^\w\s]", " " + e.text)}
    lengths = [len(e.words) for e in more]
    assert 300 <= len(pieces) <= 400
    assert median(lengths) <= 14
    assert min(lengths) >= 6
    assert max(lengths) <= 40
    assert len({e.text for e in more}) >= 0.99 * len(more)


def _read_tree(tree: str) -> tuple[list[str], list[str], list[tuple[int, int, str]]]:
    """Words, tags and phrases of a bracketed tree, outer phrases first."""
    words: list[str] = []
    tags: list[str] = []
    spans: list[tuple[int, int, str]] = []
    stack: list[int] = []
    for phrase, tag, word, close in re.findall(r"\((\w+) (?=\()|\((\w+) (\S+?)\)|(\))", tree):
        if phrase:
            stack.append(len(spans))
            spans.append((len(words), -1, phrase))
        elif tag:
            words.append(word)
            tags.append(tag)
        elif close:
            at = stack.pop()
            spans[at] = (spans[at][0], len(words), spans[at][2])
    assert not stack
    return words, tags, spans


def test_tree_tags_spans_and_text_agree(examples: list[Example]) -> None:
    for example in examples:
        words, tags, spans = _read_tree(example.tree)
        assert tuple(words) == example.words
        assert tuple(tags) == example.tags
        assert spans[0] == (0, len(words), "ROOT")
        assert tuple(spans[1:]) == example.spans
        assert len(set(example.spans)) == len(example.spans)
        assert re.findall(r"\w+|[^\w\s]", example.text) == words


def test_tags_are_universal_and_marks_and_names_are_tagged_so(examples: list[Example]) -> None:
    assert {tag for e in examples for tag in e.tags} == UNIVERSAL
    for example in examples:
        for word, tag in zip(example.words, example.tags, strict=True):
            assert (tag == "PUNCT") == (word in ".,")
        assert example.fields.name in example.text


def test_articles_and_capitals(examples: list[Example]) -> None:
    for example in examples:
        sentences = example.text.split(". ")
        assert all(sentence[0].isupper() for sentence in sentences)
        assert example.text.endswith(".")
        assert not re.search(r"\b[Aa] [aeiouAEIOU]|\b[Aa]n [^aeiouAEIOU]", example.text), example.text


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("The Red Fox is cheap and superb.", True),
        ("The Red Fox is cheap but superb.", False),
        ("The Red Fox is cheap but poor.", True),
        ("The Red Fox is cheap and poor.", False),
        ("The Red Fox is a cheap Thai pub, but the staff are rude.", True),
        ("The Red Fox is a cheap Thai pub, and the staff are rude.", False),
        ("The Red Fox is average and pricey.", True),
    ],
)
def test_but_stands_between_opposite_verdicts_only(text: str, accepted: bool) -> None:
    assert judge(text).accepted == accepted


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("The Red Fox is a superb Thai pub.", "positive"),
        ("The Red Fox is a poor Thai pub.", "negative"),
        ("The Red Fox is an average Thai pub.", "neutral"),
        ("The Red Fox is a cheap Thai pub.", "neutral"),
        ("The Red Fox is a Thai pub. The staff are rude.", "negative"),
        ("The Red Fox is a superb Thai pub. The staff are rude.", "neutral"),
    ],
)
def test_sentiment_weighs_rating_and_remark(text: str, sentiment: str) -> None:
    analysis = judge(text).analysis
    assert analysis is not None
    assert analysis.sentiment == sentiment


def test_an_analysis_written_by_hand() -> None:
    verdict = judge("The Copper Kettle is a cheap Thai place near the old bridge.")
    assert verdict.analysis == Example(
        text="The Copper Kettle is a cheap Thai place near the old bridge.",
        fields=Fields("The Copper Kettle", food="Thai", price="cheap", near="old bridge"),
        words=("The", "Copper", "Kettle", "is", "a", "cheap", "Thai", "place", "near", "the", "old", "bridge", "."),
        tags=("DET", "PROPN", "PROPN", "AUX", "DET", "ADJ", "ADJ", "NOUN", "ADP", "DET", "ADJ", "NOUN", "PUNCT"),
        tree="(ROOT (S (NP (DET The) (PROPN Copper) (PROPN Kettle)) (VP (AUX is) (NP (NP (DET a) (ADJ cheap) "
        "(ADJ Thai) (NOUN place)) (PP (ADP near) (NP (DET the) (ADJ old) (NOUN bridge))))) (PUNCT .)))",
        spans=((0, 13, "S"), (0, 3, "NP"), (3, 12, "VP"), (4, 12, "NP"), (4, 8, "NP"), (8, 12, "PP"), (9, 12, "NP")),
        sentiment="neutral",
    )


# --- what is not


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there are no words"),
        ("Lorem ipsum", "word 1, 'Lorem', cannot stand there"),
        ("The Copper Fox is a small pub. The pub is cheap.", "word 10, 'pub', cannot stand there"),
        ("The Copper Zebra is a small pub.", "word 3, 'Zebra', cannot stand there"),
        ("The Copper Fox is a pub", "the text stops too early, after word 6, 'pub'"),
        ("The Copper Fox is a small pub..", "word 9, '.', cannot stand there"),
        ("The Copper Fox is a Italian pub.", "word 5 is 'a' and should be 'an'"),
        ("the Copper Fox is a Thai pub.", "word 1 is 'the' and should be 'The'"),
        ("The Copper Fox is a cheap pub. It is cheap.", "the price is said twice"),
        ("The Copper Fox is a cheap pub. Its prices are steep.", "the price is said twice"),
        ("The Copper Fox is a  Thai pub.", "the spaces of 'The Copper Fox is a  Thai pub.' are not those of"),
    ],
)
def test_a_refusal_names_the_first_word_at_fault(text: str, reason: str) -> None:
    verdict = judge(text)
    assert not verdict.accepted
    assert verdict.fields is None
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize("change", [str.lower, str.upper, lambda t: t + " ", lambda t: t[:-1], lambda t: t + "\n"])
def test_a_text_is_accepted_letter_for_letter_only(change: object, examples: list[Example]) -> None:
    assert callable(change)
    assert not any(judge(change(e.text)).accepted for e in examples[:100])


def _mutants(example: Example, rng: Random, vocabulary: list[str]) -> Iterator[str]:
    words = list(example.words)
    i, j = rng.sample(range(len(words)), 2)
    yield _text(words[:i] + words[i + 1 :])
    yield _text([*words[:i], words[i], *words[i:]])
    yield _text([*words[:i], rng.choice(vocabulary), *words[i + 1 :]])
    words[i], words[j] = words[j], words[i]
    yield _text(words)
    yield _text(rng.choices(vocabulary, k=len(words)))


def _text(words: list[str]) -> str:
    return re.sub(r" (?=[.,])", "", " ".join(words))


def test_few_mutants_pass_and_those_that_pass_are_consistent(examples: list[Example]) -> None:
    rng, vocabulary = Random(0), sorted({word for e in examples for word in e.words})
    mutants = [(e, text) for e in examples[:400] for text in _mutants(e, rng, vocabulary) if text != e.text]
    verdicts = [(e, text, judge(text)) for e, text in mutants]
    assert sum(v.accepted for *_, v in verdicts) < 0.05 * len(mutants)
    for _, text, verdict in verdicts:
        if verdict.analysis is not None:
            assert verdict.analysis.text == text
            assert judge(paraphrase(verdict.analysis.fields).text).fields == verdict.analysis.fields


def test_another_value_in_place_of_one_is_heard() -> None:
    text = "The Red Fox, a {} pub near the river, serves {} food."
    for price, food in product(["cheap", "pricey"], values("food")):
        fields = judge(text.format(price, food)).fields
        assert fields == Fields("The Red Fox", food, {"cheap": "cheap", "pricey": "expensive"}[price], near="river")


# --- seeds, slices, splits


@settings(max_examples=25, deadline=None)
@given(st.integers(), st.integers(0, 10**9), st.integers(0, 5), st.integers(1, 5))
def test_an_example_depends_on_seed_and_place_only(seed: int, start: int, skip: int, n: int) -> None:
    whole = list(write(skip + n, seed, start))
    assert list(write(n, seed, start + skip)) == whole[skip:]
    assert all(judge(e.text).analysis == e for e in whole)


def test_seeds_differ() -> None:
    assert not {e.text for e in write(50, 0)} & {e.text for e in write(50, 1)}


def test_no_text_is_in_two_splits_and_splits_are_all_that_is_written() -> None:
    written = list(write(200, seed=3))
    found: list[Example] = []
    for split in ("train", "valid", "test"):
        mine = [e for e in written if split_of(e.text) == split]
        assert mine
        assert list(corpus(split, len(mine), seed=3)) == mine
        assert list(bistro.texts(split, len(mine), seed=3)) == [e.text for e in mine]
        found += mine
    assert len(found) == len(written)
    with pytest.raises(UsageError, match="did you mean 'train'"):
        corpus("trian", 1)


def test_a_split_has_its_share(examples: list[Example]) -> None:
    shares = Counter(split_of(e.text) for e in examples)
    assert 0.77 < shares["train"] / len(examples) < 0.83
    assert 0.08 < shares["valid"] / len(examples) < 0.12


def test_the_corpus_has_not_changed() -> None:
    """If this fails on purpose, judges and results that were made with the old corpus must be made again."""
    examples = "\n".join(repr(astuple(e)) for e in write(200))
    assert sha256(examples.encode()).hexdigest()[:16] == "236be7217a919e60"


# --- fields and paraphrases


def test_fields_line() -> None:
    some = "name = The Copper Kettle; food = Thai; price = cheap; area = old town"
    assert fields_line(FULL) == some + "; rating = poor; family = no; near = river"
    assert fields_line(Fields("The Red Fox", near="river")) == "name = The Red Fox; near = river"


def test_paraphrases_say_the_same(examples: list[Example]) -> None:
    for seed, example in enumerate(examples[:200]):
        other = paraphrase(example.fields, seed)
        assert judge(other.text).fields == example.fields
        same = paraphrase(example.fields, seed, example.sentiment)
        assert (same.fields, same.sentiment) == (example.fields, example.sentiment)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_fields_can_be_said(data: st.DataObject) -> None:
    chosen = {a: data.draw(st.none() | st.sampled_from(values(a)), a) for a in asdict(FULL) if a != "name"}
    fields = Fields(data.draw(st.sampled_from(list(bistro.names()))), **chosen)
    example = paraphrase(fields, data.draw(st.integers()))
    assert judge(example.text).analysis == example
    assert example.fields == fields


def test_paraphrases_are_many() -> None:
    assert len({paraphrase(FULL, seed).text for seed in range(50)}) > 45


@pytest.mark.parametrize(
    ("fields", "sentiment", "message"),
    [
        (replace(FULL, food="Thia"), None, "unknown food 'Thia'; did you mean 'Thai'?"),
        (replace(FULL, name="Joe's"), None, "no restaurant of this grammar is called 'Joe's'"),
        (FULL, "happy", "unknown sentiment 'happy'"),
        (FULL, "positive", "a text rated 'poor' cannot be positive"),
    ],
)
def test_what_cannot_be_said_is_refused(fields: Fields, sentiment: str | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        paraphrase(fields, 0, sentiment)
    assert str(caught.value).startswith(message)
