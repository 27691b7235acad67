"""The benchmark of control: arms in pieces, continued by the same call, nothing measured twice."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import control as benchmark
from benchmarks import rows
from mezzotint import prepare


def call(patch: pytest.MonkeyPatch, *words: str) -> list[rows.Row]:
    asked = "--tasks length compose --arms ternary --means both --seeds 0 --targets 2 --each 2 --steps 2"
    short = "--train-steps 3 --control-steps 2 --out results --set dim=16 depth=1 heads=2 width=4 batch=16"
    patch.setattr(sys, "argv", ["control", *words, *asked.split(), *short.split()])
    benchmark.main()
    return [row for task in ("length", "compose") for row in rows.read(Path(f"results/bistro-control-{task}.json"))]


def test_the_benchmark_goes_on_where_it_was_stopped_and_measures_nothing_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for split, n in (("train", 400), ("valid", 20), ("test", 20)):
        monkeypatch.setitem(prepare.BISTRO_TEXTS, split, n)
    with pytest.raises(SystemExit, match="call again to go on"):
        call(monkeypatch, "--minutes", "0")
    found = call(monkeypatch)
    assert {row.metric for row in found} >= {"success", "success_near", "judge_nll", "pos_words"}
    success = {row.variant: row for row in found if row.metric == "success"}
    parts = {dict(pair.split("=") for pair in variant.split(",") if "part" in pair)["part"] for variant in success}
    assert parts == {"length", "semantic+length", "semantic+pos"} and len(success) == 3
    (length,) = (row for variant, row in success.items() if "part=length" in variant)
    assert length.value == 1.0 and length.n == 2 and length.nfe == 2.0
    monkeypatch.setattr(benchmark.RunScorer, "write", None)
    monkeypatch.setattr(benchmark.RunScorer, "free_rows", None)
    assert call(monkeypatch) == found


def test_ar_is_led_by_what_it_has_begun_and_chosen_from(tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for split, n in (("train", 400), ("valid", 20), ("test", 20)):
        monkeypatch.setitem(prepare.BISTRO_TEXTS, split, n)
    words = "--tasks semantic --arms ar --means guided best --seeds 0 --targets 2 --each 2 --candidates 3 --steps 2"
    short = "--train-steps 3 --control-steps 2 --out results --set dim=16 depth=1 heads=2 batch=16"
    how = "--top-k 50 --temperature 0.9"
    monkeypatch.setattr(sys, "argv", ["control", *words.split(), *how.split(), *short.split()])
    benchmark.main()
    found = {(row.variant, row.metric) for row in rows.read(Path("results/bistro-control-semantic.json"))}
    asked = {variant for variant, metric in found if metric == "success"}
    (best, guided) = sorted(asked)
    assert "means=best" in best and "candidates=3" in best and "top_k" not in best
    assert "means=guided" in guided and "strength=3.0" in guided and "top_k=50" in guided and "rate" not in guided
    assert all("temperature=0.9" in variant for variant in asked)
