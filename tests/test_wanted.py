"""What a person wants of texts, from the command to the sample: kept where it can be, said where it is not."""

from __future__ import annotations

import json
import math

import pytest
import torch

import mezzotint
from mezzotint import CapabilityError, UsageError, Wanted
from mezzotint.cli.main import main
from mezzotint.data.canvas import free
from mezzotint.data.template import Gap
from mezzotint.guidance.constraint import Classified
from mezzotint.guidance.phrases import Contains
from mezzotint.guidance.wanted import least_tokens, roomy_gaps
from mezzotint.spec.wanted import occurs
from mezzotint.tasks import Task
from mezzotint.types import Request
from tests.trained import few

FILL = {"ending": "fill"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("wanted")
    vectors = {"width": "4"}
    made = [
        ("mdlm", "mdlm", {}),
        ("fill", "mdlm", FILL),
        ("qe", "qe-cdlm", vectors),
        ("wide", "mdlm", {"canvas": "16"}),
    ]
    return few(root, made)


def test_words_are_whole_and_may_begin_a_sentence():
    assert occurs("the old pub", "The old pub.") and occurs("pub", "a pub, cold") and not occurs("pub", "pubs")
    assert not occurs("Pub", "a pub")
    assert occurs(".", "Food.") and occurs("food.", "Good food.") and occurs(", and", "old, and new")
    assert not occurs("food.", "seafood.") and not occurs(", and", "old, android")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"length": 0}, "at least 1"),
        ({"has": (" ",)}, "must be words"),
        ({"has": ("old pub",), "without": ("pub",)}, "cannot have 'old pub' without 'pub'"),
        ({"has": "pub"}, "has is a list, not one string; as in has=\\['pub'\\]"),
        ({"pos": "DET NOUN"}, "pos is a list"),
        ({"says": ("food", "Thai")}, "pairs of a field and its value"),
        ({"spans": ((0, 2),)}, "word after the last"),
        ({"tree": "(S * *)"}, "read_tree"),
        ({"tree": ("3", ())}, "read_tree"),
        ({"tree": (4, ((0, 3),))}, "read_tree"),
        ({"tree": (3, ((0, 5, "NP"),))}, "no 0:5=NP in a text of 3 words"),
        ({"tree": (3, ((0, 2, "NP"), (1, 3, "VP")))}, "0:2 and 1:3 cross"),
        ({"pos": (1, 2)}, "pos is a list of parts of speech"),
        ({"says": (("food", 3),)}, "both strings"),
        ({"spans": (("a", 2, "NP"),)}, "word after the last"),
        ({"spans": ((0, 2, 5),)}, "word after the last"),
    ],
)
def test_what_contradicts_itself_is_refused(how, sentence):
    with pytest.raises(UsageError, match=sentence):
        Wanted(**how)


def test_lists_and_mappings_are_taken_as_tuples():
    wanted = Wanted(has=["pub"], says={"food": "Thai"}, spans=[[0, 2, "NP"]])
    assert wanted == Wanted(has=("pub",), says=(("food", "Thai"),), spans=((0, 2, "NP"),)) and hash(wanted)


@pytest.mark.parametrize("name", ["mdlm", "fill"])
def test_masked_runs_keep_lengths_and_words_exactly(runs, name):
    wanted = Wanted(length=4, has=("river", "old pub"), without=("stands", "near", "cold"))
    for sample in runs[name].generate(20, steps=3, wanted=wanted):
        assert sample.unmet == () and len(sample.ids) == 4
        assert occurs("river", sample.text) and occurs("old pub", sample.text)
    for sample in runs[name].generate(20, steps=2, wanted=Wanted(has=("river",))):
        assert sample.unmet == ()


def test_vectors_keep_lengths_and_bans_and_say_what_they_miss(runs):
    wanted = Wanted(length=3, has=("river",), without=("old", "new", "The"))
    samples = runs["qe"].generate(12, steps=4, wanted=wanted)
    for sample in samples:
        assert len(sample.ids) == 3 and not {"old", "new", "The"} & set(sample.text.split())
        assert sample.unmet == (() if occurs("river", sample.text) else ("with 'river'",))
    assert any(sample.unmet for sample in samples)


def test_templates_are_filled_as_wanted(runs):
    for sample in runs["mdlm"].infill("The [3] pub [2]", 8, steps=2, wanted=Wanted(has=("river",), without=("cold",))):
        assert sample.unmet == () and sample.text.startswith("The ") and sample.gaps == (3, 2)
    overlapping = Wanted(has=("old pub", "The old", "pub"))
    (sample,) = runs["mdlm"].infill("The old pub [1]", 1, steps=2, wanted=overlapping)
    assert sample.unmet == (), "phrases that overlap take no room of their own"
    with pytest.raises(UsageError, match="says how long"):
        runs["mdlm"].infill("The [3]", wanted=Wanted(length=3))
    with pytest.raises(UsageError, match="is forbidden"):
        runs["mdlm"].infill("The cold [3]", wanted=Wanted(without=("cold",)))


