"""The network, set as MDLM's, gives the logits of the published code on the same weights."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mezzotint.net.transformer import Transformer
from mezzotint.spec.transformer import Gelu, TransformerSpec

PARITY = Path(__file__).parents[2] / "shared" / "parity" / "mdlm-dit"
RENAMED = (
    (r"^backbone\.", ""),
    (r"^vocab_embed\.embedding$", "embed.weight"),
    (r"^sigma_map\.mlp\.0\.", "time.up."),
    (r"^sigma_map\.mlp\.2\.", "time.down."),
    (r"attn_qkv", "attention.qkv"),
    (r"attn_out", "attention.out"),
    (r"mlp\.0\.", "up."),
    (r"mlp\.2\.", "down."),
    (r"adaLN_modulation", "modulation"),
    (r"^output_layer\.norm_final", "head.norm"),
    (r"^output_layer\.linear\.", "head."),
    (r"^output_layer\.", "head."),
)


def renamed(name: str) -> str:
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name


@pytest.fixture(scope="module")
def published() -> tuple[Transformer, dict[str, np.ndarray]]:
    if not PARITY.exists():
        pytest.skip("the published network's outputs are not beside this repository (shared/parity/mdlm-dit)")
    config = json.loads((PARITY / "config.json").read_text())
    weights = {renamed(k): v for k, v in load_file(PARITY / "weights.safetensors").items() if "inv_freq" not in k}
    dim, vocab = weights["embed.weight"].shape[1], weights["embed.weight"].shape[0]
    spec = TransformerSpec(
        dim=dim,
        depth=1 + max(int(m[1]) for k in weights if (m := re.match(r"blocks\.(\d+)\.", k))),
        heads=int(next(config[k] for k in ("n_heads", "heads", "num_heads") if k in config)),
        condition=weights["time.up.weight"].shape[0],
        gelu=Gelu.TANH,
        tied=False,
    )
    net = Transformer(spec, vocab, vocab, length=1)
    net.load_state_dict(weights)
    return net, dict(np.load(PARITY / "io.npz"))


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
