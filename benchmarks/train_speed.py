"""`train-speed`: tokens a second of a training step, and its share of the matrix-multiply limit.

    python -m benchmarks.train_speed [--repeats 5]

mdlm (also under torch.compile) and ar at d 128, 4 layers (vocabulary 1,000, canvas 64) and d 256, 6 layers (vocabulary
8,192, canvas 128): forward, backward, clipping, AdamW and averaging, as the driver does them. Useful work only: three
forward passes, the output layer where a loss is taken.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from typing import Any

from mezzotint.cli.allocator import keep_memory

SETTINGS = {"tiny": (128, 4, 1000, 64, 64), "d256": (256, 6, 8192, 128, 32)}


def trainer(system: str, name: str, compiled: bool) -> tuple[Any, Any]:
    """A trainer and a fixed batch."""
    import torch

    from mezzotint.spec.base import Size
    from mezzotint.spec.recipe import Corpus, Recipe
    from mezzotint.systems import entry
    from mezzotint.training.build import build_trainer
    from mezzotint.types import Canvas, Layout

    dim, depth, vocab, length, batch = SETTINGS[name]
    parts = entry(system)
    recipe = parts.load(parts.recipe)(Size.TINY, Corpus(vocab, length, Layout.WINDOWS))
    net = replace(recipe.spec.net, dim=dim, depth=depth)
    training = replace(recipe.training, batch=batch, max_steps=10**6, compile=compiled)
    driver = build_trainer(system, Recipe(replace(recipe.spec, net=net), training), None, 0, "cpu")
    ids = torch.randint(3, vocab, (batch, length), generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(ids.shape, dtype=torch.bool)
    return driver, Canvas(ids, nothing, ~nothing, torch.arange(batch))


def measure(system: str, name: str, repeats: int, compiled: bool = False) -> list[Any]:
    from benchmarks.peak import forward_gflop, gflops
    from benchmarks.rows import Row

    _, _, vocab, length, batch = SETTINGS[name]
    driver, canvas = trainer(system, name, compiled)
    steps = 10 if name == "tiny" else 3
    rates, shares = [], []
    for repeat in range(repeats + 1):
        began = time.perf_counter()
        for _ in range(steps):
            driver.update(lambda step, first, count: canvas)
        seconds = (time.perf_counter() - began) / steps
        logits = batch * length * (1 if system == "ar" else (length + 1) / 2 / length)
        work = 3 * forward_gflop(driver.system.spec.net, batch, length, logits, vocab)
        if repeat:  # the first is the warm-up
            rates.append(batch * length / seconds)
            shares.append(work / seconds / gflops())
    rows = []
    common: dict[str, Any] = {
        "benchmark": "train-speed", "system": system, "variant": "compile=true" if compiled else "default",
        "size": name, "batch": batch, "n": repeats, "params": sum(p.numel() for p in driver.system.net.parameters()),
    }  # fmt: skip
    for metric, values in (("tokens_per_second", rates), ("matmul_share", shares)):
        spread = (max(values) - min(values)) / 2
        rows.append(Row(**common, metric=metric, value=statistics.median(values), stderr=spread))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    keep_memory()
    from benchmarks.rows import record

    for name in SETTINGS:
        for system, compiled in (("mdlm", False), ("ar", False), ("mdlm", True)):
            rows = measure(system, name, repeats, compiled)
            record(rows)
            for row in rows:
                print(f"{row.size} {row.system} {row.variant} {row.metric} {row.value:.4g}", flush=True)


if __name__ == "__main__":
    main()
