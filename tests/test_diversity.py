"""Diversity scores equal what is counted by hand, and by another program where there is one."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu import sentence_bleu

from mezzotint.errors import UsageError
from mezzotint.evaluate.diversity import (
    TrainingText,
    copied,
    distinct_2,
    diversity,
    duplicates,
    entropy_words,
    lengths,
    rep_4,
    self_bleu,
    unseen_trigrams,
)
from mezzotint.evaluate.table import Score, jackknife_stderr
from mezzotint.evaluate.words import words

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=6).map(" ".join), min_size=2, max_size=6)


def split(*texts: str) -> list[list[str]]:
    return [words(text) for text in texts]


def test_entropy_of_known_texts() -> None:
    assert entropy_words(split("a a b b")).value == pytest.approx(math.log(2))
    assert entropy_words(split("a a a")).value == 0
    assert entropy_words(split("")).value == 0
    assert entropy_words(split("a b c d", "a a")).value == pytest.approx(math.log(4) / 2)


def test_entropy_is_of_words_inside_a_text_not_of_the_pool() -> None:
    assert entropy_words(split("a", "b", "c")).value == 0


def test_distinct_2_of_known_texts() -> None:
    assert distinct_2(split("a b a b", "a b c")).value == pytest.approx(3 / 5)
    assert distinct_2(split("a b", "b c")).value == 1
    assert math.isnan(distinct_2(split("a", "b")).value)


@given(TEXTS)
def test_distinct_2_and_duplicates_leave_one_text_out(texts: list[str]) -> None:
    def distinct(kept: list[str]) -> float:
        grams = [gram for text in kept for gram in pairwise(words(text))]
        return len(set(grams)) / len(grams) if grams else float("nan")

    def repeated(kept: list[str]) -> float:
        return 1 - len(set(kept)) / len(kept)

    without = [texts[:i] + texts[i + 1 :] for i in range(len(texts))]
    assert distinct_2(split(*texts)).value == pytest.approx(distinct(texts), nan_ok=True)
    assert distinct_2(split(*texts)).stderr == pytest.approx(jackknife_stderr([distinct(kept) for kept in without]))
    assert duplicates(texts).value == pytest.approx(repeated(texts))
    assert duplicates(texts).stderr == pytest.approx(jackknife_stderr([repeated(kept) for kept in without]))


def test_self_bleu_of_equal_texts_is_100_and_of_strangers_0() -> None:
    assert self_bleu(split(*["The Swan serves good food ."] * 6)).value == pytest.approx(100)
    assert self_bleu(split("a b c d e", "f g h i j")).value == 0


def test_self_bleu_is_sacrebleu_of_disjoint_halves() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdef"), size=12)) for _ in range(10)]
    order = np.random.default_rng(7).permutation(10)
    references = [texts[i] for i in order[5:]]
    each = [sentence_bleu(texts[i], references, tokenize="none").score for i in order[:5]]
    assert self_bleu(split(*texts), seed=7).value == pytest.approx(np.mean(each))
    assert self_bleu(split(*texts), seed=7).n == 5


def test_self_bleu_takes_at_most_200_against_200() -> None:
    rng = np.random.default_rng(0)
    score = self_bleu([list(rng.choice(list("abcdef"), size=6)) for _ in range(450)])
    assert score.n == 200
    assert "200 texts against 200 others; nrefs:200" in score.note


def test_rep_4_counts_what_was_said_before() -> None:
    assert rep_4(split("a b c d a b c d")).value == pytest.approx(1 / 5)
    assert rep_4(split("a a a a a")).value == pytest.approx(1 / 2)
    score = rep_4(split("a b c d", "a b c"))
    assert (score.value, score.n, score.note) == (0, 1, "1 of 2 texts have fewer than four words")


def test_lengths_in_words() -> None:
    mean, median = lengths(split("a b c .", "a", "a b"))
    assert (mean.value, median.value) == (pytest.approx(7 / 3), 2)


def test_duplicates_of_known_texts() -> None:
    assert duplicates(["a", "a", "a", "b"]).value == 0.5
    assert duplicates(["a", "a "]).value == 0
    assert duplicates(["a"]) == Score("duplicates", 0, None, 1)


def test_unseen_trigrams_of_known_texts() -> None:
    training = TrainingText(["a b c d", "d e f"])
    assert unseen_trigrams(split("a b c d"), training).value == 0
    assert unseen_trigrams(split("c d d", "c d e", "x d e"), training).value == 1, "trigrams do not cross texts"
    assert unseen_trigrams(split("a b c x", "a b c"), training).value == pytest.approx(1 / 3)
    assert math.isnan(unseen_trigrams(split("a b"), training).value)


@given(TEXTS, TEXTS)
@settings(max_examples=50)
def test_unseen_trigrams_and_copied_agree_with_sets(train: list[str], texts: list[str]) -> None:
    def trigrams(text: str) -> list[str]:
        found = words(text)
        return [" ".join(found[i : i + 3]) for i in range(len(found) - 2)]

    known = {gram for text in train for gram in trigrams(text)}
    asked = [gram for text in texts for gram in trigrams(text)]
    unseen = sum(gram not in known for gram in asked) / len(asked) if asked else float("nan")
    inside = [text != "" and any(f" {text} " in f" {other} " for other in train) for text in texts]
    training = TrainingText(train)
    assert unseen_trigrams(split(*texts), training).value == pytest.approx(unseen, nan_ok=True)
    assert copied(split(*texts), training).value == pytest.approx(np.mean(inside))


def test_copied_is_whole_words_of_one_training_text() -> None:
    training = TrainingText(["The Swan is  a pub.", "It is cheap."])
    found = ["The Swan is a pub.", "Swan is a", "he Swan", ". It", "", "is cheap."]
    assert [copied(split(text), training).value for text in found] == [1, 1, 0, 0, 0, 1]


def test_no_training_text_holds_nothing() -> None:
    training = TrainingText([])
    assert unseen_trigrams(split("a b c"), training).value == 1
    assert copied(split("a b c"), training).value == 0


def test_all_scores_in_order_with_errors_and_counts() -> None:
    texts = ["The Swan is a pub .", "The Swan is cheap .", "A pub is near the river ."]
    scores = list(diversity(texts, TrainingText(texts), seed=1))
    names = "entropy_words distinct_2 self_bleu rep_4 words_mean words_median duplicates unseen_trigrams copied"
    assert [s.name for s in scores] == names.split()
    assert all(s.stderr is not None and s.n == 3 for s in scores if s.name != "self_bleu")
    assert [s.name for s in diversity(texts[:1])][1:3] == ["distinct_2", "rep_4"], "one text has no others"


def test_standard_errors_shrink_like_one_over_root_n() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefgh"), size=rng.integers(3, 12))) for _ in range(1600)]
    training = TrainingText(texts[1500:])
    many = {
        s.name: s.stderr for s in diversity(texts[:1440], training) if s.name in ("entropy_words", "unseen_trigrams")
    }
    for score in diversity(texts[:90], training):
        if score.name in many:
            assert score.stderr is not None
            assert score.stderr / many[score.name] == pytest.approx(4, rel=0.3)


def test_no_texts_is_an_error() -> None:
    with pytest.raises(UsageError, match="no texts"):
        list(diversity([]))
