"""The network, imported from the published weights by the command's own importer, gives the published code's logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mezzotint
from mezzotint.data.tokenizer import train_tokenizer
from mezzotint.net.transformer import Transformer

PARITY = Path(__file__).parents[2] / "shared" / "parity" / "mdlm-dit"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Transformer, dict[str, np.ndarray]]:
    if not PARITY.exists():
        pytest.skip("the published network's outputs are not beside this repository (shared/parity/mdlm-dit)")
    folder = tmp_path_factory.mktemp("parity")
    words = [f"w{i}" for i in range(93)]  # and three special tokens, so that the mask is the id 96
    train_tokenizer("word", [" ".join(words)] * 2, []).save(folder / "tokenizer.json")
    mezzotint.import_checkpoint(PARITY / "weights.safetensors", out=folder / "run", tokenizer=folder)
    run = mezzotint.load(folder / "run", device="cpu", precision="fp32")
    return run.system.players["model"], dict(np.load(PARITY / "io.npz"))


def relative_error(ours: torch.Tensor, theirs: np.ndarray) -> float:
    theirs_t = torch.from_numpy(theirs)
    return float((ours - theirs_t).abs().max() / theirs_t.abs().max())


@torch.no_grad()
def test_logits_without_time_are_the_published_ones(published):
    net, io = published
    assert relative_error(net(torch.from_numpy(io["x"])), io["logits_sigma0"]) < 1e-5


@torch.no_grad()
def test_logits_with_time_are_the_published_ones(published):
    net, io = published
    assert relative_error(net(torch.from_numpy(io["x"]), torch.from_numpy(io["sigma"])), io["logits_sigma"]) < 1e-5


@torch.no_grad()
def test_subs_is_the_softmax_without_the_mask_at_masked_positions(published):
    net, io = published
    x = torch.from_numpy(io["x"])
    mask = net.outputs - 1
    rows, positions = (x == mask).nonzero(as_tuple=True)
    ours = net(x, at=(rows, positions))[:, :mask].log_softmax(-1)
    theirs = io["subs_logp_sigma0"][rows.numpy(), positions.numpy(), :mask]
    assert len(rows) > 0 and relative_error(ours, theirs) < 1e-5
