"""Scores of controlled texts: each task against texts that are known, means and not maxima, exact beside near."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from benchmarks.control_targets import BISTRO
from benchmarks.control_targets import bistro_targets as targets
from mezzotint import Wanted
from mezzotint.data import bistro
from mezzotint.evaluate.control import Analysis, bracket_f1, by_grammar, control_scores, successes

ONE = next(bistro.write(1, seed=3))


@pytest.mark.parametrize("task", [part for parts in BISTRO.tasks.values() for part in parts])
def test_a_text_is_what_it_is_itself(task):
    for wanted, other in zip(targets(task, 8, 40), targets(task, 9, 40)[1:], strict=True):
        text = next(
            t.text for t in bistro.corpus("test", 200) if successes(wanted, by_grammar(t.text), t.text)["success"]
        )
        assert successes(wanted, by_grammar(text), text)["success"] == 1.0
        assert wanted != other
        for score, value in successes(wanted, by_grammar("no such text"), "no such text").items():
            assert value == 0.0 or score in ("success_near", "length")


def test_targets_are_the_same_for_everybody_and_told_apart():
    assert targets("spans", 5, 40) == targets("spans", 9, 40)[:5]
    assert all(len(wanted.pos) <= 12 for wanted in targets("pos", 5, 12))


def test_lengths_count_exactly_and_nearly():
    found = Analysis(["a", "b", "c", "d", "e"])
    marks = [successes(Wanted(length=n), found, "") for n in (5, 6, 7, 8)]
    assert [(mark["success"], mark["success_near"]) for mark in marks] == [(1, 1), (0, 1), (0, 1), (0, 0)]


def test_fields_are_exact_and_a_text_without_analysis_says_nothing():
    said = {k: v for k, v in asdict(ONE.fields).items() if v is not None}
    for name, value in said.items():
        assert successes(Wanted(says=((name, value),)), by_grammar(ONE.text), ONE.text)["semantic"] == 1
        assert successes(Wanted(says=((name, value),)), by_grammar(ONE.text + " x"), ONE.text)["semantic"] == 0
        assert successes(Wanted(says=((name, "other"),)), by_grammar(ONE.text), ONE.text)["semantic"] == 0


def test_trees_are_exact_sets_of_brackets_with_f1_beside():
    whole = (len(ONE.words), ONE.spans)
    assert successes(Wanted(tree=whole), by_grammar(ONE.text), "")["bracket_f1"] == 1
    fewer = successes(Wanted(tree=(len(ONE.words), ONE.spans[:-1])), by_grammar(ONE.text), "")
    n = len(ONE.spans)
    assert fewer["tree"] == fewer["success"] == 0 and fewer["bracket_f1"] == pytest.approx(2 * (n - 1) / (2 * n - 1))
    assert bracket_f1([(0, 1, "A"), (0, 1, "A")], [(0, 1, "A")]) == pytest.approx(2 / 3)
    assert bracket_f1([(0, 1, "A")], [(0, 1, "B")]) == 0 and bracket_f1([], []) == 1


def test_words_of_parts_of_speech_count_at_their_place():
    found = Analysis(["a", "b", "c"], tags=("D", "N", "V"))
    assert successes(Wanted(pos=("D", "V", "V", "P")), found, "")["pos_words"] == pytest.approx(2 / 4)
    assert successes(Wanted(pos=("D", "N")), found, "")["pos"] == 0


def test_scores_are_means_over_targets_of_means_over_texts():
    wanted = [Wanted(length=2)] * 3 + [Wanted(length=1)]
    scores = {s.name: s for s in control_scores(wanted, ["a b", "a b", "a", "a"])}
    assert scores["success"].value == pytest.approx((2 / 3 + 1) / 2) and scores["success"].n == 2
    assert scores["success_near"].value == 1 and scores["success"].note == "4 texts"


def test_all_that_is_wanted_has_to_hold_at_once():
    wanted = Wanted(length=2, has=("a",), without=("c",))
    found = successes(wanted, Analysis(["a", "b"]), "a b")
    assert found == {"length": 1, "has": 1, "without": 1, "success": 1, "success_near": 1}
    assert successes(wanted, Analysis(["a", "c"]), "a c")["success"] == 0
