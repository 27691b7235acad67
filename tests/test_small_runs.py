"""Runs made small: which weights get which values, that these come back to the bit, and what cannot be made small."""

from __future__ import annotations

import json

import pytest
import torch

import mezzotint
from mezzotint import CapabilityError, RunError, UsageError
from mezzotint.cli.main import main
from mezzotint.net.quantized import FEW, AlreadyQuantized
from mezzotint.spec.quantize import Few
from mezzotint.training.checkpoint import named
from tests.trained import few


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    quantised = {"width": "8", "quantize": "projections", "kind": "ternary"}
    root = tmp_path_factory.mktemp("small")
    return few(root, [("mdlm", "mdlm", {}), ("qe", "qe-cdlm", quantised)])


@pytest.mark.parametrize("weights", list(Few))
def test_every_matrix_has_the_values_of_the_quantiser_and_nothing_else_has_changed(runs, tmp_path, weights):
    run = runs["mdlm"]
    run.quantize(weights.value, tmp_path / "small")
    small = mezzotint.load(tmp_path / "small")
    before, after = named(run.system.players), named(small.system.players)
    rounded = 0
    for name, tensor in before.items():
        if tensor.ndim == 2 and min(tensor.shape) >= 8:
            rounded += 1
            assert torch.equal(after[name], FEW[weights]().values(tensor)), name
        else:
            assert torch.equal(after[name], tensor), name
    assert rounded == 5
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (run.folder, small.folder)]
    # Of a network so small: the header of the file weighs as much as some thousand codes.
    assert sizes[1] < {Few.TERNARY: 0.3, Few.POW2: 0.35, Few.INT8: 0.5}[weights] * sizes[0]
    assert [s.text for s in small.generate(2, steps=2)] == [s.text for s in small.generate(2, steps=2)]


def test_eight_bits_are_off_by_half_a_level_at_most(runs, tmp_path):
    runs["mdlm"].quantize("int8", tmp_path / "small")
    before, after = (named(r.system.players) for r in (runs["mdlm"], mezzotint.load(tmp_path / "small")))
    for name, tensor in before.items():
        step = (tensor.max() - tensor.min()) / 255
        assert float((after[name] - tensor).abs().max()) <= float(step) / 2 + 1e-6


def test_what_has_few_values_already_keeps_them(runs, tmp_path):
    runs["qe"].quantize("int8", tmp_path / "small")
    ours, theirs = runs["qe"].system.net.body.enter, mezzotint.load(tmp_path / "small").system.net.body.enter
    assert isinstance(theirs.quantizer, AlreadyQuantized)
    assert torch.equal(theirs.weight, ours.quantizer.values(ours.weight))


def test_weights_are_rounded_from_what_was_trained_where_the_machine_prefers_bf16(runs, monkeypatch):
    monkeypatch.setattr("mezzotint.run.pick_precision", lambda *_: torch.bfloat16)
    types = {
        name: {str(tensor.dtype) for tensor in named(mezzotint.load(run.folder).system.players).values()}
        for name, run in runs.items()
    }
    assert types == {"mdlm": {"torch.bfloat16"}, "qe": {"torch.float32"}}


def test_what_cannot_be_made_small_is_refused_and_leaves_nothing(runs, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'int8'"):
        runs["mdlm"].quantize("int4", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(RunError, match="already exists"):
        runs["mdlm"].quantize("int8", tmp_path / "full")
    runs["mdlm"].quantize("int8", tmp_path / "small")
    with pytest.raises(CapabilityError, match="in full"):
        mezzotint.load(tmp_path / "small").quantize("ternary", tmp_path / "smaller")
    with pytest.raises(RunError, match="quantised"):
        list(mezzotint.resume(tmp_path / "small"))
    (tmp_path / "small" / "model.safetensors").write_bytes(b"{}")
    with pytest.raises(RunError, match="damaged"):
        mezzotint.load(tmp_path / "small")


def test_the_command_sets_both_beside_each_other(runs, tmp_path, capsys):
    data = runs["mdlm"].folder.parent / "texts.txt"
    words = ["quantize", str(runs["mdlm"].folder), "--weights", "ternary", "--out", str(tmp_path / "a"), "--json"]
    assert main([*words, "--data", str(data)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr()[0].splitlines()]
    found = {(row["column"], row["name"]): row["value"] for row in rows}
    assert found["whole", "model_mb"] > 3 * found["ternary", "model_mb"]
    paced = {"load_seconds", "memory_mb", "tokens_per_second_1", "tokens_per_second_32"}
    assert {name for _, name in found} >= {"model_mb", "bound_nats_per_token", *paced}
    assert all(found[column, name] > 0 for column in ("whole", "ternary") for name in paced)
    # Codes become the weights that they stand for: what is small on disk is as large as ever in memory.
    parameters = sum(p.numel() for p in runs["mdlm"].system.net.parameters())
    assert found["whole", "memory_mb"] == found["ternary", "memory_mb"] == pytest.approx(4e-6 * parameters)
    assert main(words) == 2
    assert "already holds a run" in capsys.readouterr()[1]
