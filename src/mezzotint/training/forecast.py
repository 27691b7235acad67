"""What a training would take: some of its own steps and a validation, timed, and nothing kept."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mezzotint.data.batches import POOL, Batches
from mezzotint.training.checkpoint import parameter_counts
from mezzotint.training.loop import Batches as Batch
from mezzotint.training.loop import Trainer
from mezzotint.types import Canvas

ENOUGH = 5.0
"""Seconds of steps after which a whole pool of batches ends the trial."""
TOO_MUCH = 30.0
"""Seconds after which any step ends it."""
BYTES_TRAINED = 20
"""Of a number that is trained: itself, its gradient, its average and Adam's two moments, all float32."""
BYTES_FROZEN = 4


@dataclass(frozen=True)
class Forecast:
    """What a training would take on this machine, as it is loaded now."""

    trained: int
    frozen: int
    """Numbers in the networks, over all processes."""
    steps: int
    epochs: float
    step_seconds: float
    tokens_per_second: float
    seconds: float
    """Of the whole training with its validations. What a system does only late in a training is not foreseen."""
    weights_bytes: int
    """Of weights, gradients, averages and optimiser state, in this process."""
    peak_bytes: int | None
    """The most memory that this process has had (on a GPU: of that GPU); None where the system does not say."""
    tried: int
    """Steps that were timed."""


def forecast(trainer: Trainer, batches: Batch, lengths: NDArray[np.int64], validate: Callable[[], object]) -> Forecast:
    """Trains a fresh trainer for some seconds; `lengths` (n,) are those of the rows that `batches` deals.

    A step's time is taken as proportional to its tokens, so that a few batches stand for all.
    """
    order = Batches(lengths, trainer.spec.batch, trainer.seed)
    sizes: list[int] = []
    seconds, before = 0.0, 0.0
    chosen = _steps(order)
    taken: list[int] = []

    def batch(step: int, first: int, count: int) -> Canvas:
        while len(taken) <= step:
            taken.append(next(chosen))
        return batches(taken[step], first, count)

    for tick in trainer.run(batch, report_every=0):
        # The first step is the longest, for the memory it takes, and is no measure of time: it allocates.
        if tick.step > 1:
            seconds += tick.elapsed - before
            sizes.append(_tokens(order, taken[tick.step - 1]))
        before = tick.elapsed
        if seconds > TOO_MUCH or (seconds > ENOUGH and len(sizes) % POOL == 0):
            break
    if not sizes:
        seconds, sizes = before, [_tokens(order, taken[0])]
    began = time.monotonic()
    validate()
    validation = time.monotonic() - began
    return _extrapolated(trainer, order, seconds / sum(sizes), validation, len(sizes))


def _steps(order: Batches) -> Iterator[int]:
    """The step with most tokens of the first pool, then all steps, each pool's spread so that any few are typical."""
    yield max(range(POOL), key=lambda step: _tokens(order, step))
    first = 0
    while True:
        pool = sorted(range(first, first + POOL), key=lambda step: _tokens(order, step))
        # 5 and 16 have no common divisor, so that this goes through all.
        yield from (pool[(POOL // 2 + 5 * k) % POOL] for k in range(POOL))
        first += POOL


def _tokens(order: Batches, step: int) -> int:
    return sum(int(order.lengths[row]) for row in order.rows(step))


def _extrapolated(trainer: Trainer, order: Batches, pace: float, validation: float, tried: int) -> Forecast:
    """From seconds a token and seconds a validation to the whole training."""
    spec = trainer.spec
    tokens = float(order.lengths.mean()) * spec.batch
    step = pace * tokens
    steps = spec.max_steps or max(1, round(60 * spec.minutes / step))
    trained, frozen = parameter_counts(trainer.system)
    share = trainer.team.size if spec.shard else 1
    return Forecast(
        trained, frozen, steps, steps * spec.batch / len(order.lengths), step, 1 / pace,
        steps * step + max(spec.validations, 1) * validation,
        (BYTES_TRAINED * trained + BYTES_FROZEN * frozen) // share, _peak(trainer.device), tried,
    )  # fmt: skip


def _peak(device: torch.device) -> int | None:
    return int(torch.cuda.max_memory_reserved(device)) if device.type == "cuda" else resident_peak()


def resident_peak() -> int | None:
    """Bytes, the most of this process that were resident; None where the system does not tell.

    On Linux not as `getrusage` says, which a process has from the one that started it: of a large one all children
    would look as large.
    """
    status = Path("/proc/self/status")
    most = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE) if status.exists() else None
    if most is not None:
        return 1024 * int(most[1])
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return resident if sys.platform == "darwin" else 1024 * resident
