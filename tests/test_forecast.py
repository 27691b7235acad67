"""A dry run: what a training would take, of every system in the same way, and not a file written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import mezzotint
from mezzotint.cli.main import main
from mezzotint.data.batches import POOL, Batches
from mezzotint.spec.training import TrainingSpec
from mezzotint.training import forecast as forecasts
from mezzotint.training.forecast import forecast
from mezzotint.training.loop import Tick
from mezzotint.training.team import ALONE

LENGTHS = np.random.default_rng(0).integers(1, 40, 700)
WORDS = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]
LINES = [" ".join(WORDS[(i * k + k) % 12] for k in range(1, 4 + i % 5)) for i in range(60)]
TINY = {"dim": "16", "depth": "1", "heads": "2", "batch": "8", "validations": "3"}


class Clockwork:
    """A trainer whose steps take a tenth of a second a token, and a hundred seconds more the first time."""

    def __init__(self, **training: object) -> None:
        self.spec = replace(TrainingSpec(batch=8, lr=1e-3, validations=3), **training)
        self.system = SimpleNamespace(players={"model": nn.Linear(3, 4)}, card=SimpleNamespace(backbone=False))
        self.seed, self.device, self.team = 0, torch.device("cpu"), ALONE
        self.read: list[int] = []

    def run(self, batches, report_every):
        assert report_every == 0
        elapsed = 100.0
        for step in range(self.spec.max_steps or 10_000):
            self.read.append(tokens := batches(step, 0, 8))
            elapsed += tokens / 10
            yield Tick(step + 1, 0.0, 0.0, {}, 0.0, 0.0, elapsed, 0.0)


def tokens(step: int, first: int, count: int) -> int:
    return sum(int(LENGTHS[row]) for row in Batches(LENGTHS, 8, 0).rows(step, first, count))


def told(made: Clockwork, monkeypatch: pytest.MonkeyPatch, validation: float = 2.0) -> forecasts.Forecast:
    now = iter((50.0, 50.0 + validation))
    monkeypatch.setattr(forecasts, "time", SimpleNamespace(monotonic=lambda: next(now)))
    return forecast(made, tokens, LENGTHS, lambda: None)


def test_it_reads_the_longest_batch_first_and_is_not_misled_by_the_time_of_the_first(monkeypatch):
    made = Clockwork(max_steps=200)
    found = told(made, monkeypatch)
    assert made.read[0] == max(tokens(step, 0, 8) for step in range(POOL))
    step = LENGTHS.mean() * 8 / 10
    assert found.step_seconds == pytest.approx(step)
    assert found.tokens_per_second == pytest.approx(10)
    assert found.seconds == pytest.approx(200 * step + 3 * 2)
    assert found.epochs == pytest.approx(200 * 8 / 700)
    assert (found.steps, found.trained, found.frozen) == (200, 16, 0)
    assert found.weights_bytes == 16 * 20
    assert found.tried < 20 and sum(made.read[1:-1]) / 10 <= forecasts.TOO_MUCH


def test_minutes_make_as_many_steps_as_they_have_room_for(monkeypatch):
    found = told(Clockwork(minutes=30), monkeypatch)
    assert found.steps == round(1800 / found.step_seconds)
    assert found.seconds == pytest.approx(1800 + 6, abs=found.step_seconds)


def test_a_training_of_one_step_is_foreseen_by_that_step(monkeypatch):
    found = told(Clockwork(max_steps=1), monkeypatch)
    assert (found.steps, found.tried) == (1, 1) and found.step_seconds > 1


def test_every_batch_of_a_pool_is_read_once_and_any_few_are_typical():
    order = Batches(LENGTHS, 8, 0)
    steps = forecasts._steps(order)
    next(steps)
    first = [next(steps) for _ in range(POOL)]
    assert sorted(first) == list(range(POOL))
    assert sorted(next(steps) for _ in range(POOL)) == list(range(POOL, 2 * POOL))
    whole = np.mean([tokens(step, 0, 8) for step in first])
    for few in range(3, POOL):
        assert np.mean([tokens(step, 0, 8) for step in first[:few]]) == pytest.approx(whole, rel=0.25)


def test_nothing_is_written_and_what_is_there_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(forecasts, "ENOUGH", 0)
    monkeypatch.setattr(forecasts, "TOO_MUCH", 0)
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("\n".join(LINES))
    Path("taken").mkdir()
    Path("taken/mine").write_text("kept")
    settings = [word for item in TINY.items() for word in ("--set", "=".join(item))]
    before = sorted(Path().rglob("*"))
    asked = ["train", "mdlm", "--data", "text.txt", "--out", "taken", "--max-steps", "50", "--dry-run", *settings]
    assert main(asked) == 0
    assert sorted(Path().rglob("*")) == before
    assert "50 steps read the texts" in (out := capsys.readouterr()).out and "nan" not in out.err
    assert main([*asked[: -len(settings) - 1], *settings]) == 2  # in earnest, the folder is taken


@pytest.mark.parametrize("system", ["ar", "sed"])
def test_it_counts_what_a_training_then_has(system, tmp_path, monkeypatch):
    monkeypatch.setattr(forecasts, "ENOUGH", 0)
    monkeypatch.setattr(forecasts, "TOO_MUCH", 0)
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    text = tmp_path / "text.txt"
    text.write_text("\n".join(LINES))
    how = {"max_steps": 2, "settings": TINY}
    *_, last = mezzotint.train(system, [text], out=tmp_path / "a", dry_run=True, **how)
    assert not (tmp_path / "a").exists()
    list(mezzotint.train(system, [text], out=tmp_path / "a", **how))
    run = mezzotint.load(tmp_path / "a")
    parameters = list(run.system.players["model"].parameters())
    assert last.forecast.trained == sum(p.numel() for p in parameters if p.requires_grad)
    assert last.forecast.trained + last.forecast.frozen == sum(p.numel() for p in parameters)
    assert last.forecast.peak_bytes > last.forecast.weights_bytes
