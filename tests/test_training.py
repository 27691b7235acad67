"""The training driver: resumed is uninterrupted, accumulated is whole, and files survive what can happen to them."""

from __future__ import annotations

import json
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import mezzotint
from mezzotint.data.batches import Batches
from mezzotint.errors import DataError, RunError, UsageError
from mezzotint.spec.training import TrainingSpec
from mezzotint.training.checkpoint import newest
from mezzotint.training.folder import CHECKPOINTS, steps_saved
from mezzotint.training.loop import Trainer
from mezzotint.types import Loss

TINY = {"dim": "16", "depth": "1", "heads": "2", "batch": "8", "validations": "2"}
STEPS = 12
pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "texts.txt"
    words = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]
    lines = [" ".join(words[(i * k + k) % 12] for k in range(1, 3 + i % 7)) for i in range(120)]
    path.write_text("\n".join(lines) + "\n")
    return path


def train(corpus, out, system="mdlm", steps=STEPS, **more):
    settings = TINY | more.pop("settings", {})
    if system == "adavae":
        if not (base := corpus.parent / "base").exists():
            list(mezzotint.train("ar", [corpus], out=base, max_steps=2, settings=TINY))
        settings = {name: value for name, value in settings.items() if name not in ("dim", "depth", "heads")}
        more["backbone"] = base
    if system == "rnn-vae":
        settings = {name: value for name, value in settings.items() if name != "heads"}
    return mezzotint.train(system, [corpus], out=out, max_steps=steps, save_every=3, settings=settings, **more)


def same(a: Path, b: Path) -> bool:
    """Whether two runs ended with equal weights, averaged weights and optimiser state, to the bit."""
    last_a, last_b = (p / CHECKPOINTS / str(steps_saved(p)[-1]) for p in (a, b))
    tensors = [
        (load_file(last_a / f), load_file(last_b / f))
        for f in ("weights.safetensors", "ema.safetensors", "optimiser.safetensors")
    ]
    return last_a.name == last_b.name and all(
        x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x) for x, y in tensors
    )


@pytest.mark.parametrize("system", ["mdlm", "ar", "sed", "diffusion-lm", "qe-cdlm", "adavae", "rnn-vae"])
def test_a_run_left_off_and_resumed_ends_as_an_uninterrupted_one(corpus, tmp_path, system):
    list(train(corpus, tmp_path / "whole", system))
    for progress in train(corpus, tmp_path / "cut", system):
        if progress.step >= 6:
            break  # as a kill would
    assert steps_saved(tmp_path / "cut")[-1] == 6
    assert not same(tmp_path / "whole", tmp_path / "cut")
    *_, last = mezzotint.resume(tmp_path / "cut")
    assert last.fraction == 1 and same(tmp_path / "whole", tmp_path / "cut")
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "cut/model.safetensors").read_bytes()


def test_dropout_is_seeded_per_step(corpus, tmp_path):
    dropout = {"settings": {"dropout": "0.2"}}
    list(train(corpus, tmp_path / "whole", **dropout))
    for progress in train(corpus, tmp_path / "cut", **dropout):
        if progress.step >= 4:
            break
    list(mezzotint.resume(tmp_path / "cut"))
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_resuming_a_finished_run_does_nothing(corpus, tmp_path):
    list(train(corpus, tmp_path / "run"))
    before = (tmp_path / "run/model.safetensors").stat().st_mtime_ns
    assert mezzotint.is_finished(tmp_path / "run") and list(mezzotint.resume(tmp_path / "run")) == []
    assert (tmp_path / "run/model.safetensors").stat().st_mtime_ns == before


def test_another_seed_is_another_run(corpus, tmp_path):
    list(train(corpus, tmp_path / "a", seed=0))
    list(train(corpus, tmp_path / "b", seed=1))
    assert not same(tmp_path / "a", tmp_path / "b")


