"""`profile`: where the time of training and of writing goes, for every system at tiny.

    python -m benchmarks.profile [--systems mdlm duo ...] [--where 12]

One thread, fresh weights, a vocabulary of 1,000, texts of 16 tokens, 32 rows, 16 steps; written as `generate` and
`translate` do. Times are processor time of this process, so that others on the machine hardly count; the matrix limit
is taken by the same clock right before. `matmul_share` has the operations of all matrix products that ran, as torch
counts them, whether they had to be or not.
--where prints the functions outside the networks in which most time is spent.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from mezzotint.cli.allocator import keep_memory

VOCAB, LENGTH, CANVAS, ROWS, STEPS = 1000, 16, 32, 32, 16
RUNS = 4
"""Measurements, after one to warm up; a training's has three steps."""
FROM_A_SOURCE = ("ar-seq2seq", "cmlm", "difformer")


class TimeSplit:
    """Processor seconds inside the networks, forward and backward, and in updates."""

    def __init__(self, modules: list[Any]) -> None:
        self.depth, self.began = 0, 0.0
        self.inside = self.updating = 0.0
        for module in {id(each): each for whole in modules for each in whole.modules()}.values():
            module.register_forward_pre_hook(self._enter)
            module.register_forward_hook(self._leave)

    def _enter(self, *_: Any) -> None:
        if self.depth == 0:
            self.began = time.process_time()
        self.depth += 1

    def _leave(self, *_: Any) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.inside += time.process_time() - self.began

    @contextmanager
    def backwards(self) -> Iterator[None]:
        """Counts what tensors do in `backward`."""
        import torch

        plain: Callable[..., Any] = torch.Tensor.backward

        def backward(*given: Any, **more: Any) -> None:
            began = time.process_time()
            plain(*given, **more)
            self.inside += time.process_time() - began

        torch.Tensor.backward = backward  # type: ignore[assignment, method-assign]
        try:
            yield
        finally:
            torch.Tensor.backward = plain  # type: ignore[method-assign]

    def update(self, move: Callable[..., None]) -> Callable[..., None]:
        """The function that also counts as updating."""

        def counted(*given: Any) -> None:
            began = time.process_time()
            move(*given)
            self.updating += time.process_time() - began

        return counted


def trainer(system: str) -> Any:
    """A trainer with fresh weights."""
    from mezzotint.data.lengths import Lengths
    from mezzotint.spec.base import Size
    from mezzotint.spec.recipe import Corpus
    from mezzotint.systems import entry
    from mezzotint.training.build import Start, build_trainer
    from mezzotint.types import Layout

    parts = entry(system)
    recipe = parts.load(parts.recipe)(Size.TINY, Corpus(VOCAB, CANVAS, Layout.TEXTS))
    recipe = replace(recipe, training=replace(recipe.training, batch=ROWS, max_steps=10**6))
    card = parts.load(parts.card)
    start = Start(frozen=(lambda networks: None) if card.teachers or card.backbone else None)
    return build_trainer(system, recipe, Lengths((1,) * LENGTH), 0, "cpu", start=start)


def texts(system: str) -> Any:
    """Whole texts, and what each is written from for a system that needs it."""
    import numpy as np

    from mezzotint.data.canvas import pack, pack_sources
    from mezzotint.types import Ending

    drawn = np.random.default_rng(0).integers(3, VOCAB, (2, ROWS, LENGTH - 1))
    batch = pack(list(drawn[0]), range(ROWS), Ending.SYMBOL if system in BY_SYMBOL else Ending.LENGTH, CANVAS, 0, 1)
    if system not in FROM_A_SOURCE:
        return batch
    return replace(batch, source=pack_sources(list(drawn[1]), range(ROWS), CANVAS, 0, 1))


BY_SYMBOL = ("ar", "adavae", "ar-seq2seq", "rnn-vae")
"""Systems whose texts have an end token."""


def sample_request(system: str, model: Any) -> Any:
    """A request for as many texts."""
    from mezzotint.data.canvas import free
    from mezzotint.types import Request

    if system not in FROM_A_SOURCE:
        return Request(free([LENGTH] * ROWS, range(ROWS), 1), steps=STEPS)
    sketch = model.sketch(texts(system).source, 1, 1)
    return Request(sketch.canvas, steps=STEPS, read=sketch.read, drafts=False)


def rows_of(system: str, where: int) -> list[Any]:
    """The rows of a system."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    driver, batch = trainer(system), texts(system)
    model = driver.system
    times = TimeSplit([*model.players.values(), *getattr(model, "frozen", {}).values()])
    driver._move = times.update(driver._move)

    def train() -> None:
        with times.backwards():
            for _ in range(3):
                driver.update(lambda step, first, count: batch)

    def write() -> None:
        with torch.no_grad():
            for _ in model.sample(sample_request(system, model)):
                pass

    rows: list[Any] = []
    for phase, work in (("training", train), ("sampling", write)):
        if phase == "sampling":
            for network in model.players.values():
                network.eval().requires_grad_(False)  # for the counter of operations
        work()
        params = sum(p.numel() for network in model.players.values() for p in network.parameters())
        rows += shares(system, phase, work, times, params)
        with FlopCounterMode(display=False) as counter:
            work()
        rows[-1] = with_products(rows[-1], counter.get_total_flops())
        if where:
            print_profile(work, where)
    return rows


def shares(system: str, phase: str, work: Callable[[], None], times: TimeSplit, params: int) -> list[Any]:
    """Rows of one phase; the last has the seconds of the fastest run and the matrix limit in place of its value."""
    from benchmarks.peak import gflops
    from benchmarks.rows import Row, variant

    outside, updating, seconds = [], [], []
    peak = gflops(clock=time.process_time)
    for _ in range(RUNS):
        times.inside = times.updating = 0.0
        began = time.process_time()
        work()
        total = time.process_time() - began
        seconds.append(total)
        outside.append(1 - (times.inside + times.updating) / total)
        updating.append(times.updating / total)
    common: dict[str, Any] = {
        "benchmark": "profile", "system": system, "variant": variant({"phase": phase}), "size": "tiny", "batch": ROWS,
        "n": RUNS, "params": params, "steps": STEPS if phase == "sampling" else None,
    }  # fmt: skip
    shares_by_metric = {"outside_share": outside} | ({"update_share": updating} if phase == "training" else {})
    rows = [
        Row(**common, metric=name, value=statistics.median(values), stderr=(max(values) - min(values)) / 2)
        for name, values in shares_by_metric.items()
    ]
    return [*rows, Row(**common, metric="matmul_share", value=peak, seconds=min(seconds))]


def with_products(row: Any, operations: float) -> Any:
    """The row with its share, given the operations of one run."""
    assert row.value and row.seconds
    return replace(row, value=operations / 1e9 / row.seconds / row.value)


def print_profile(work: Callable[[], None], where: int) -> None:
    """Prints the functions in which most time is spent themselves."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(work)
    pstats.Stats(profile).sort_stats("tottime").print_stats(where)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+")
    parser.add_argument("--where", type=int, default=0, help="print so many functions, and write no rows")
    given = parser.parse_args()
    keep_memory()
    import torch

    from benchmarks.rows import record
    from mezzotint.systems import CATALOGUE

    torch.set_num_threads(1)
    for system in given.systems or CATALOGUE:
        rows = rows_of(system, given.where)
        if not given.where:
            record(rows)
        for row in rows:
            print(f"{row.system} {row.variant} {row.metric} {row.value:.3f}", flush=True)


if __name__ == "__main__":
    main()
