"""The benchmark of infilling: what is cut out, what each kind of system sees of the rest, what counts as right."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import data, infilling, judge, rows, unconditional
from benchmarks.cuts import cut_out, cuts, portions, sentence
from benchmarks.infilling import accuracy_scores, continue_each, fill_gaps
from mezzotint.data.template import parse_template
from mezzotint.data.tokenizer import train_tokenizer
from mezzotint.types import Canvas, Request
from tests.trained import few

LETTERS = train_tokenizer("word", ["a b c d e f g h i j k l"] * 2, [])
HALVES = partial(portions, [1], 2)


@pytest.mark.parametrize(
    ("chosen", "of", "n", "spans"),
    [
        ([1], 3, 9, [(3, 6)]), ([1], 3, 10, [(3, 6)]), ([1], 3, 11, [(3, 7)]), ([1], 3, 3, [(1, 2)]), ([1], 3, 2, []),
        ([1, 3], 5, 10, [(2, 4), (6, 8)]), ([1, 3], 5, 12, [(2, 4), (7, 9)]), ([1, 3], 5, 4, []),
    ],
)  # fmt: skip
def test_portions_are_counted_in_tokens(chosen, of, n, spans):
    assert portions(chosen, of, LETTERS, " ".join("abcdefghijkl"[:n])) == spans


STORY = 'It cost 3.50 there. He left! "Why so?" she said to X. Nobody knew... The end.'


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_the_middle_sentence_of_a_story_is_cut_out_whole(kind):
    story = STORY.replace('"Why so?" she said', "She wept. She spoke").replace(" to X. Nobody knew...", "...")
    tokenizer = train_tokenizer(kind, [story, STORY] * 2, [])
    (found,) = cuts(tokenizer, [story, STORY, story + " And"], partial(sentence, 2, 5), 99)
    assert found.parts == ("It cost 3.50 there. He left! ", " She spoke... The end.")
    assert tokenizer.decode(found.ids[slice(*found.spans[0])], virtual_space=False) == " She wept."
    assert sentence(0, 5, tokenizer, story)[0][0] == 0 and sentence(4, 5, tokenizer, story)[0][1] == len(found.ids)


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_what_is_cut_is_what_the_truth_fills(kind):
    """By bytes too, where a gap may begin inside a word, and a text goes where it would begin inside a character."""
    texts = [" ".join(["hót", "cold", "nëär", "é", "new"][(i * k) % 5] for k in range(9)) for i in range(1, 40)]
    tokenizer = train_tokenizer(kind, texts, [], bpe_size=258)
    for spans in (partial(portions, [1], 3), partial(portions, [1, 3], 5)):
        found = list(cuts(tokenizer, texts, spans, 99))
        assert found and (kind == "word" or len(found) < len(texts))
        for each in found:
            template = parse_template(each.template())
            ids, given, start = template.fill(tokenizer, each.lengths)
            gaps = {i for span in each.spans for i in range(*span)}
            assert len(ids) == len(each.ids) and {i for i, known in enumerate(given) if not known} == gaps
            assert all(i == j for i, j, known in zip(ids, each.ids, given, strict=True) if known)
            assert all(tokenizer.spaced[each.ids[i]] == (start[i] > 0) for i in gaps if start[i])
            assert template.text(tokenizer, each.ids) == each.text


def test_texts_that_cannot_be_asked_for_are_passed_over():
    texts = ["a b c", "a [ b", "a \\ b", "a x b", "a  b", "b c d e", "a b"]
    tokenizer = train_tokenizer("word", ["a b c d e [ \\"] * 2, [])
    assert sorted(each.text for each in cuts(tokenizer, texts, HALVES, 3)) == ["a b", "a b c"]


def test_rightness_of_a_case_that_can_be_counted():
    chosen = [
        cut_out(LETTERS, text, LETTERS.encode(text), spans)
        for text, spans in (("a b c d", [(1, 3)]), ("a b c d e f", [(0, 2), (4, 6)]), ("k l", [(1, 2)]))
    ]
    texts = ["a b x d".replace("x", "d"), "a c c d e f", "k l"]  # 1 of 2, 3 of 4, 1 of 1
    samples = [SimpleNamespace(text=text, ids=LETTERS.encode(text)) for text in texts]
    share, whole = accuracy_scores(chosen, samples)
    assert (share.name, share.n, share.value) == ("gap_token_accuracy", 3, pytest.approx(5 / 7))
    assert (whole.name, whole.n, whole.value) == ("exact_match", 3, pytest.approx(1 / 3))
    assert whole.stderr == pytest.approx(1 / 3) and 0.05 < share.stderr < 0.2
    # What is given does not count, whatever became of it.
    samples[0].ids[0] = samples[0].ids[3] = 0
    assert next(accuracy_scores(chosen, samples)).value == share.value


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with runs, and what the benchmark looks for put in their place."""
    root = tmp_path_factory.mktemp("infilling")
    vector = {"width": "4", "speaks": "vector"}
    systems = [("mdlm", "mdlm", {}), ("ar", "ar", {}), ("sed", "sed", {"width": "4"}), ("vector", "sed", vector)]
    runs = few(root, systems)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(rows, "_git", lambda *words: "")
        patch.setattr(data, "corpus_files", lambda name: data.Data("texts.txt", "texts.txt", "texts.txt"))
        patch.setitem(unconditional.SETTINGS, "e2e", unconditional.Setting(1))
        patch.setitem(judge.RECIPES, "e2e", SimpleNamespace(kept=Path("ar")))
        patch.setitem(infilling.CORPORA, "e2e", replace(infilling.CORPORA["e2e"], longest=11))
        yield runs


