"""What control is measured by on real text: published targets, annotation that stands in the text, strings."""

from __future__ import annotations

import json

import pytest

from benchmarks import control_targets
from benchmarks.control import tagger_rows
from benchmarks.control_targets import (
    E2E,
    as_strings,
    by_strings,
    by_tagger,
    e2e_targets,
    letters_of,
    parse_field,
    published_spans,
    published_tags,
    targets,
)  # fmt: skip
from benchmarks.data import ORIGINALS
from mezzotint import Wanted
from mezzotint.evaluate.control import control_scores

needs_targets = pytest.mark.skipif(
    not (ORIGINALS / "control_targets").exists(), reason="the published targets are not beside the repository"
)


def test_a_published_target_is_a_field_and_its_value_where_texts_have_it_as_a_string():
    assert parse_field('["food", ":", "Fast", "food"]') == ("food", "Fast food")
    assert parse_field('["Type", ":", "coffee", "shop"]') == ("eatType", "coffee shop")
    assert parse_field('["family", "friendly", ":", "yes"]') is None
    assert parse_field(json.dumps(["price", ":", "cheap"])) is None


def test_a_field_is_said_where_its_value_stands_and_a_length_is_exact():
    wanted = Wanted(says=(("food", "Fast food"),), length=6)
    goal = as_strings(wanted)
    texts = ["Cotto sells Fast food here.", "Cotto sells Fast foods here.", "Fast food at Cotto."]
    scores = {s.name: s.value for s in control_scores([goal] * 3, texts, by_strings)}
    assert scores["success"] == 1 / 3 and scores["length"] == 2 / 3 and scores["has"] == 2 / 3
    assert scores["success_near"] == 1.0


class Tags:
    """A tagger that goes by capitals."""

    name = "tagger-0"

    def tags(self, words):
        return tuple("PUNCT" if not word.isalnum() else "PROPN" if word[0].isupper() else "NOUN" for word in words)


def test_parts_of_speech_are_those_that_the_tagger_tells_and_go_with_what_is_said():
    wanted = as_strings(Wanted(says=(("name", "Cotto"),), pos=("PROPN", "NOUN", "PUNCT")))
    texts = ["Cotto serves.", "Cotto Serves.", "Zizzi serves."]
    scores = {s.name: s.value for s in control_scores([wanted] * 3, texts, by_tagger(Tags()))}
    assert scores["success"] == 1 / 3 and scores["pos"] == 2 / 3 and scores["has"] == 2 / 3
    assert scores["pos_words"] == pytest.approx(8 / 9)


def test_rows_name_the_tagger_and_what_it_tells_right(monkeypatch):
    shares = {"words": 0.9, "texts": 0.4, "n": 100}
    monkeypatch.setattr("benchmarks.control.tagger_card", lambda: {"tested": {"ud_ewt": shares}})
    rows = list(tagger_rows("e2e-control-pos", "tagger-0"))
    assert [(r.metric, r.value, r.judge, r.split, r.variant) for r in rows] == [
        ("tags_words", 0.9, "tagger-0", "test", "corpus=ud_ewt"),
        ("tags_texts", 0.4, "tagger-0", "test", "corpus=ud_ewt"),
    ]
    assert E2E.analysis_of("semantic") == (by_strings, None)


@needs_targets
def test_published_parts_of_speech_are_of_our_words_and_have_room(monkeypatch):
    every = {tag for _, tags in published_tags() for tag in tags}
    assert len(published_tags()) == 196 and not every & {"START", "END"}
    assert len(published_tags(whole=True)) == 200
    monkeypatch.setattr(control_targets, "learned_tags", lambda: frozenset(every - {"INTJ"}))
    first = published_tags("target_pos")[0]
    monkeypatch.setattr(
        control_targets, "learned_sentences", lambda: frozenset({letters_of("  ".join(first[0]).upper())})
    )
    assert first[1] not in {one.pos for one in e2e_targets("pos", 200, 30)}, "a sentence that was trained on"
    some = e2e_targets("pos", 20, 30)
    assert len(some) == 20 and all(len(one.pos) <= 30 and "INTJ" not in one.pos for one in some)
    both = e2e_targets("semantic+pos", 20, 40)
    assert len(both) == 20 and all(one.pos and one.says for one in both)


@needs_targets
def test_the_published_spans_do_not_count_start_and_their_end_is_the_last_word_of_the_phrase():
    """What is recorded of them elsewhere has START counted. It is not: see where prepositional phrases begin, and that
    a noun phrase of one word has its own place twice. Tags are those that are published for the same sentences."""
    raw, tags = targets("target_spans"), targets("target_pos")
    assert [one["words_"] for one in raw] == [one["words_"] for one in tags]
    spans = [(span, one["pos"]) for spans, one in zip(raw, tags, strict=True) for span in spans["spans"]]
    assert any(first == last for (first, last, _), _ in spans)

    def share(label: str, end: int, shift: int, right: set[str]) -> float:
        """Of the phrases with a label: how many have such a word at their end 0 or 1, counted so much further."""
        found = [pos[span[end] + shift] in right for span, pos in spans if span[2] == label]
        return sum(found) / len(found)

    nouns = {"NOUN", "PROPN", "PRON", "NUM"}
    # In the list of words START is the first, so that what does not count it stands one further.
    assert share("PP", 0, 1, {"ADP"}) == 1.0 and share("PP", 0, 0, {"ADP"}) < 0.5
    # An end behind the phrase would be the place before.
    assert share("NP", 1, 1, nouns) > 0.95 and share("NP", 1, 0, nouns) < 0.5
    words, (found,) = published_spans()[0]
    assert (words[found[0] : found[1]], found[2]) == (("from", "Café", "Sicilia"), "PP")
