"""Adapters of a trained network: they are added, everything else is frozen, and they are merged afterwards.

Sources: Hu et al. 2021 (LoRA), arXiv:2106.09685, through peft; as QE-CDLM's code has it (Kang et al. 2024,
arXiv:2402.10107): rank 8, scale 2, second factor zero. Departure: the code leaves its backbone trainable (83.5 % of
all weights); here nothing but what was added learns. Departure: queries, keys and values are one matrix here, which is
adapted as a whole; the code adapts queries and values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from mezzotint.errors import CapabilityError
from mezzotint.net.attention import INHIBITION, Attention
from mezzotint.spec.adapter import Adapt
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.training.checkpoint import fill, named
from mezzotint.types import SystemSpec

RANK = 8
SCALE = 2.0
"""By what the product of both factors is multiplied (alpha / rank)."""
BASE, DOWN, UP = ".base_layer.", ".lora_A.default.", ".lora_B.default."
"""Where peft keeps the adapted layer and the two factors beside it."""
NO_ATTENTION = "this run has no attention of the kind that adapters are for; use --adapter none"


def tuned_spec(spec: SystemSpec, adapt: Adapt) -> SystemSpec:
    """The spec of the network with its adapters, where they are part of it.

    CapabilityError where there is no attention that could be adapted.
    """
    if adapt is not Adapt.INA:
        return spec
    net = getattr(spec, "net", None)
    if not isinstance(net, TransformerSpec):
        raise CapabilityError(NO_ATTENTION)
    return replace(spec, net=replace(net, inhibition=True))


def load_with_adapters(
    players: Mapping[str, nn.Module], *, tensors: Mapping[str, Tensor], source: str, adapt: Adapt, seed: int
) -> None:
    """Give networks the weights of a trained run and fresh adapters, which change nothing at first.

    CapabilityError where there is no attention that could be adapted.
    """
    gates = {name: torch.zeros_like(t) for name, t in named(players).items() if f".{INHIBITION}." in name}
    fill(players, {**gates, **tensors}, source)
    add_adapters(players, adapt, seed)


def add_adapters(players: Mapping[str, nn.Module], adapt: Adapt, seed: int) -> None:
    """Add fresh adapters and freeze the rest; a checkpoint is read into the result."""
    if adapt is Adapt.NONE:
        return
    if not any(True for _ in _attentions(players)):
        raise CapabilityError(NO_ATTENTION)
    if adapt is Adapt.LORA:
        for module in players.values():
            _inject(module, torch.Generator().manual_seed(seed))
    for module in players.values():
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(".lora_" in f".{name}" or f".{INHIBITION}." in f".{name}")


def merge_lora(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with factors of low rank merged into the layers beside them, W + SCALE B A, under those layers' names
    without adapters."""
    merged = {}
    for name, tensor in tensors.items():
        if DOWN in name or UP in name:
            continue
        if BASE not in name:
            merged[name] = tensor
            continue
        place, kind = name.split(BASE)
        down, up = (tensors.get(f"{place}{factor}weight") for factor in (DOWN, UP))
        added = SCALE * (up @ down) if kind == "weight" and down is not None and up is not None else 0
        merged[f"{place}.{kind}"] = tensor + added
    return merged


def remove_lora(players: Mapping[str, nn.Module]) -> None:
    """Put the layers back in place of those with factors of low rank beside them."""
    for attention in _attentions(players):
        base = getattr(attention.qkv, "base_layer", None)
        if base is not None:
            attention.qkv = base


def _attentions(players: Mapping[str, nn.Module]) -> Iterator[Attention]:
    return (part for module in players.values() for part in module.modules() if isinstance(part, Attention))


def _inject(module: nn.Module, generator: torch.Generator) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    targets = [f"{name}.qkv" for name, part in module.named_modules() if isinstance(part, Attention)]
    if targets:
        config = LoraConfig(r=RANK, lora_alpha=int(SCALE * RANK), lora_dropout=0.0, target_modules=targets)
        inject_adapter_in_model(config, module)
    for name, parameter in module.named_parameters():
        # peft draws from the global generator; a run's numbers come from its seed.
        with torch.no_grad():
            if DOWN in name:
                bound = 1 / math.sqrt(parameter.shape[1])
                parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
            elif UP in name:
                parameter.zero_()