def test_accumulated_parts_are_the_whole_batch(corpus, tmp_path):
    list(train(corpus, tmp_path / "whole"))
    list(train(corpus, tmp_path / "parts", settings={"accumulate": "4"}))
    whole, parts = (load_file(tmp_path / r / "model.safetensors") for r in ("whole", "parts"))
    assert all(torch.allclose(whole[k], parts[k], atol=2e-5) for k in whole)


def test_a_signal_saves_and_stops_with_a_sentence(corpus, tmp_path):
    records = []
    for progress in train(corpus, tmp_path / "run", steps=10_000):
        records.append(progress)
        if len(records) == 1:
            signal.raise_signal(signal.SIGTERM)
    assert "SIGTERM" in records[-1].stopped and "mezzotint resume" in records[-1].stopped
    assert steps_saved(tmp_path / "run")[-1] == records[-1].step
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_learning_rises_then_falls_and_the_loss_goes_down(corpus, tmp_path):
    records = list(train(corpus, tmp_path / "run", steps=150, settings={"warmup": "0.2", "lr": "0.01"}))
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    valid = [line["valid"] for line in lines if "valid" in line]
    assert len(valid) == 2 and valid[-1] < valid[0]
    assert records[-1].lr < 1e-4 < max(r.lr for r in records) <= 0.01
    assert {"step", "elapsed", "loss", "lr", "tokens_per_second", "masked", "length"} <= lines[0].keys()


def test_the_last_two_checkpoints_are_kept(corpus, tmp_path):
    list(train(corpus, tmp_path / "run"))
    assert steps_saved(tmp_path / "run") == [9, 12]
    assert not [p for p in (tmp_path / "run").rglob(".*")]


def test_a_damaged_checkpoint_is_passed_over_aloud(corpus, tmp_path):
    run = tmp_path / "run"
    for progress in train(corpus, run):
        if progress.step >= 6:
            break
    weights = run / CHECKPOINTS / "6" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    checkpoint, passed = newest(run)
    assert checkpoint.counters["step"] == 3 and "damaged" in passed[0] and str(weights) in passed[0]
    notes = [p.note for p in mezzotint.resume(run) if p.note]
    assert any("going on from step 3" in n for n in notes)
    list(train(corpus, tmp_path / "whole"))
    assert same(run, tmp_path / "whole")


def test_a_run_killed_before_its_first_checkpoint_starts_again(corpus, tmp_path):
    for _ in train(corpus, tmp_path / "cut", steps=STEPS):
        break
    for old in (tmp_path / "cut" / CHECKPOINTS).glob("*"):
        for file in old.iterdir():
            file.unlink()
        old.rmdir()
    (tmp_path / "cut/model.safetensors").unlink()  # it is written with the first checkpoint
    list(mezzotint.resume(tmp_path / "cut"))
    list(train(corpus, tmp_path / "whole"))
    assert same(tmp_path / "whole", tmp_path / "cut")


def test_changed_data_is_refused(corpus, tmp_path):
    for _ in train(corpus, tmp_path / "run"):
        break
    corpus.write_text(corpus.read_text() + "one more line\n")
    with pytest.raises(DataError, match=r"texts\.txt has changed since the run began"):
        list(mezzotint.resume(tmp_path / "run"))


