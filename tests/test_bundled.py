"""The run that comes with the package: it is there, it is small, and who names no run gets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import mezzotint
from mezzotint.checks import BUNDLED, located
from mezzotint.cli.main import main
from mezzotint.data.bistro import judge

RUN = BUNDLED / "bistro"


def test_it_is_small_and_whole_and_says_nothing_of_the_machine_that_made_it() -> None:
    assert mezzotint.bundled_runs() == (RUN,)
    assert (RUN / "model.safetensors").stat().st_size <= 3_000_000
    config = json.loads((RUN / "config.json").read_text())
    assert config["published"] and config["data"]["files"] == ["bistro"]
    assert "/" not in json.dumps([config["data"], config.get("embeddings"), config["seed"]])
    assert {path.name for path in RUN.iterdir()} <= {
        "config.json", "lengths.json", "model.safetensors", "tokenizer.json",
    }  # fmt: skip


def test_who_names_no_run_gets_its_texts_and_a_seed_gives_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = []
    for words in (["sample"], ["sample"], ["sample", "bistro", "-n", "8"], ["sample", "--seed", "1"]):
        assert main(words) == 0
        found = capsys.readouterr()
        said.append(found.out.splitlines())
        assert "came with Mezzotint" in found.err and "mezzotint infill bistro " in found.err
        assert str(RUN.parent) not in found.out + found.err
    assert said[0] == said[1] == said[2] != said[3]
    assert len(said[0]) == 8 and all(text.endswith(".") and len(text.split()) > 3 for text in said[0])
    assert not list(tmp_path.iterdir())


def test_it_is_not_gone_on_with_but_can_be_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    assert main(["resume", "bistro"]) == 2
    assert "trained to its end; `mezzotint finetune bistro --data FILE` tunes it" in capsys.readouterr().err
    lines = [
        f"The {place} near the {by} is {how}." for place in ("pub", "bar", "cafe") for by in "abcd" for how in "ef"
    ]
    Path("more.txt").write_text("\n".join(lines))
    words = ["finetune", "bistro", "--data", "more.txt", "--adapter", "none", "--max-steps", "2", "--out", "tuned"]
    assert main(words) == 0 and located("tuned") == Path("tuned")


def test_its_texts_are_mostly_of_the_grammar_and_all_different() -> None:
    texts = [sample.text for sample in mezzotint.load("bistro").generate(64, seed=2)]
    assert sum(judge(text).accepted for text in texts) >= 20 and len(set(texts)) == 64


def test_a_run_of_that_name_that_is_here_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert located("bistro") == RUN and mezzotint.load("bistro").name == "bistro"
    Path("bistro").mkdir()
    assert located("bistro") == RUN
    (tmp_path / "bistro" / "config.json").write_text("{}")
    assert located("bistro") == Path("bistro") and located(RUN) == RUN
