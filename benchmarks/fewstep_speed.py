"""How many times as fast few steps are, against ar with cached keys and values and against the teacher's many.

    python -m benchmarks.fewstep_speed --student runs/e2e-didi [--name e2e] [--steps 4 8 16] [--batch 1 8 64]

`speed_up` in `NAME-fewstep`: processor seconds of the reference named in the variant (`against`) ÷ those of the run,
for as many texts of the runs' own lengths. All sides write in one process, in turn, each round beginning with another,
so what else the machine does touches all alike; the row's value is the median of the rounds' ratios. Quality
at the same steps stands in the rows of `benchmarks.fewstep`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

MANY = 1024
TEXTS = {1: 4, 8: 16, 64: 64}
"""Texts of a round by batch: a few seconds at most."""

Write = Callable[[int, int], float]
"""(texts, batch) -> network evaluations a text."""


def writer(run: Any, **options: Any) -> Write:
    def write(n: int, batch: int) -> float:
        samples = run.generate(n, batch_size=batch, seed=1, **options)
        return sum(sample.nfe for sample in samples) / n

    return write


def rounds(sides: Mapping[str, Write], n: int, batch: int, times: int) -> dict[str, list[float]]:
    """Processor seconds of each side in each round; another side begins each time."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for first in range(times):
        for name in (order[(first + i) % len(order)] for i in range(len(order))):
            began = time.process_time()
            sides[name](n, batch)
            seconds[name].append(time.process_time() - began)
    return seconds


def median_ratio(reference: Sequence[float], ours: Sequence[float]) -> tuple[float, float | None]:
    """The median of the rounds' ratios, and its standard error by resampling rounds."""
    from mezzotint.evaluate.table import bootstrap_stderr

    ratios = [a / b for a, b in zip(reference, ours, strict=True)]
    return statistics.median(ratios), bootstrap_stderr(ratios, statistics.median)


def main() -> None:
    from benchmarks.rows import RESULTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="e2e")
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, help="default: runs/NAME-mdlm")
    parser.add_argument("--ar", type=Path, help="default: runs/NAME-ar")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--batch", type=int, nargs="+", choices=TEXTS, default=list(TEXTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    given = parser.parse_args()
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.fewstep import run_labels
    from benchmarks.rows import Row, record, variant
    from benchmarks.unconditional import requested_minutes

    student = mezzotint.load(given.student)
    paths = (given.teacher or Path("runs") / f"{given.name}-mdlm", given.ar or Path("runs") / f"{given.name}-ar")
    teacher, ar = map(mezzotint.load, paths)
    references = {"ar": writer(ar), f"mdlm_{MANY}": writer(teacher, steps=MANY)}
    ours = {(steps, guide): writer(student, steps=steps, **({"guide": guide} if guide else {}))
            for steps in given.steps for guide in ("", "reward")}  # fmt: skip
    for batch in given.batch:
        sides = references | {f"{steps}{guide}": write for (steps, guide), write in ours.items()}
        nfe = {name: write(TEXTS[batch], batch) for name, write in sides.items()}  # a warm-up too
        seconds = rounds(sides, TEXTS[batch], batch, given.rounds)
        for steps, guide in ours:
            for against in references:
                ratio, error = median_ratio(seconds[against], seconds[f"{steps}{guide}"])
                print(f"batch {batch}, {steps} steps {guide}: {ratio:.2f} times {against}", flush=True)
                labels = (
                    run_labels(given.name, student.config) | ({"guide": guide} if guide else {}) | {"against": against}
                )
                row = Row(
                    benchmark=f"{given.name}-fewstep", system=student.card.name, metric="speed_up", value=ratio,
                    stderr=error, n=given.rounds, steps=steps, nfe=nfe[f"{steps}{guide}"], batch=batch,
                    seed=student.config["seed"], variant=variant(labels),
                    train_minutes=requested_minutes(student.config["training"]),
                )  # fmt: skip
                record([row], results=given.out)


if __name__ == "__main__":
    main()
