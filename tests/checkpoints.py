"""Small files in the forms in which masked diffusion models are published, made without the projects that make them.

Names and shapes are written down here a second time, from the published table, so that the importer's own is checked.
"""

from __future__ import annotations

import json
import sys
import types
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from torch import Tensor

DIM, DEPTH, HEADS, CONDITION, LENGTH = 16, 2, 2, 8, 12
MERGES = ["Ġ t", "h e", "Ġt he", "Ġ a", "c a", "ca t"]
"""Ġ is a space."""
ENTRIES = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(m.replace(" ", "") for m in MERGES), "<|endoftext|>"]
VOCAB = len(ENTRIES)
"""Tokens; the mask is the id that follows."""
END = VOCAB - 1


def shapes(vocab: int = VOCAB + 1) -> dict[str, tuple[int, ...]]:
    """The names of the DiT in the order of its parameters."""
    D, C = DIM, CONDITION
    table: dict[str, tuple[int, ...]] = {
        "vocab_embed.embedding": (vocab, D),
        "sigma_map.mlp.0.weight": (C, 256), "sigma_map.mlp.0.bias": (C,),
        "sigma_map.mlp.2.weight": (C, C), "sigma_map.mlp.2.bias": (C,),
    }  # fmt: skip
    for i in range(DEPTH):
        table |= {
            f"blocks.{i}.norm1.weight": (D,),
            f"blocks.{i}.attn_qkv.weight": (3 * D, D), f"blocks.{i}.attn_out.weight": (D, D),
            f"blocks.{i}.norm2.weight": (D,),
            f"blocks.{i}.mlp.0.weight": (4 * D, D), f"blocks.{i}.mlp.0.bias": (4 * D,),
            f"blocks.{i}.mlp.2.weight": (D, 4 * D), f"blocks.{i}.mlp.2.bias": (D,),
            f"blocks.{i}.adaLN_modulation.weight": (6 * D, C), f"blocks.{i}.adaLN_modulation.bias": (6 * D,),
        }  # fmt: skip
    return table | {
        "output_layer.norm_final.weight": (D,),
        "output_layer.linear.weight": (vocab, D), "output_layer.linear.bias": (vocab,),
        "output_layer.adaLN_modulation.weight": (2 * D, C), "output_layer.adaLN_modulation.bias": (2 * D,),
    }  # fmt: skip


def weights(seed: int = 0, vocab: int = VOCAB + 1) -> dict[str, Tensor]:
    """Random ones, but for the mask's output, which masked diffusion leaves at zero."""
    generator = torch.Generator().manual_seed(seed)
    made = {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes(vocab).items()}
    made["output_layer.linear.weight"][-1] = made["output_layer.linear.bias"][-1] = 0
    return made


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def frequencies(heads: int = HEADS) -> Tensor:
    """The rotary buffer."""
    half = DIM // heads // 2
    return 10000.0 ** -(torch.arange(half) / half)


def gpt2_json(**changes: Any) -> str:
    """A tokenizer.json of GPT-2's kind with few merges."""
    values: dict[str, Any] = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [
            {"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
            for i, name in ((END, "<|endoftext|>"), (VOCAB, "[PAD]"))
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {"type": "BertProcessing", "sep": ["<|endoftext|>", END], "cls": ["<|endoftext|>", END]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {name: i for i, name in enumerate(ENTRIES)}, "merges": MERGES},
    }  # fmt: skip
    return json.dumps(values | changes)


CONFIG = {
    "parameterization": "subs", "backbone": "dit", "diffusion": "absorbing_state", "time_conditioning": False,
    "model": {"name": "small", "length": LENGTH, "n_heads": HEADS, "hidden_size": DIM, "dropout": 0.1},
}  # fmt: skip
"""Hyper-parameters as in the project mdlm."""


@contextmanager
def stubs(*names: str) -> Iterator[dict[str, type]]:
    """Classes of these dotted names in modules of their own, which exist as long as the block."""
    made: dict[str, type] = {}
    modules: dict[str, types.ModuleType] = {}
    for whole in names:
        module, _, name = whole.rpartition(".")
        made[name] = type(name, (), {"__module__": module, "__qualname__": name})
        parents = [module.rsplit(".", n)[0] for n in range(module.count(".") + 1)]
        modules |= {parent: types.ModuleType(parent) for parent in parents if parent not in modules}
        modules[module].__dict__[name] = made[name]
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


OMEGACONF = (
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode",
    "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata",
)  # fmt: skip
TRANSFORMERS = ("transformers.models.gpt2.tokenization_gpt2_fast.GPT2TokenizerFast",)


def save_lightning(path: Path, state: Mapping[str, Tensor], config: Mapping[str, Any] = CONFIG, **more: Any) -> Path:
    """A .ckpt as Lightning writes one for mdlm: OmegaConf containers and a pickled tokenizer among its parts.

    `more` are further entries; `tokenizer` a tokenizer.json, without which the object has none in it.
    """
    with stubs(*OMEGACONF, *TRANSFORMERS, "tokenizers.Tokenizer") as kinds:
        held = {
            "epoch": 0, "global_step": 3, "pytorch-lightning_version": "2.2.1",
            "state_dict": OrderedDict(state),
            "loops": {"fit_loop": {"epoch_progress": {"current": {"completed": 0}}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"kth_value": torch.tensor(0.0)}},
            "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"betas": (0.9, 0.99)}]}],
            "hyper_parameters": {"config": _container(config, kinds), "tokenizer": _tokenizer(kinds, more)},
            **more,
        }  # fmt: skip
        torch.save(held, path)
    return path


def _tokenizer(kinds: Mapping[str, type], more: dict[str, Any]) -> Any:
    outer, text = kinds["GPT2TokenizerFast"](), more.pop("tokenizer", None)
    if text is not None:
        kinds["Tokenizer"].__getstate__ = lambda self: text.encode()
        outer._tokenizer = kinds["Tokenizer"]()
    return outer


def _container(value: Any, kinds: Mapping[str, type]) -> Any:
    """A value as OmegaConf's containers and nodes hold it."""
    metadata = kinds["ContainerMetadata" if isinstance(value, dict | list) else "Metadata"]()
    metadata.ref_type, metadata.object_type, metadata.resolver_cache = Any, dict, defaultdict(dict, seen={"x": 1})
    node = kinds["DictConfig" if isinstance(value, dict) else "ListConfig" if isinstance(value, list) else "AnyNode"]()
    node._metadata, node._parent = metadata, None
    if isinstance(value, dict):
        node._content = {name: _container(inner, kinds) for name, inner in value.items()}
        for inner in node._content.values():
            inner._parent = node
    elif isinstance(value, list):
        node._content = [_container(inner, kinds) for inner in value]
    else:
        node._val = value
    return node
