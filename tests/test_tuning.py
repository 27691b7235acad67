"""Tuning a run to other texts: what is trained and what stays, that nothing changes at first, and what is written."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

import mezzotint
from mezzotint import CapabilityError, RunError, UsageError
from mezzotint.cli.main import main
from mezzotint.descendants import finetune_run
from mezzotint.net.attention import Attention
from mezzotint.rng import Rng
from mezzotint.training import tuning
from mezzotint.training.checkpoint import named, read_tensors
from tests.oracle import blank
from tests.trained import few

ADAPTERS = ["lora", "ina"]
WORDS = ("river pub is cold", "The old river stands by", "A warm pub was near", "The pub is old", "A cold river , old")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("tuning")
    made = few(root, [("dlm", "diffusion-lm", {"width": "4"}), ("ar", "ar", {})])
    (root / "new.txt").write_text("\n".join(WORDS[i % 5] + " ." * (i % 3) for i in range(60)) + "\n")
    return made


def tuned(run, tmp_path, adapter: str, steps: int = 4, **how):
    if adapter == "lora":
        pytest.importorskip("peft")
    settings = {"validations": "1", "lr": "0.05", "ema": "0"}
    out, data = tmp_path / adapter, [run.folder.parent / "new.txt"]
    asked = {"max_steps": steps, "batch_size": 8, "settings": settings, "adapter": adapter, **how}
    return out, list(finetune_run(run.folder, out=out, data=data, **asked))


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", ["dlm", "ar"])
def test_what_was_added_changes_nothing_at_first_and_alone_is_trained(runs, name, adapter):
    if adapter == "lora":
        pytest.importorskip("peft")
    run = runs[name]
    adapt = mezzotint.check_adapter(adapter)
    fresh = type(run.system)(tuning.tuned_spec(run.spec, adapt), run.lengths)
    tensors = read_tensors(run.folder / "model.safetensors")
    tuning.load_with_adapters(fresh.players, tensors=tensors, source="model", adapt=adapt, seed=0)
    canvas = blank(3, 5)
    batch = mezzotint.Canvas(
        torch.arange(3, 18).view(3, 5) % run.spec.vocab, *(canvas.given, canvas.real, canvas.index)
    )
    with torch.no_grad():
        ours, theirs = (s.nll(batch, Rng(0, range(3))) for s in (fresh, run.system))
    assert torch.allclose(ours, theirs, atol=1e-5)
    learns = {k for m in fresh.players.values() for k, p in m.named_parameters() if p.requires_grad}
    assert learns and all("lora_" in k or "inhibition" in k for k in learns)
    depth = sum(isinstance(part, Attention) for m in fresh.players.values() for part in m.modules())
    assert len(learns) == depth * (2 if adapter == "lora" else 1)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_frozen_weights_stay_to_the_bit_and_what_is_written_is_a_run_like_any(runs, tmp_path, adapter, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    run = runs["dlm"]
    out, records = tuned(run, tmp_path, adapter)
    assert any("numbers are trained, beside" in (record.note or "") for record in records)
    before, after = (read_tensors(folder / "model.safetensors") for folder in (run.folder, out))
    moved = {k for k, tensor in before.items() if not torch.equal(tensor, after[k])}
    if adapter == "lora":
        assert after.keys() == before.keys() and moved == {k for k in before if k.endswith("qkv.weight")}
        # What was added has rank 8 at most.
        for k in moved:
            assert int(torch.linalg.matrix_rank(after[k] - before[k], atol=1e-5)) <= tuning.RANK
    else:
        added = after.keys() - before.keys()
        assert not moved and added and all("inhibition" in k and bool(after[k].any()) for k in added)
    loaded = mezzotint.load(out)
    assert len(loaded.generate(2, steps=2)) == 2 and loaded.config["tuned"]["adapter"] == adapter
    # It draws the lengths of the texts that it was tuned to.
    assert loaded.lengths is not None and max(len(s.ids) for s in loaded.generate(16, steps=1)) <= 7


def test_merged_is_what_the_adapted_network_computes(runs, tmp_path):
    pytest.importorskip("peft")
    run = runs["dlm"]
    adapted, fresh = (type(run.system)(run.spec, run.lengths) for _ in range(2))
    weights = named(run.system.players)
    adapt = mezzotint.check_adapter("lora")
    tuning.load_with_adapters(adapted.players, tensors=weights, source="model", adapt=adapt, seed=0)
    for name, p in adapted.net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    whole = tuning.merge_lora(named(adapted.players))
    tuning.fill(fresh.players, whole, "merged")
    z, t = torch.randn(2, 5, run.spec.width), torch.tensor([0.2, 0.7]).double()
    with torch.no_grad():
        one, other, plain = (s.net.body(z, t) for s in (adapted, fresh, run.system))
    assert torch.allclose(one, other, atol=1e-4) and not torch.allclose(one, plain, atol=1e-2)
    tuning.remove_lora(adapted.players)
    assert all(torch.equal(a, weights[k]) for k, a in named(adapted.players).items())


@pytest.mark.parametrize("adapter", [*ADAPTERS, "none"])
def test_a_tuning_goes_on_where_it_stopped(runs, tmp_path, adapter, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    out, _ = tuned(runs["dlm"], tmp_path, adapter, steps=4, save_every=2)
    whole = read_tensors(out / "model.safetensors")
    for path in (out / "checkpoints" / "4").iterdir():
        path.unlink()
    (out / "checkpoints" / "4").rmdir()
    assert list(mezzotint.resume(out))
    again = read_tensors(out / "model.safetensors")
    assert all(torch.equal(tensor, again[k]) for k, tensor in whole.items())


def test_all_weights_are_tuned_where_nothing_is_added(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    out, _ = tuned(runs["ar"], tmp_path, "none")
    before, after = (read_tensors(folder / "model.safetensors") for folder in (runs["ar"].folder, out))
    assert after.keys() == before.keys() and sum(not torch.equal(t, after[k]) for k, t in before.items()) > 5


def test_what_cannot_be_tuned_is_refused_before_anything_is_written(runs, tmp_path, monkeypatch):
    run, data = runs["dlm"], [runs["dlm"].folder.parent / "new.txt"]
    run.quantize("int8", tmp_path / "small")
    shutil.copytree(run.folder, tmp_path / "bare", ignore=shutil.ignore_patterns("model.safetensors"))
    for folder, how, error, said in (
        (run.folder, {"adapter": "laro"}, UsageError, "unknown adapter 'laro'"),
        (run.folder, {"adapter": "ina", "settings": {"width": "8"}}, UsageError, "width is as in"),
        (tmp_path / "small", {"adapter": "ina"}, CapabilityError, "weights in full"),
        (tmp_path / "nothing", {"adapter": "ina"}, RunError, "nothing"),
        (tmp_path / "bare", {"adapter": "ina"}, RunError, "model.safetensors is missing"),
    ):
        with pytest.raises(error, match=said):
            finetune_run(folder, out=tmp_path / "out", data=data, **how)
    monkeypatch.setattr("mezzotint.checks.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "mezzotint\[lora\]"'):
        finetune_run(run.folder, out=tmp_path / "out", data=data)
    assert not (tmp_path / "out").exists()


def test_the_command(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    data, out = runs["ar"].folder.parent / "new.txt", tmp_path / "tuned"
    words = ["finetune", str(runs["ar"].folder), "--data", str(data), "--adapter", "ina", "--max-steps", "2"]
    assert main([*words, "--batch-size", "8", "--out", str(out)]) == 0
    said = capsys.readouterr()[1]
    assert "numbers are trained, beside" in said and f"mezzotint sample {out}" in said
    assert json.loads((out / "config.json").read_text())["spec"]["net"]["inhibition"] is True
    assert main([*words, "--set", "dim=3"]) == 2
    assert "dim is as in" in capsys.readouterr()[1]
