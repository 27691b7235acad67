"""Which texts a run is scored on: those that are named, else those that it was never trained on."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import mezzotint
from mezzotint import DataError, UsageError
from mezzotint.assess.cost import size_and_bound
from mezzotint.cli.main import main
from mezzotint.comparison.request import check_compared
from mezzotint.data.corpus import withheld
from mezzotint.doctor.examination import examine
from mezzotint.doctor.finding import Verdict
from mezzotint.held_out import Texts, held_out_texts
from tests.trained import SETTINGS, translator

LINES = [f"The {'old' if i % 3 else 'new'} pub {i} is near {'the river ' * (i % 4)}now" for i in range(120)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with the same texts as lines and as records."""
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_text("\n".join(LINES) + "\n")
    with Path("records.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "body", "note"], *([i, line, "none"] for i, line in enumerate(LINES))])
    return tmp_path


def trained(system: str, data: str, out: str, **how) -> mezzotint.Run:
    list(mezzotint.train(system, [data], out=out, max_steps=2, settings=SETTINGS, **how))
    return mezzotint.load(out)


def test_without_files_they_are_those_that_were_withheld_from_training(folder):
    run, other = (trained(system, "lines.txt", system) for system in ("mdlm", "ar"))
    held = held_out_texts(run)
    assert set(held) == withheld(LINES) and held == held_out_texts(other)
    assert sorted(Texts(run).written) == sorted(held)
    assert not check_compared([run.folder, other.folder]).data
    assert {score.name for score in size_and_bound(run.folder)} >= {"model_mb", "bound_nats_per_token"}
    Path("lines.txt").write_text("\n".join([*LINES, "One more."]) + "\n")
    with pytest.raises(DataError, match="have changed"):
        held_out_texts(run)
    assert [score.name for score in size_and_bound(run.folder)] == ["model_mb"]
    with pytest.raises(DataError, match="does not exist"):
        list(size_and_bound(run.folder, ["lines.csv"]))


def test_runs_of_different_files_have_to_be_told_on_which_to_be_compared(folder):
    Path("more.txt").write_text("\n".join(LINES[:90]) + "\n")
    run, other = trained("mdlm", "lines.txt", "one"), trained("mdlm", "more.txt", "other")
    with pytest.raises(UsageError, match="no held-out text in common; name some with --data"):
        check_compared([run.folder, other.folder])


def test_the_field_of_a_text_is_the_runs_own_or_named(folder, capsys):
    of_records = trained("mdlm", "records.csv", "records", field="body")
    of_lines = trained("mdlm", "lines.txt", "lines")
    assert held_out_texts(of_records, ["records.csv"]) == LINES == held_out_texts(of_records, ["lines.txt"])
    assert held_out_texts(of_lines, ["records.csv"], "body") == LINES
    with pytest.raises(UsageError, match="a field named 'body'"):
        held_out_texts(of_lines, [], "body")
    for words in (["evaluate", "lines"], ["compare", "lines", "records"], ["doctor", "lines"]):
        assert main([*words, "--data", "records.csv"]) == 2
        assert "name one with --field: " in capsys.readouterr().err
    assert main(["evaluate", "lines", "--data", "records.csv", "--field", "body", "--json"]) == 0


def test_the_tokenizer_of_a_run_that_translates_is_examined_on_both_sides(folder):
    run = translator(folder)
    for data in ((), ("pairs.jsonl",)):
        (finding,) = examine(run.folder, data, checks=["tokenizer"])
        assert finding.verdict is Verdict.OK, finding.sentence
        assert finding.sentence.startswith("240 texts come back")
