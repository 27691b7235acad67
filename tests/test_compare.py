"""Runs side by side: the figures are those that each run gets by itself, and what cannot be compared is said."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest

import mezzotint
from mezzotint import CapabilityError, UsageError
from mezzotint.assess.scores import bound, text_scores
from mezzotint.cli.main import main
from mezzotint.comparison import measure
from mezzotint.comparison.measure import compare
from mezzotint.comparison.page import page, write_page
from mezzotint.comparison.request import check_compared
from mezzotint.comparison.tables import Cell, tables
from mezzotint.evaluate.fluency import Swept, matched_sweep
from mezzotint.held_out import Texts
from mezzotint.judge import Judge
from tests.trained import few, translator

N = 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("compared")
    made = few(root, [("mdlm", "mdlm", {}), ("ar", "ar", {}), ("judge", "ar", {"dim": "16"})])
    (root / "apart").mkdir()
    lines = [f"{'Every' if i % 3 else 'No'} {'word here' * (i % 4)} differs" for i in range(90)]
    return made | {"other": few(root / "apart", [("other", "mdlm", {})], lines)["other"], "de-en": translator(root)}


@pytest.fixture(scope="module")
def found(runs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "TEMPERATURES", (0.3, 1.0))
        patch.setattr(measure, "footprint", lambda folder: 123.0)
        both = [runs["mdlm"].folder, runs["ar"].folder]
        yield compare(both, judge=runs["judge"].folder, steps=(4, 2), n=N, curve=True, entropy_of_first=True)


def texts_of(runs):
    return runs["mdlm"].folder.parent / "texts.txt"


def test_figures_are_those_that_each_run_gets_by_itself(runs, found):
    judge = Judge(runs["judge"])
    mdlm, ar = found.runs
    assert [point.steps for point in mdlm.points] == [2, 4]
    training = measure.training_text(runs["mdlm"])
    for point in mdlm.points:
        samples = runs["mdlm"].generate(N, steps=point.steps)
        expected = list(text_scores([s.text for s in samples], judge, training, False))
        assert [s.to_json() for s in point.scores] == [s.to_json() for s in expected]
        assert point.nfe == sum(s.nfe for s in samples) / N
        assert 0 < point.spread[0] <= point.seconds <= point.spread[1]
    for each, name in ((mdlm, "mdlm"), (ar, "ar")):
        held_out = Texts(runs[name], [texts_of(runs)])
        assert list(each.scores) == list(bound(runs[name], held_out))
        players = runs[name].system.players.values()
        assert each.params == sum(p.numel() for module in players for p in module.parameters())
        assert each.disk_mb > (runs[name].folder / "model.safetensors").stat().st_size / 1e6
    held_out = Texts(runs["mdlm"], [texts_of(runs)]).like_samples(N)
    assert list(found.data) == list(text_scores(held_out, judge, training, False))


def test_a_run_that_takes_no_steps_stands_there_once(found):
    (point,) = found.runs[1].points
    assert point.steps is None and point.nfe > 1


def test_fluency_is_brought_to_the_entropy_of_the_first_run(runs, found):
    last = found.runs[0].points[-1]
    target = last.score("entropy_words").value
    judge = Judge(runs["judge"])
    sweep = [Swept.of(t, [s.text for s in runs["mdlm"].generate(N, steps=2, temperature=t)], judge) for t in (0.3, 1.0)]
    expected = matched_sweep(sweep, target)
    assert found.runs[0].points[0].matched.to_json() == expected.to_json()
    assert any(f"{target:.3f}" in note and "mdlm" in note for note in found.notes)


def test_bounds_are_over_the_texts_that_fit_all(runs):
    whole = Texts(runs["mdlm"], [texts_of(runs)])
    part = whole.only(set(whole.order[3:9]))
    assert part.order == whole.order[3:9] and len(part.symbols) == len(part.characters) == 6
    assert len(whole.rows) > 6 and list(whole.characters[3:9]) == list(part.characters)
    assert len(whole.some(4).rows) == 4


def test_other_tokens_are_compared_by_the_character_and_other_texts_not_for_what_is_new(runs):
    both = [runs["mdlm"].folder, runs["other"].folder]
    found = compare(both, [texts_of(runs)], steps=(2,), n=4, memory=False)
    for run in found.runs:
        assert [score.name for score in run.scores] == ["bound_bits_per_char"]
        assert not run.points[0].score("unseen_trigrams") and not run.points[0].score("judge_nll")
    assert [
        word for word in ("different tokens", "different texts", "Fluency is left out") if not said(found, word)
    ] == []
    assert all(run.peak_mb is None for run in found.runs) and "MB in memory" not in tables(found)[0].head


def said(found, words):
    return any(words in note for note in found.notes)


def test_runs_that_write_from_a_source_are_scored_beside_references(runs, tmp_path):
    data = runs["de-en"].folder.parent / "pairs.jsonl"
    found = compare([runs["de-en"].folder], [data], memory=False)
    (run,) = found.runs
    names = [score.name for score in run.scores]
    assert "bound_nats_per_token" in names and "sacrebleu" in names and not run.points
    assert [table.title for table in tables(found)] == ["The runs"]
    write_page(found, tmp_path / "a.html")
    assert "<svg" not in (tmp_path / "a.html").read_text()


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_is_complete_in_itself_and_has_every_figure(found, tmp_path):
    beside = write_page(found, tmp_path / "compare.html")
    text = (tmp_path / "compare.html").read_text()
    assert json.loads(beside.read_text()) == json.loads(json.dumps(found.to_json())) and beside.suffix == ".json"
    assert not re.findall(r'(?:src|href)="(?!#)|<script|url\((?!#)|@import', text)
    assert "default-src 'none'" in text and text.count("<svg") == 8
    assert "<dt>seed</dt><dd>0</dd>" in text
    for table in tables(found):
        for row in table.rows:
            for cell in row:
                if isinstance(cell.value, float):
                    assert repr(cell.value) in unescape(text) or cell.value != cell.value


def test_perplexity_never_stands_without_entropy(found):
    for table in tables(found):
        assert ("perplexity" in table.head) == ("word entropy" in table.head) or "judge NLL" not in table.head
    text = page(found)
    assert text.count("word entropy against") == text.count("judge NLL against") == 2


def test_tables_are_as_wide_as_their_heads(found):
    for table in tables(found):
        assert all(len(row) == len(table.head) for row in table.rows)
    assert Cell(float("nan")).text == "–" and Cell(1.23456, 0.012).text == "1.235 ± 0.012" and Cell(None).text == ""


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_what_cannot_be_compared_is_said_before_anything_is_measured(runs, tmp_path):
    mdlm, ar, other, pairs = (runs[name].folder for name in ("mdlm", "ar", "other", "de-en"))
    for words, wrong in (
        ({"runs": []}, "name runs"),
        ({"runs": [mdlm, mdlm]}, "named twice"),
        ({"runs": [mdlm, pairs]}, "writes from a source"),
        ({"runs": [mdlm, other]}, "no held-out text in common"),
        ({"runs": [mdlm, ar], "judge": ar}, "compared itself"),
        ({"runs": [pairs], "judge": ar}, "leave --judge out"),
        ({"runs": [mdlm], "out": tmp_path / "a.txt"}, "must end in .html"),
        ({"runs": [mdlm], "out": tmp_path / "no" / "a.html"}, "cannot be written"),
    ):
        with pytest.raises(UsageError, match=wrong):
            check_compared(**words)
    (tmp_path / "mine.html").write_text("my own page")
    with pytest.raises(UsageError, match="is no comparison"):
        check_compared([mdlm], out=tmp_path / "mine.html")
    assert check_compared([mdlm, ar]).data == [str(texts_of(runs))]


def test_a_judge_does_not_judge_itself_under_another_name(runs, tmp_path):
    runs["ar"].save_pretrained(tmp_path / "copy")
    with pytest.raises(UsageError, match="has the weights of ar"):
        compare([runs["ar"].folder], [texts_of(runs)], tmp_path / "copy", memory=False)


def test_the_command(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measure, "footprint", lambda folder: None)
    out = tmp_path / "both.html"
    words = ["compare", str(runs["mdlm"].folder), str(runs["ar"].folder), "--steps", "2", "-n", "4", "--out", str(out)]
    assert main(words) == 0
    shown, notes = capsys.readouterr()
    assert "The runs" in shown and "the held-out texts" in shown and "Fluency is left out" in notes
    assert out.is_file() and out.with_suffix(".json").is_file()
    assert main([*words, "--json"]) == 0
    assert [run["name"] for run in json.loads(capsys.readouterr()[0])["runs"]] == ["mdlm", "ar"]


def test_memory_is_that_of_a_process_of_its_own(runs):
    from mezzotint.comparison.footprint import footprint

    assert 50 < footprint(runs["mdlm"].folder) < 5000
    assert footprint(Path("nowhere")) is None
    # Not that of the process that asks.
    large = bytearray(b"x" * 900_000_000)
    assert len(large) > 1e6 * footprint(runs["mdlm"].folder, 1, 2)


def test_it_is_what_the_library_exports():
    assert mezzotint.compare is compare and issubclass(CapabilityError, mezzotint.MezzotintError)
