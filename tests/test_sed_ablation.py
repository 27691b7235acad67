"""The benchmark of SED's ablation: four arms that differ in nothing else, in pieces, nothing measured twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

import mezzotint
from benchmarks import data, judge, rows, sed_ablation, unconditional
from mezzotint.training.folder import steps_saved

TINY = ["dim=16", "depth=1", "heads=2", "width=4", "validations=1"]
WORDS = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """An empty folder with a corpus and its judge."""
    root = tmp_path_factory.mktemp("ablation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        patch.chdir(root)
        lines = [" ".join(WORDS[(i * k + k) % 12] for k in range(1, 4 + i % 5)) for i in range(60)]
        for name, part in (("train", lines), ("valid", lines[:10]), ("test", lines[5:25])):
            Path(f"{name}.txt").write_text("\n".join(part) + "\n")
        settings = {"dim": "16", "depth": "1", "heads": "2", "batch": "8"}
        list(mezzotint.train("ar", ["train.txt"], out="judge", max_steps=2, settings=settings))
        patch.setattr(data, "corpus_files", lambda name: data.Data("train.txt", "valid.txt", "test.txt"))
        patch.setitem(judge.RECIPES, "e2e", SimpleNamespace(kept=Path("judge")))
        yield root


def call(patch: pytest.MonkeyPatch, *words: str) -> list[rows.Row]:
    """The rows after a call of the benchmark."""
    asked = ["--train-steps", "3", "--vector-steps", "4", "--batch", "8", "--seeds", "0", "--n", "4", "--steps", "2"]
    patch.setattr(sys, "argv", ["sed_ablation", *asked, "--draws", "1", "--out", "results", *words, "--set", *TINY])
    sed_ablation.main()
    return rows.read(Path("results/e2e-unconditional.json"))


def test_it_goes_on_where_it_was_stopped_and_measures_nothing_twice(workshop, monkeypatch):
    with pytest.raises(SystemExit, match="call again to go on"):
        call(monkeypatch, "--minutes", "0")
    assert len(list(Path("runs/sed-ablation").iterdir())) == 1
    found = call(monkeypatch)
    of_sed = [row for row in found if row.system == "sed"]
    named = {"batch": 8, "depth": 1, "dim": 16, "heads": 2, "train_steps": 3, "validations": 1, "width": 4}
    arms = {
        rows.variant({**named, "table": table, "self_condition": conditioned, **told})
        for table, told in (("random", {}), ("pretrained", {"vector_steps": 4}))
        for conditioned in ("none", "coin")
    }
    assert {row.variant for row in of_sed if row.metric == "judge_nll"} == arms
    assert {row.variant for row in of_sed if row.metric == "entropy_words"} == arms
    bounds = [row for row in of_sed if row.metric == "bound_nats_per_token" and "bound=chain" in row.variant]
    assert len(bounds) == 4 and {row.n for row in bounds} == {20} and all(row.train_minutes is None for row in bounds)
    assert {row.metric for row in found if row.system == "data"} >= {"judge_nll", "entropy_words"}
    for name in ("bound", "quality"):
        monkeypatch.setattr(unconditional.RunScorer, name, None)
    assert call(monkeypatch) == found


def test_arms_differ_in_what_they_are_named_for(workshop, monkeypatch):
    call(monkeypatch)
    configs = {}
    for folder in Path("runs/sed-ablation").iterdir():
        config = json.loads((folder / "config.json").read_text())
        configs[config["spec"].get("table"), config["spec"].get("self_condition")] = (folder, config)
    vectors, _ = configs.pop((None, None))
    assert set(configs) == {(table, c) for table in ("random", "pretrained") for c in ("none", "coin")}
    for _, config in configs.values():
        config["spec"] |= {"table": "", "self_condition": ""}
        config["data"]["embeddings"] = None
    first, *others = (config for _, config in configs.values())
    assert all(config == first for config in others)
    learned = load_file(vectors / "model.safetensors")["model.embed.weight"][:-1]
    tables = {arm: load_file(folder / "model.safetensors")["model.space.table"] for arm, (folder, _) in configs.items()}
    assert learned.shape[1] == 4
    for (table, _), found in tables.items():
        assert torch.equal(found, learned) is (table == "pretrained")


def test_a_training_whose_time_is_up_is_saved_to_the_step_and_goes_on(workshop):
    settings = {"dim": "16", "depth": "1", "heads": "2"}
    how = {"max_steps": 100_000, "minutes": None, "batch_size": 8, "settings": settings}
    for _ in range(2):
        before = steps_saved(Path("stopped"))
        with pytest.raises(SystemExit, match="stopped: 0% trained; call again to go on"):
            unconditional.train_run("e2e", "mdlm", Path("stopped"), until=0.0, **how)
        assert steps_saved(Path("stopped"))[-1] > (before or [0])[-1]


def test_each_departure_is_taken_back_alone_and_then_with_the_others():
    own, *single, faithful = sed_ablation.QUESTIONS["trap"]
    assert own == {} and all(len(arm) == 1 for arm in single)
    assert faithful == {name: value for arm in single for name, value in arm.items()}
