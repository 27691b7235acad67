"""A new run folder, complete from the moment that it exists."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mezzotint.data.lengths import Lengths
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.spec.training import TrainingSpec
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.types import SystemSpec


@dataclass(frozen=True, kw_only=True)
class NewRun:
    """What stands in a run folder when it begins."""

    system: str
    spec: SystemSpec
    training: TrainingSpec | None
    """None for a run that was never trained here."""
    data: Mapping[str, Any]
    """Where the text came from; the fields that every run has are listed in `folder.read_config`."""
    seed: int
    tokenizer: Tokenizer
    lengths: Lengths | None = None
    processes: int = 1
    """How many train it together."""
    weights: Mapping[str, Tensor] | None = None
    """Under the names of `checkpoint.named`; None where training will write them."""
    frozen: Mapping[str, Tensor] | None = None
    """The same of networks that are never trained: a run has to go on when the one that they came from is gone."""
    table: Tensor | None = None
    """(V, width): the vectors of tokens that training begins with, where it was given some."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the configuration."""
    records: Mapping[str, Any] = field(default_factory=dict)
    """Further files, as JSON."""


def create(out: Path, run: NewRun) -> None:
    """Write a run folder at `out`; RunError where it cannot be made there, and then nothing of it is left."""
    with files.atomic_folder(out) as aside:
        run.tokenizer.save(aside / files.TOKENIZER)
        if run.lengths is not None:
            files.put_json(aside / files.LENGTHS, run.lengths.to_json())
        if run.weights is not None:
            _save_weights(aside / files.MODEL, run.weights)
        if run.frozen is not None:
            _save_weights(aside / files.FROZEN, run.frozen)
        if run.table is not None:
            _save_weights(aside / files.EMBEDDINGS, {"table": run.table})
        for name, record in run.records.items():
            files.put_json(aside / name, record)
        files.put_json(aside / files.CONFIG, _config(run))


def _save_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    path.touch()
    mode = path.stat().st_mode  # as other files have it; save_file lets nobody else read what it writes
    save_file({k: v.contiguous() for k, v in weights.items()}, path)
    path.chmod(mode)
    files.sync(path)


def _config(run: NewRun) -> Mapping[str, Any]:
    return {
        "format": files.FORMAT,
        "system": run.system,
        "can": sorted(ability.value for ability in entry(run.system).load(entry(run.system).card).can),
        "spec": run.spec.to_json(),
        "training": None if run.training is None else run.training.to_json(),
        "data": run.data,
        "seed": run.seed,
        **run.more,
        "versions": _versions(),
        "hardware": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {run.processes} processes" if run.processes > 1 else ""),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("mezzotint", "torch", "tokenizers", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