def some(run, spans, n=20):
    texts = Path("texts.txt").read_text().splitlines()
    return list(cuts(run.tokenizer, texts, spans, 11))[:n]


@pytest.mark.parametrize("name", ["mdlm", "sed"])
def test_infillers_see_the_rest_and_write_what_is_missing(workshop, name):
    run, how = workshop[name], {"steps": 3, "temperature": 1.0}
    chosen = some(run, infilling.CORPORA["e2e"].cuts["two"])
    samples = fill_gaps(run, chosen, how)
    for seed, (each, sample) in enumerate(zip(chosen, samples, strict=True)):
        assert len(sample.ids) == len(each.ids) and sample.gaps == each.lengths and sample.seed == seed
        kept = [i for i in range(len(each.ids)) if not any(a <= i < b for a, b in each.spans)]
        assert [sample.ids[i] for i in kept] == [each.ids[i] for i in kept]
        assert run.infill(each.template(), seed=seed, **how)[0].text == sample.text
    assert len({sample.ids[each.spans[0][0]] for each, sample in zip(chosen, samples, strict=True)}) > 2


def greedy(run, before, span):
    """The likeliest tokens of a gap one by one, by the likelihood of every text that could go on so."""
    ids = list(before[: span[0]])
    for place in range(*span):
        can = [v for v in range(run.tokenizer.size) if v not in run.tokenizer.special]
        if place == span[0]:
            can = [v for v in can if run.tokenizer.spaced[v] == run.tokenizer.spaced[before[place]]]
        texts = torch.tensor([[*ids, v] for v in can])
        whole = torch.ones_like(texts, dtype=torch.bool)
        nll = run.system.token_nll(Canvas(texts, ~whole, whole, torch.arange(len(can))))[:, -1]
        ids.append(can[int(nll.argmin())])
    return ids[slice(*span)]


def test_a_writer_from_left_to_right_sees_what_stands_before_and_writes_as_much(workshop):
    run, how = workshop["ar"], {"steps": 1, "temperature": 0}
    chosen = some(run, infilling.CORPORA["e2e"].cuts["two"], 12)
    for each, sample in zip(chosen, continue_each(run, chosen, how), strict=True):
        row = list(each.ids)
        for span in each.spans:
            row[slice(*span)] = greedy(run, row, span)
        assert sample.ids == row and sample.text == run.tokenizer.decode(row) and sample.nfe == sum(each.lengths)
    drawn, again, alone = (
        continue_each(run, these, {**how, "temperature": 1.0}) for these in (chosen, chosen, chosen[:1])
    )
    assert drawn == again and alone == drawn[:1]
    assert len({sample.ids[each.spans[0][0]] for each, sample in zip(chosen, drawn, strict=True)}) > 2


