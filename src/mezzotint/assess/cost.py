"""What a run costs: its size on disk and in memory, its loading time, its tokens a second; its bound beside them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from mezzotint.assess.scores import bound
from mezzotint.errors import DataError, HubError, UsageError
from mezzotint.evaluate.table import Score
from mezzotint.held_out import Texts
from mezzotint.run import Run, load
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import named, networks
from mezzotint.translation.scores import held_out_pairs, pair_bound
from mezzotint.types import Can

BATCHES = (1, 32)
"""Texts written at once where speed is measured."""
MEMORY_NOTE = "weights as they are loaded; codes of few bits are unpacked, and save room on disk alone"


def size_and_bound(
    path: str | Path, data: Sequence[str | Path] = (), *, field: str | None = None, device: str = "auto"
) -> Iterator[Score]:
    """What a run costs and is worth: megabytes (10^6 bytes) of its weights on disk, and its bound on `data`.

    Without `data` on the texts that were held out when it was trained; where these are not here, the size alone.
    """
    run = load(path, device=device)
    size = (run.folder / files.MODEL).stat().st_size
    weights = sum(tensor.numel() for tensor in named(run.system.players).values())
    yield Score("model_mb", size / 1e6, None, 1, f"on disk, {8 * size / weights:.1f} bits a weight")
    try:
        if Can.TRANSLATE in run.card.can:
            yield from pair_bound(run, *held_out_pairs(run, data), seed=0)
        else:
            yield from bound(run, Texts(run, data, field))
    except (DataError, HubError, UsageError):
        if data:
            raise


def throughput(
    runs: Mapping[str, str | Path],
    *,
    batches: Sequence[int] = BATCHES,
    steps: int = 16,
    rounds: int = 5,
    device: str = "auto",
) -> Iterator[tuple[str, Score]]:
    """(column, score) of each run: seconds until it is loaded, megabytes (10^6 bytes) of its weights in memory, and
    tokens a second at some batches. Medians of rounds in which the runs take turns; the note has the least and the
    most."""
    loaded: dict[str, Run] = {}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, path in runs.items():
            start = time.perf_counter()
            loaded[name] = load(path, device=device)
            seconds[name].append(time.perf_counter() - start)
    for name, run in loaded.items():
        yield name, _median("load_seconds", seconds[name], f"{rounds} rounds")
        tensors = (tensor for module in networks(run.system) for tensor in module.state_dict().values())
        yield name, Score("memory_mb", sum(t.numel() * t.element_size() for t in tensors) / 1e6, None, 1, MEMORY_NOTE)
    for batch in batches:
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for seed in range(rounds):
            for name, run in loaded.items():
                start = time.perf_counter()
                samples = run.generate(batch, steps=steps, seed=seed, batch_size=batch)
                rates[name].append(sum(len(s.ids) for s in samples) / (time.perf_counter() - start))
        for name in runs:
            yield name, _median(f"tokens_per_second_{batch}", rates[name], f"{steps} steps, {rounds} rounds")


def _median(name: str, values: Sequence[float], note: str) -> Score:
    return Score(name, median(values), None, len(values), f"{note}, {min(values):.3g} to {max(values):.3g}")
