"""GPT-2's weights under our names, in our own network.

Radford et al. 2019. The blocks are ours with biases, tanh-GELU and learned positions; transformers keeps the matrices
of its Conv1D transposed, (in, out).
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.errors import HubError, RunError, UsageError
from mezzotint.net.transformer import Transformer
from mezzotint.spec.transformer import Gelu, Positions, TransformerSpec

EXTRA = "pip install 'mezzotint[gpt2]'"

NORM_AND_LINEAR = (
    ("ln_1", "norm1", False),
    ("attn.c_attn", "attention.qkv", True),
    ("attn.c_proj", "attention.out", True),
    ("ln_2", "norm2", False),
    ("mlp.c_fc", "up", True),
    ("mlp.c_proj", "down", True),
)
"""Their name in a block, ours, and whether the matrix is transposed."""


def read_gpt2(name: str | Path) -> Transformer:
    """The GPT-2 in a folder or, by its name, on a hub or in its cache, as a network of ours on the CPU.

    UsageError where transformers is not installed or what is found is of another kind, HubError where nothing is.
    """
    try:
        from transformers import AutoConfig, GPT2LMHeadModel
    except ImportError:
        raise UsageError(f"GPT-2 is read by transformers, which is not installed; {EXTRA} installs it") from None
    logging: Any = import_module("transformers.utils.logging")  # without annotations
    logging.disable_progress_bar()
    try:
        config: Any = AutoConfig.from_pretrained(name)
        if config.model_type != "gpt2":
            raise UsageError(
                f"{name} is a network of the kind '{config.model_type}'; a backbone is GPT-2 or a run of ar"
            )
        # Safetensors only: the other form is a pickle.
        model = GPT2LMHeadModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32)
    except (OSError, ValueError) as error:
        if os.path.isdir(name):
            raise RunError(f"{name} holds no GPT-2 that can be read ({_first_line(error)})") from None
        raise HubError(f"{name} cannot be had from the hub ({_first_line(error)})") from None
    return from_transformers(model.state_dict(), config)


def spec_of(config: Any) -> TransformerSpec:
    """Our spec of a GPT2Config; UsageError for variants that our blocks do not cover."""
    unsupported = {
        "activation_function": config.activation_function != "gelu_new",
        "n_inner": config.n_inner not in (None, 4 * config.n_embd),
        "layer_norm_epsilon": config.layer_norm_epsilon != 1e-5,
        "scale_attn_by_inverse_layer_idx": config.scale_attn_by_inverse_layer_idx,
        "scale_attn_weights": not config.scale_attn_weights,
        "add_cross_attention": config.add_cross_attention,
    }
    if names := [name for name, holds in unsupported.items() if holds]:
        raise UsageError(
            f"this GPT-2 has a {names[0]} of its own ({getattr(config, names[0])}), which is not built here"
        )
    return TransformerSpec(
        dim=config.n_embd, depth=config.n_layer, heads=config.n_head, gelu=Gelu.TANH, tied=True, rotary=False,
        positions=Positions.START, causal=True, biases=True,
    )  # fmt: skip


def from_transformers(state: dict[str, Tensor], config: Any) -> Transformer:
    """Our network with the weights of a GPT2LMHeadModel; RunError unless they match one to one."""
    spec = spec_of(config)
    net = Transformer(spec, config.vocab_size, config.vocab_size, config.n_positions)
    theirs = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    head = theirs.pop("lm_head.weight", None)
    if head is not None and not torch.equal(head, theirs["wte.weight"]):
        raise UsageError("this GPT-2 has an output layer of its own; only tied ones are built here")
    ours = rename_weights(theirs, spec.depth)
    expected = net.state_dict()
    if ours.keys() != expected.keys() or any(ours[name].shape != expected[name].shape for name in ours):
        raise RunError("these weights are not those that GPT-2 of this configuration has")
    net.load_state_dict(ours)
    return net


def rename_weights(state: dict[str, Tensor], depth: int) -> dict[str, Tensor]:
    """GPT-2's weights under our names; other entries, such as masks kept as buffers, are left out."""
    weights = {
        "embed.weight": state["wte.weight"],
        "positions": state["wpe.weight"][None],
        "head.norm.weight": state["ln_f.weight"],
        "head.norm.bias": state["ln_f.bias"],
    }
    for i in range(depth):
        for theirs, ours, transposed in NORM_AND_LINEAR:
            weight = state[f"h.{i}.{theirs}.weight"]
            weights[f"blocks.{i}.{ours}.weight"] = weight.T.contiguous() if transposed else weight
            weights[f"blocks.{i}.{ours}.bias"] = state[f"h.{i}.{theirs}.bias"]
    return weights


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