@pytest.mark.parametrize(
    ("name", "wanted", "sentence"),
    [
        ("mdlm", Wanted(length=99), "at most"),
        ("mdlm", Wanted(length=3, has=("The", "A", "old", "new", "river", "pub", "near")), "no room for 7"),
        ("mdlm", Wanted(has=("rivers",)), "unknown word 'rivers'; did you mean 'river'"),
        ("qe", Wanted(length=1, has=("old pub",)), "no room for 2"),
        ("wide", Wanted(length=3), "windows"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(runs, monkeypatch, name, wanted, sentence):
    monkeypatch.setattr(runs[name].system, "denoise", None)
    kind = CapabilityError if sentence == "windows" else UsageError
    with pytest.raises(kind, match=sentence):
        runs[name].generate(2, wanted=wanted)


def test_gaps_are_long_enough_for_what_they_are_to_contain(runs):
    wanted = Wanted(has=("old river",))
    for seed in range(6):
        for sample in runs["mdlm"].infill("The [1] pub [1-4]", 6, steps=2, seed=seed, wanted=wanted):
            assert sample.unmet == () and sample.gaps[1] >= 2
    # What is given already takes no room.
    found = runs["mdlm"].infill("The old river [1-4]", 60, steps=1, wanted=wanted)
    assert {sample.gaps for sample in found} == {(n,) for n in range(1, 5)}
    assert roomy_gaps([Gap(1, 2), Gap(1, 5), Gap(2, 3)], 7) == [Gap(1, 2), Gap(5, 5), Gap(2, 3)]
    assert roomy_gaps([Gap(1, 2), Gap(1, 5)], 99) == [Gap(2, 2), Gap(5, 5)]


def test_spans_count_from_the_beginning_of_a_prefix():
    spans = Wanted(spans=((0, 9, "S"),))
    assert [least_tokens(spans, [], prefix) for prefix in (0, 6, 10)] == [9, 9, 11]
    phrase = [Contains(phrases=((1, 2), (3,) * 4))]
    assert [least_tokens(spans, phrase, prefix) for prefix in (0, 8)] == [9, 10]


def test_a_text_that_ends_before_what_is_wanted_does_not_have_it():
    """Whatever a classifier makes of places behind the end."""
    ids, canvas = torch.tensor([[3, 4, 0, 0], [3, 4, 5, 0]]), free([4, 4], [0, 1], 0)
    sure = Classified(
        log_p=lambda view: view.noised.t, judge=lambda ids, canvas: torch.ones(2, dtype=torch.bool),
        chance=lambda ids, canvas: torch.zeros(2, dtype=torch.float64), words=3, name="with 1:3=NP",
    )  # fmt: skip
    task = Task(canvas, Request(canvas), wanted=Wanted(spans=((1, 3, "NP"),)), classified=[sure], end=0)
    assert task.unmet(ids, [("a b", 2), ("a b c", 3)]) == [("with 1:3=NP",), ()]
    assert task.chances(ids, [2, 3]) == [-math.inf, 0.0]


def test_texts_that_are_wanted_alike_are_those_of_any_batch(runs):
    wanted = Wanted(has=("river",), without=("cold",))
    apart = runs["mdlm"].generate(6, batch_size=2, steps=3, wanted=wanted)
    assert [s.text for s in apart] == [s.text for s in runs["mdlm"].generate(6, steps=3, wanted=wanted)]


def test_the_command(runs, capsys):
    folder = str(runs["mdlm"].folder)
    assert main(["control", folder, "--length", "5", "--has", "river", "--without", "cold", "-n", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    records = [json.loads(line) for line in out.splitlines()]
    assert len(records) == 3 and all(record["unmet"] == [] for record in records)
    assert "3 of 3 texts are as wanted" in err and "words and punctuation marks" in err
    assert main(["control", folder, "--length", "2", "--has", "river", "--has", "old pub"]) == 2
    out, err = capsys.readouterr()
    assert not out and "no room for 3" in err and err.count("mezzotint: ") == 1
    assert main(["control", folder]) == 2
    assert "say what is wanted" in capsys.readouterr()[1]


def test_systems_without_control_refuse_it(runs):
    assert mezzotint.Can.CONTROL in runs["qe"].card.can
    made = next(card for card in mezzotint.cards() if card.name == "sed")
    assert mezzotint.Can.CONTROL not in made.can
