"""Which weights of a file are imported, and their names there and here.

Names and order are those of the DiT in kuleshov-group/mdlm (Sahoo et al. 2024, arXiv:2406.07524), whose parameters
map one to one to `net/transformer.py`. Names have to be equal exactly, and so have shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import torch
from torch import Tensor

from mezzotint.errors import RunError
from mezzotint.importing.source import printable

EMA = "ema"
RAW = "raw"
WEIGHT_SETS = (EMA, RAW)
PREFIX = re.compile(r"((?:backbone|student_ema|model|_orig_mod)\.)+")
IGNORED = (
    (re.compile(r"teacher\..*"), "the teacher, which writing does not need"),
    (re.compile(r"discriminator\..*"), "the discriminator, which writing does not need"),
    (re.compile(r"reward_baseline"), "a scalar of the distillation"),
    (re.compile(r"rotary_emb\.inv_freq"), "computed anew"),
    (re.compile(r"sampling_eps_m(in|ax)"), "a scalar of the training"),
)
BLOCK = re.compile(r"blocks\.([0-9]{1,9})\.")
FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


@dataclass(frozen=True)
class Shape:
    """The sizes of the network, as the shapes of its weights have them."""

    vocab: int
    """Tokens, the mask among them."""
    dim: int
    depth: int
    condition: int


@dataclass(frozen=True)
class WeightSet:
    """The set of weights that is imported."""

    label: str
    """Which set it is, for the report."""
    tensors: Mapping[str, Tensor]
    """By their published names, prefixes gone."""
    ignored: Mapping[str, str]
    """The file's other names, each with the reason."""
    frequencies: Tensor | None = None
    """The rotary buffer, which tells the width of a head."""


@dataclass
class _NamedTensors:
    """Tensors of one kind by their names without prefixes."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    full_names: list[str] = field(default_factory=list)
    """Their names with prefixes."""


@dataclass
class _Groups:
    """The tensors of a file by what they are."""

    raw: _NamedTensors = field(default_factory=_NamedTensors)
    ema: _NamedTensors = field(default_factory=_NamedTensors)
    ignored: dict[str, str] = field(default_factory=dict)
    frequencies: Tensor | None = None


def select_weights(
    tensors: Mapping[str, Any], averages: Sequence[Any] | None, requested: str | None, where: str
) -> WeightSet:
    """The averaged weights where there are some, else the raw ones; or the `requested` ones.

    `averages` is the list `ema.shadow_params` of a Lightning file, in the order of the raw parameters. A student's own
    `student_ema.*` comes before it. RunError where the file lacks the set that was asked for.
    """
    groups = _group(tensors, where)
    if not groups.raw.tensors and not groups.ema.tensors:
        raise RunError(f"{where} holds no weights of a network")
    if requested == RAW or (requested is None and not groups.ema.tensors and averages is None):
        if not groups.raw.tensors:
            raise RunError(f"{where} has averaged weights only; leave --weights out")
        unused = dict.fromkeys(groups.ema.full_names, "an averaged weight, and the raw ones were taken")
        return WeightSet(
            "raw" if requested == RAW else "only", groups.raw.tensors, groups.ignored | unused, groups.frequencies
        )
    if groups.ema.tensors:
        unused = dict.fromkeys(groups.raw.full_names, "a raw weight, and the averaged ones were taken")
        return WeightSet("averaged (student_ema)", groups.ema.tensors, groups.ignored | unused, groups.frequencies)
    if averages is None:
        raise RunError(f"{where} has one set of weights and does not call it averaged; leave --weights out")
    averaged = _in_order(groups.raw.tensors, averages, where)
    return WeightSet("averaged (ema)", averaged, groups.ignored, groups.frequencies)


def shape_of(tensors: Mapping[str, Tensor], where: str) -> Shape:
    """The sizes of a network from its weights; RunError where those that tell them are not there."""
    table, time = tensors.get("vocab_embed.embedding"), tensors.get("sigma_map.mlp.2.bias")
    if table is not None and time is None and not any(name.startswith("sigma_map.") for name in tensors):
        raise RunError(f"{where} holds a network without sigma_map, as autoregressive ones are; it cannot be imported")
    if table is None or time is None or table.ndim != 2 or time.ndim != 1:
        raise RunError(f"{where} holds no network of MDLM's; it needs vocab_embed.embedding, sigma_map.mlp.2.bias, …")
    depth = len({match[1] for name in tensors if (match := BLOCK.match(name))})
    return Shape(vocab=table.shape[0], dim=table.shape[1], depth=depth, condition=time.shape[0])


def convert(tensors: Mapping[str, Tensor], shape: Shape, file_bytes: int, where: str) -> dict[str, Tensor]:
    """The tensors in float32 under our names; RunError unless names and shapes are exactly those of such a network.

    `file_bytes` is the size of the file, which no set of weights can exceed.
    """
    expected = layout(shape)
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected]
    if missing or unexpected:
        present = f"{len(expected) - len(missing)} are there"
        raise RunError(
            f"{where} does not hold this network: of the {len(expected)} weights that {shape.depth} blocks have, "
            f"{present}, {_summary('missing', missing)}, {_summary('left over', unexpected)}"
        )
    for name, (_, size) in expected.items():
        if tuple(tensors[name].shape) != size:
            raise RunError(f"{where} has {name} of shape {list(tensors[name].shape)}, expected {list(size)}")
    if sum(t.numel() * t.element_size() for t in tensors.values()) > file_bytes:
        raise RunError(f"{where} is damaged: its weights claim more numbers than the file has room for")
    copied = {theirs: tensors[theirs].detach().to(torch.float32, copy=True).contiguous() for theirs in expected}
    for theirs, tensor in copied.items():
        if not bool(tensor.isfinite().all()):
            raise RunError(f"{where} is damaged: {theirs} holds numbers that are not finite")
    return {name: copied[theirs] for theirs, (name, _) in expected.items()}


def layout(shape: Shape) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Published names in the order of `parameters()`, each with our name and its shape."""
    V, D, C = shape.vocab, shape.dim, shape.condition
    names: dict[str, tuple[str, tuple[int, ...]]] = {
        "vocab_embed.embedding": ("embed.weight", (V, D)),
        "sigma_map.mlp.0.weight": ("time.up.weight", (C, 256)),
        "sigma_map.mlp.0.bias": ("time.up.bias", (C,)),
        "sigma_map.mlp.2.weight": ("time.down.weight", (C, C)),
        "sigma_map.mlp.2.bias": ("time.down.bias", (C,)),
    }
    for i in range(shape.depth):
        block = {
            "norm1.weight": ("norm1.weight", (D,)),
            "attn_qkv.weight": ("attention.qkv.weight", (3 * D, D)),
            "attn_out.weight": ("attention.out.weight", (D, D)),
            "norm2.weight": ("norm2.weight", (D,)),
            "mlp.0.weight": ("up.weight", (4 * D, D)),
            "mlp.0.bias": ("up.bias", (4 * D,)),
            "mlp.2.weight": ("down.weight", (D, 4 * D)),
            "mlp.2.bias": ("down.bias", (D,)),
            "adaLN_modulation.weight": ("modulation.weight", (6 * D, C)),
            "adaLN_modulation.bias": ("modulation.bias", (6 * D,)),
        }
        names |= {f"blocks.{i}.{theirs}": (f"blocks.{i}.{name}", size) for theirs, (name, size) in block.items()}
    return names | {
        "output_layer.norm_final.weight": ("head.norm.weight", (D,)),
        "output_layer.linear.weight": ("head.weight", (V, D)),
        "output_layer.linear.bias": ("head.bias", (V,)),
        "output_layer.adaLN_modulation.weight": ("head.modulation.weight", (2 * D, C)),
        "output_layer.adaLN_modulation.bias": ("head.modulation.bias", (2 * D,)),
    }