def test_an_output_folder_that_holds_something_is_refused(corpus, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")
    with pytest.raises(RunError, match="mezzotint resume"):
        train(corpus, tmp_path / "run")
    assert (tmp_path / "run" / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda run: (run / "model.safetensors").write_bytes(b"no"), r"model\.safetensors is damaged"),
        (
            lambda run: (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-40]),
            "damaged",
        ),
        (lambda run: (run / "model.safetensors").unlink(), r"model\.safetensors is missing"),
        (lambda run: (run / "tokenizer.json").write_text("{"), r"tokenizer\.json"),
        (lambda run: (run / "config.json").write_text("{]"), r"config\.json is damaged"),
        (lambda run: (run / "config.json").unlink(), "is not a run folder"),
        (lambda run: (run / "lengths.json").write_text("[]"), r"lengths"),
        (lambda run: edit(run, "system", "mdml"), "did you mean 'mdlm'"),
        (lambda run: edit(run, "system", "ar"), "does not describe a ar run|unknown setting"),
        (lambda run: edit(run, "format", 99), "format 99"),
        (lambda run: reshape(run), "of shape"),
        (lambda run: rename(run), "lacks model.embed.weight"),
    ],
)
def test_damaged_files_are_named_with_what_was_expected(corpus, tmp_path, damage, sentence):
    list(train(corpus, tmp_path / "run", steps=3))
    damage(tmp_path / "run")
    with pytest.raises(RunError, match=sentence):
        mezzotint.load(tmp_path / "run")


def edit(run, key, value):
    config = json.loads((run / "config.json").read_text())
    config[key] = value
    (run / "config.json").write_text(json.dumps(config))


def reshape(run):
    tensors = load_file(run / "model.safetensors")
    tensors["model.embed.weight"] = tensors["model.embed.weight"][:, :8].contiguous()
    save_file(tensors, run / "model.safetensors")


