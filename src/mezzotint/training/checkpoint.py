"""Checkpoints: all that a run needs to go on as if it had never stopped. Safetensors and JSON, never pickle.

A checkpoint is written into a folder aside, each file waited for, and renamed into place; only then is the oldest but
two removed. So at any moment of a crash the last complete checkpoint is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mezzotint.errors import RunError
from mezzotint.training.folder import CHECKPOINTS, FROZEN, digest, put_json, read_json, steps_saved, sync
from mezzotint.types import HasFrozen, System

KEPT = 2
FILES = ("weights", "ema", "optimiser")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a run by name, and its counters."""

    weights: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    counters: Mapping[str, Any]
    """step, elapsed (seconds), finished."""


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint of a run and remove those before the last two; returns its folder."""
    root = folder / CHECKPOINTS
    root.mkdir(exist_ok=True)
    final = root / str(checkpoint.counters["step"])
    if final.exists() and _is_intact(final):
        # The same step has the same tensors; only the counters can have moved on.
        sums = read_json(final / "state.json")["sha256"]
        put_json(final / "state.json", {**checkpoint.counters, "sha256": sums})
        return final
    shutil.rmtree(final, ignore_errors=True)
    aside = root / f".{final.name}.{os.getpid()}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in FILES:
        save_file({k: v.detach().contiguous() for k, v in getattr(checkpoint, name).items()}, _file(aside, name))
        sync(_file(aside, name))
    sums = {name: digest(_file(aside, name)) for name in FILES}
    put_json(aside / "state.json", {**checkpoint.counters, "sha256": sums})
    os.rename(aside, final)
    sync(root)
    _remove_old(root)
    return final


def _remove_old(root: Path) -> None:
    for step in steps_saved(root.parent)[:-KEPT]:
        shutil.rmtree(root / str(step))
    for leftover in root.glob(".*"):
        shutil.rmtree(leftover, ignore_errors=True)


def newest(folder: Path) -> tuple[Checkpoint, list[str]] | None:
    """The newest intact checkpoint, with a sentence for each damaged one skipped; None if there is none at all.

    RunError if there are checkpoints and every one is damaged.
    """
    skipped: list[str] = []
    for step in reversed(steps_saved(folder)):
        try:
            return load(folder / CHECKPOINTS / str(step)), skipped
        except RunError as e:
            skipped.append(str(e))
    if skipped:
        raise RunError(f"no checkpoint of {folder} is intact: " + "; ".join(skipped))
    return None


def load(path: Path) -> Checkpoint:
    """One checkpoint, every file checked against its sum."""
    state = read_json(path / "state.json")
    if not isinstance(state, dict) or not {"step", "elapsed", "finished", "sha256"} <= state.keys():
        raise RunError(f"{path / 'state.json'} is damaged: it lacks the counters that every checkpoint has")
    sums = state.pop("sha256")
    for name in FILES:
        file = _file(path, name)
        if not file.exists():
            raise RunError(f"{file} is missing; a checkpoint has one")
        if digest(file) != sums.get(name):
            raise RunError(f"{file} is damaged: its contents are not those that were written")
    weights, ema, optimiser = (load_file(_file(path, name)) for name in FILES)
    return Checkpoint(weights, ema, optimiser, state)


def _is_intact(path: Path) -> bool:
    try:
        load(path)
    except RunError:
        return False
    return True


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def read_weights(path: Path, modules: Mapping[str, nn.Module]) -> None:
    """Load a file of weights into the modules, strictly: same names, same shapes. RunError says which differ."""
    fill(modules, read_tensors(path), str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of a run, by name; RunError if it is missing or damaged."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise RunError(f"{path} is missing; a trained run has one") from None
    except (SafetensorError, OSError) as e:
        raise RunError(f"{path} is damaged ({e}); expected a safetensors file") from None


def read_frozen(folder: Path, system: System) -> None:
    """Load the frozen networks that a system writes with, where it has some, from its run's folder."""
    if modules := _frozen(system):
        read_weights(folder / FROZEN, modules)


def networks(system: System) -> list[nn.Module]:
    """The networks that a system writes with, frozen and trained."""
    return [*_frozen(system).values(), *system.players.values()]


def _frozen(system: System) -> Mapping[str, nn.Module]:
    """The frozen networks that a system writes with; no teacher is among them."""
    return system.frozen if system.card.backbone and isinstance(system, HasFrozen) else {}


def parameter_counts(system: System) -> tuple[int, int]:
    """How many parameters of a system are trained, and how many are frozen."""
    trained = {id(p): p.numel() for module in system.players.values() for p in module.parameters() if p.requires_grad}
    numels = {id(p): p.numel() for module in networks(system) for p in module.parameters()}
    return sum(trained.values()), sum(numels.values()) - sum(trained.values())


def fill(
    modules: Mapping[str, nn.Module],
    tensors: Mapping[str, Tensor],
    source: str,
    local_shard: Callable[[Tensor, Tensor], Tensor] = lambda tensor, like: tensor,
) -> None:
    """Copy tensors named `<module>.<parameter>` into the modules, strictly.

    `local_shard` gives this process's part of a whole tensor, where that is not all of it.
    """
    expected = named(modules)
    for problem, names in (
        ("lacks", sorted(expected.keys() - tensors.keys())),
        ("has unknown", sorted(tensors.keys() - expected.keys())),
    ):
        if names:
            raise RunError(f"{source} {problem} {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            shapes = f"{list(tensor.shape)}, expected {list(expected[name].shape)}"
            raise RunError(f"{source} has {name} of shape {shapes}: the weights are another model's")
    with torch.no_grad():
        for name, tensor in tensors.items():
            expected[name].copy_(local_shard(tensor, expected[name]))


def named(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """All parameters and buffers that are saved, under `<module>.<parameter>`."""
    return {f"{m}.{k}": v for m, module in modules.items() for k, v in module.state_dict().items()}