def heads_of(frequencies: Tensor | None, dim: int, where: str) -> int | None:
    """The number of heads by the rotary buffer; None without one, RunError if its base is not 10000."""
    if frequencies is None:
        return None
    half = frequencies.numel()
    if frequencies.ndim != 1 or not half or dim % (2 * half):
        raise RunError(f"{where} has rotary_emb.inv_freq of shape {list(frequencies.shape)}, which fits no width {dim}")
    expected = 10000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
    if not torch.allclose(frequencies.double(), expected, rtol=0.01):
        raise RunError(f"{where} has rotary positions of another base than 10000, and only that one is built here")
    return dim // (2 * half)


def never_predicts_mask(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the head's row for the mask is as it began, zero: masked diffusion gives it no gradient (MDLM §3.2.3)."""
    row, bias = tensors["output_layer.linear.weight"][-1], tensors["output_layer.linear.bias"][-1]
    return not bool(row.any()) and math.isclose(float(bias), 0)


def _group(tensors: Mapping[str, Any], where: str) -> _Groups:
    groups = _Groups()
    for full_name, tensor in tensors.items():
        prefix = match[0] if (match := PREFIX.match(full_name)) else ""
        name = full_name.removeprefix(prefix)
        reason = next((reason for pattern, reason in IGNORED if pattern.fullmatch(name)), None)
        if reason is not None:
            groups.ignored[printable(full_name)] = reason
            if name == "rotary_emb.inv_freq" and _is_plain(tensor):
                groups.frequencies = tensor
            continue
        if not _is_plain(tensor):
            raise RunError(f"{where} has something else than a tensor of numbers at {printable(full_name)}")
        group = groups.ema if "student_ema." in prefix else groups.raw
        if name in group.tensors:
            raise RunError(f"{where} has {printable(name)} twice, under two prefixes; it is not clear which is meant")
        group.tensors[name] = tensor
        group.full_names.append(printable(full_name))
    return groups


def _in_order(raw: Mapping[str, Tensor], averages: Sequence[Any], where: str) -> dict[str, Tensor]:
    """The averages under the names of the raw parameters, whose order the file itself keeps."""
    if len(averages) != len(raw) or not all(map(_is_plain, averages)):
        raise RunError(f"{where} has {len(averages)} averaged weights for {len(raw)} raw ones; use --weights raw")
    return dict(zip(raw, averages, strict=True))


def _is_plain(value: object) -> TypeGuard[Tensor]:
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and isinstance(value, Tensor)
        and value.dtype in FLOATS
        and value.layout is torch.strided
        and value.device.type == "cpu"
    )


def _summary(kind: str, names: Sequence[str]) -> str:
    if not names:
        return f"none {kind}"
    return f"{len(names)} {kind} ({', '.join(_first_names(names))})"


def _first_names(names: Sequence[str]) -> Iterator[str]:
    yield from map(printable, names[:3])
    if len(names) > 3:
        yield "…"