def rename(run):
    tensors = load_file(run / "model.safetensors")
    tensors["model.embedding"] = tensors.pop("model.embed.weight")
    save_file(tensors, run / "model.safetensors")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": "smal"}, "did you mean 'small'"),
        ({"layout": "window"}, "did you mean 'windows'"),
        ({"settings": {"dept": "3"}}, "did you mean 'depth'"),
        ({"settings": {"depth": "three"}}, "depth must be a whole number, not 'three'"),
        ({"settings": {"bound": "count"}}, "did you mean 'counts'"),
        ({"settings": {"dim": "18", "heads": "4"}}, "no transformer"),
        ({"settings": {"time_conditioning": "true", "bound": "times"}}, "needs a network with a condition"),
        ({"settings": {"lr": "-1"}}, "lr must be positive"),
        ({"layout": "windows", "settings": {"ending": "fill"}}, "windows are all of one length"),
        ({"device": "gpu"}, "unknown device"),
        ({"device": "meta"}, "not one we know"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"settings": {"beta1": "1.5"}}, "beta1 must be"),
        ({"settings": {"lr": "inf"}}, "lr must be positive"),
        ({"settings": {"vocab": "9"}}, "unknown setting 'vocab'"),
        ({"settings": {"causal": "true"}}, "positions 'edges' looks ahead"),
        ({"settings": {"causal": "true", "positions": "start"}}, "causal must be false"),
        ({"settings": {"condition": "8", "time_conditioning": "true"}}, "set bound=times"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_written(corpus, tmp_path, arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        list(mezzotint.train("mdlm", [corpus], out=tmp_path / "run", max_steps=1, **arguments))
    assert not (tmp_path / "run").exists()


def test_batches_are_a_permutation_of_each_epoch_of_similar_lengths():
    lengths = [(i * 37) % 50 + 1 for i in range(640)]
    order = Batches(lengths, 8, seed=3)
    epoch = [order.rows(step) for step in range(80)]
    assert sorted(i for batch in epoch for i in batch) == list(range(640))
    spread = sum(max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in epoch) / 80
    assert spread < 10
    assert order.rows(5, 2, 3) == epoch[5][2:5] and Batches(lengths, 8, seed=3).rows(85) == order.rows(85)
    assert sorted(i for step in range(80, 160) for i in order.rows(step)) == list(range(640))
    assert order.rows(80) != epoch[0]


def test_batches_of_similar_lengths_also_where_epochs_do_not_end_with_a_batch():
    lengths = [(i * 37) % 50 + 1 for i in range(645)]
    order = Batches(lengths, 8, seed=3)
    seen = [i for step in range(4 * 81) for i in order.rows(step)]
    assert all(sorted(seen[e * 645 : (e + 1) * 645]) == list(range(645)) for e in range(4))
    late = [order.rows(step) for step in range(250, 320)]
    assert sum(max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in late) / len(late) < 10


def test_a_kill_between_the_model_and_the_last_checkpoint_loses_nothing(corpus, tmp_path, monkeypatch):
    import mezzotint.training.checkpoint as checkpoint

    list(train(corpus, tmp_path / "whole"))
    save, calls = checkpoint.save, []

    def dying(folder, state):
        calls.append(state.counters["step"])
        if state.counters["step"] == STEPS:
            raise KeyboardInterrupt
        return save(folder, state)

    monkeypatch.setattr(checkpoint, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        list(train(corpus, tmp_path / "cut"))
    monkeypatch.undo()
    assert calls[-1] == STEPS and not mezzotint.is_finished(tmp_path / "cut")
    list(mezzotint.resume(tmp_path / "cut"))
    assert same(tmp_path / "whole", tmp_path / "cut")
    log = [json.loads(line)["step"] for line in (tmp_path / "cut/log.jsonl").read_text().splitlines()]
    assert log == sorted(set(log)) and log[-1] == STEPS


def test_weights_without_a_checkpoint_are_not_trained_over(corpus, tmp_path):
    run = tmp_path / "run"
    list(train(corpus, run))
    before = (run / "model.safetensors").read_bytes(), (run / "log.jsonl").read_bytes()
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(RunError, match="has weights but no checkpoint to go on from; they stay as they are"):
        list(mezzotint.resume(run))
    assert before == ((run / "model.safetensors").read_bytes(), (run / "log.jsonl").read_bytes())


@pytest.mark.parametrize("name", ["state.json", "weights.safetensors"])
def test_a_damaged_last_checkpoint_is_replaced_when_its_step_comes_again(corpus, tmp_path, name):
    run = tmp_path / "run"
    for progress in train(corpus, run):
        if progress.step >= 6:
            break
    (run / CHECKPOINTS / "6" / name).write_bytes(b"{")
    list(mezzotint.resume(run))
    list(train(corpus, tmp_path / "whole"))
    assert same(run, tmp_path / "whole") and newest(run)[1] == []


class TwoPlayers:
    """A first player whose loss leaves a gradient in the second's network."""

    def __init__(self) -> None:
        self.players = {"a": torch.nn.Linear(1, 1, bias=False), "b": torch.nn.Linear(1, 1, bias=False)}
        self.players["b"].register_buffer("count", torch.tensor(3))
        for module in self.players.values():
            torch.nn.init.ones_(module.weight)

    def losses(self, batch, rng):
        x = torch.ones(2, 1)
        total = self.players["b"](self.players["a"](x)).sum()
        yield Loss(total, {"through": total.detach()}, 2.0, "a")
        assert self.players["b"].weight.grad is None
        total = (self.players["b"](x) * 0).sum()
        yield Loss(total, {"own": total.detach()}, 2.0, "b")


def test_each_loss_moves_its_own_player_only_and_all_are_logged():
    system = TwoPlayers()
    spec = TrainingSpec(batch=2, lr=0.1, max_steps=3, warmup=0.0)
    trainer = Trainer(system, spec, 0, torch.device("cpu"), nullcontext)
    ids = torch.zeros(2, 1, dtype=torch.int64)
    canvas = mezzotint.Canvas(ids, ids.bool(), ~ids.bool(), torch.arange(2))
    ticks = list(trainer.run(lambda step, first, count: canvas, report_every=0))
    assert set(ticks[0].parts) == {"through", "own"}
    assert system.players["b"].weight.item() == 1.0 and system.players["a"].weight.item() < 1.0


def test_a_loss_that_is_no_number_stops_the_run_with_a_sentence(corpus, tmp_path):
    with pytest.raises(RunError, match="lower lr"):
        list(train(corpus, tmp_path / "run", steps=400, settings={"lr": "1e30", "clip": "0"}))
