"""Which device, and which precision pays on it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from mezzotint.errors import UsageError
from mezzotint.spec.training import Precision
from mezzotint.training.team import launched


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU if there is one, else the processor; of several processes each takes a GPU of its own.

    UsageError for a device that is not there.
    """
    if name == "auto":
        spared = os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
        return pick_device("cuda" if torch.cuda.is_available() and not spared else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}'; known: auto, cpu, cuda, cuda:1") from None
    if device.type not in ("cpu", "cuda"):
        # Apple's GPUs have no float64, which times and quantiles are in.
        raise UsageError(f"device '{name}' is not one we know how to use; known: auto, cpu, cuda, cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"device '{name}' is not here: torch sees no GPU; use --device cpu")
    return _own(device) if device.type == "cuda" and launched().size > 1 else device


def _own(device: torch.device) -> torch.device:
    """The GPU of this process among several, which torch is told to use."""
    here, there = launched(), torch.cuda.device_count()
    if device.index is not None:
        raise UsageError(f"device '{device}' is one GPU and these are {here.size} processes; say cuda or auto")
    if here.local >= there:
        raise UsageError(f"there are more processes than GPUs on this machine, which has {there}; launch one for each")
    torch.cuda.set_device(here.local)
    return torch.device("cuda", here.local)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has matrix arithmetic in bf16. Without it a processor is slower in bf16, by five times."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def pick_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The type of the matrix products."""
    if precision is Precision.AUTO:
        return torch.bfloat16 if multiplies_bf16(device) else torch.float32
    return torch.bfloat16 if precision is Precision.BF16 else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> Callable[[], AbstractContextManager[object]]:
    """Contexts in which training computes: weights stay float32, products are in `dtype`."""
    if dtype is torch.float32:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype)