def test_equal_beginnings_go_on_differently_and_as_the_gap_begins(workshop, monkeypatch):
    run, how = workshop["ar"], {"steps": 1, "temperature": 1.0}
    (each,) = some(run, HALVES, 1)
    assert len({tuple(sample.ids) for sample in continue_each(run, [each] * 12, how)}) > 3
    begin, end = each.spans[0]
    for spaced, demand in ((True, 1), (False, -1)):
        monkeypatch.setattr(run.tokenizer, "spaced", [spaced] * run.tokenizer.size)
        monkeypatch.setattr(run.task_builder, "_request", lambda canvas, *_: Request(canvas))
        canvas = infilling.exact_length_task(run, each.ids, begin, end, how).canvas
        assert canvas.start.tolist() == [[0] * begin + [demand] + [0] * (end - begin - 1)]


def test_what_comes_after_a_gap_does_not_reach_it_and_it_does_not_end(workshop, monkeypatch):
    run = workshop["ar"]
    texts = ["The old river is cold , near by .", "The old river is cold pub A was ."]
    chosen = [cut_out(run.tokenizer, text, run.tokenizer.encode(text), [(2, 5)]) for text in texts]
    first, second = continue_each(run, chosen, {"steps": 1, "temperature": 0})
    assert first.ids[:5] == second.ids[:5] and first.ids[5:] != second.ids[5:]
    ends = 99 * torch.eye(run.tokenizer.size)[run.tokenizer.end]  # for a network that would end every text at once
    monkeypatch.setattr(run.system, "net", lambda *a, net=run.system.net, **how: net(*a, **how) + ends)
    assert len(continue_each(run, chosen, {"steps": 1, "temperature": 0})[0].ids) == 9


# -- the command ------------------------------------------------------------------------------------------------------


def call(patch, *words):
    """The rows after a call of the benchmark."""
    patch.setattr(sys, "argv", ["infilling", "e2e", "--n", "4", "--steps", "2", "--out", "results", *words])
    infilling.main()
    return rows.read(Path("results/e2e-infill.json"))


def test_it_goes_on_where_it_was_stopped_and_measures_nothing_twice(workshop, monkeypatch):
    asked = ["--runs", "sed", "ar", "--guidance", "1", "2.5", "--temperatures", "1", "0"]
    with pytest.raises(SystemExit, match=r"sed, cut=middle: still to be measured; call again to go on"):
        call(monkeypatch, *asked, "--minutes", "0")
    found = call(monkeypatch, *asked)
    named = {"ar": ["cut={}"], "sed": ["cut={}", "cut={},guidance=2.5"]}
    expected = {
        (system, name.format(cut) + temperature)
        for system, names in named.items() for name in names for cut in ("middle", "two")
        for temperature in ("", ",temperature=0")
    }  # fmt: skip
    arms = {(row.system, row.variant) for row in found if row.metric == "gap_token_accuracy"}
    assert arms == expected == {(row.system, row.variant) for row in found if row.metric == "exact_match"}
    of_data = {(row.variant, row.n) for row in found if (row.system, row.metric) == ("data", "judge_nll")}
    assert of_data == {("cut=middle", 4), ("cut=two", 4)}
    judged = [row for row in found if row.metric == "judge_nll" and row.system != "data"]
    assert len(judged) == len(arms) and {row.steps for row in judged} == {2, None} and all(row.judge for row in judged)
    nfe = {row.variant: row.nfe for row in judged if row.system == "sed"}
    assert nfe["cut=two,guidance=2.5"] == 2 * nfe["cut=two"]
    monkeypatch.setattr(infilling.Infilling, "quality", None)
    monkeypatch.setattr("benchmarks.unconditional.data_rows", None)
    assert call(monkeypatch, *asked) == found
    with pytest.raises(TypeError):
        call(monkeypatch, *asked, "--n", "3")


def test_what_a_run_cannot_do_is_left_out_and_runs_are_told_apart(workshop, monkeypatch, capsys):
    with pytest.raises(SystemExit, match="would have the same rows"):
        call(monkeypatch, "--runs", "sed", "vector")
    named = [
        "--runs",
        "vector",
        "--named",
        "speaks=vector",
        "--temperatures",
        "0",
        "1",
        "--decoders",
        "confidence",
        "ddim",
    ]
    found = [row for row in call(monkeypatch, "--cuts", "two", *named) if "speaks" in row.variant]
    assert {row.variant for row in found} == {"cut=two,decoder=ddim,speaks=vector"}
    assert "leave temperature and top_p at 1" in capsys.readouterr().out
    monkeypatch.setitem(infilling.CORPORA, "e2e", replace(infilling.CORPORA["e2e"], longest=99))
    with pytest.raises(SystemExit, match="it takes 99 and an end"):
        call(monkeypatch, "--runs", "mdlm")
