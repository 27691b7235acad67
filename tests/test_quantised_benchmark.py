"""The benchmarks of runs with few values and of tuning: what they measure, of what, and by what name."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mezzotint
from benchmarks import data, judge, quantised, rows, tuning, unconditional
from mezzotint import prepare
from mezzotint.data import bistro as corpus

SMALL = {"dim": "16", "depth": "1", "heads": "2", "validations": "2"}


@pytest.fixture
def bistro(tmp_path, monkeypatch):
    """An empty folder, and a bundled corpus of a few texts."""
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for split, n in (("train", 400), ("valid", 20), ("test", 20)):
        monkeypatch.setitem(prepare.BISTRO_TEXTS, split, n)


def test_runs_with_few_values_stand_beside_one_in_full_and_its_copies(bistro, monkeypatch):
    how = {"max_steps": 4, "settings": {**SMALL, "width": "4"}, "tokenizer": "word"}
    for system in ("diffusion-lm", "qe-cdlm"):
        list(mezzotint.train(system, ["bistro"], out=Path(system), **how))
    asked = "--n 4 --steps 2 --rounds 1 --out results"
    # A process of its own for each, which tests/test_compare.py sees to.
    monkeypatch.setattr("mezzotint.comparison.footprint.footprint", lambda run, texts, steps: 100.0 + texts)
    monkeypatch.setattr(sys, "argv", ["quantised", "diffusion-lm", "qe-cdlm", *asked.split()])
    quantised.main()
    found = rows.read(Path("results/bistro-quantised.json"))
    named = {(row.system, row.variant) for row in found if row.metric == "model_mb"}
    copies = {("diffusion-lm", f"copy={kind}") for kind in ("int8", "pow2", "ternary")}
    assert named == {("diffusion-lm", "default"), ("qe-cdlm", "kind=ternary,quantize=projections")} | copies
    size = {row.variant: row.value for row in found if row.metric == "model_mb"}
    assert size["copy=ternary"] < size["copy=pow2"] < size["copy=int8"] < size["default"]
    for metric in ("tokens_per_second", "peak_rss_mb"):
        assert {(row.variant, row.batch) for row in found if row.metric == metric} == {
            (variant, batch) for variant in size for batch in (1, 32)
        }
    assert {row.value for row in found if row.metric == "peak_rss_mb"} == {101.0, 132.0}
    curves = {row.variant: set() for row in found if "curve=" in row.variant}
    for row in found:
        if "curve=" in row.variant:
            curves[row.variant].add(row.steps)
    assert (
        curves["curve=steps"] == curves["curve=steps,kind=ternary,quantize=projections"] and 4 in curves["curve=steps"]
    )
    assert not any("copy" in variant for variant in curves), "a copy has no training of its own"
    assert {row.variant for row in found if row.metric == "judge_nll" and row.system != "data"} == set(size)


def test_a_run_is_tuned_by_few_weights_and_by_all_beside_runs_that_are_not(bistro, monkeypatch):
    lines = [one.text for one in corpus.corpus("train", 300)]
    for name in ("first", "second"):
        for split, some in (("train", lines[:200]), ("valid", lines[200:220]), ("test", lines[220:260])):
            Path(f"{name}-{split}.txt").write_text("\n".join(some))
        monkeypatch.setitem(unconditional.SETTINGS, name, unconditional.Setting(1))
    splits = ("train", "valid", "test")
    monkeypatch.setattr(data, "corpus_files", lambda name: data.Data(*(f"{name}-{split}.txt" for split in splits)))
    monkeypatch.setitem(judge.RECIPES, "second", SimpleNamespace(kept=mezzotint.bundled_judge()))
    asked = "first second --max-steps 3 --steps 2 --n 4 --out results --set dim=16 depth=1 heads=2 batch=16"
    monkeypatch.setattr(sys, "argv", ["tuning", *asked.split()])
    tuning.main()
    found = rows.read(Path("results/second-tuning.json"))
    bounds = {(row.variant, row.train_minutes) for row in found if row.metric == "bound_bits_per_char"}
    assert bounds == {
        ("adapter=stays,begun=first,bound=any-order", None), ("adapter=lora,begun=first,bound=any-order", 3.0),
        ("adapter=ina,begun=first,bound=any-order", 3.0), ("adapter=none,begun=first,bound=any-order", 3.0),
        ("adapter=alone,bound=any-order", 3.0), ("adapter=alone,bound=any-order", 9.0),
    }  # fmt: skip
    share = {row.variant: row.value for row in found if row.metric == "tuned_share"}
    assert share["adapter=none,begun=first"] == 1.0 and len(share) == 3
    assert 0 < share["adapter=ina,begun=first"] < 0.1 and 0 < share["adapter=lora,begun=first"] < 0.5
    monkeypatch.setattr(mezzotint, "finetune_run", None)
    monkeypatch.setattr(mezzotint, "train", None)
    tuning.main()
