"""`bistro-quantised`: runs with weights of few values beside a run in full, trained as long on the same data.

    python -m benchmarks.control --arms base ternary table pow2 --seeds 1          trains such runs, in runs/control
    python -m benchmarks.quantised runs/control/diffusion-lm,* runs/control/qe-cdlm,*

The first run is in full. Of each are measured the bound on the test split and, on the way there, the bound on valid by
minutes (`curve=training`) and by steps (`curve=steps`); the texts of --steps steps; the file of its weights; and, in
turns, the time to load it, its weights in memory, what a process that writes takes at most, and tokens a second, at
batches of 1 and 32. So are those of copies of the first run made by `mezzotint quantize` (`copy`), which was never
trained to have few values. A run in full is loaded in bf16 where this machine computes in it, else in fp32; one with
few values always in fp32 (`precision`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mezzotint.cli.allocator import keep_memory

NAME, BENCHMARK = "bistro", "bistro-quantised"
COPIES = ("int8", "pow2", "ternary")
BATCHES = (1, 32)


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--n", type=int, default=500, help="texts for the judge")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser.parse_args()


def labels_of(run: Any, copy: str = "") -> dict[str, object]:
    """What names a run in rows: how it was trained to have few values, or what it is a copy with."""
    if copy:
        return {"copy": copy}
    few = run.config["spec"].get("few")
    return {name: few[name] for name in ("quantize", "kind")} if few else {}


def curve_rows(measured: Any) -> Iterator[Any]:
    """The bound on valid by steps: minutes would hide what a step of one costs more than that of another."""
    from mezzotint.evaluate.table import Score

    for line in measured.log:
        if "valid" in line:
            score = Score("bound_nats_per_token", line["valid"], None, 512)
            yield measured.row(score, split="valid", steps=line["step"], variant=measured.variant({"curve": "steps"}))


def speed_rows(runs: Mapping[str, Any], folders: Mapping[str, Path], steps: int, rounds: int) -> Iterator[Any]:
    """Size, time to load, memory and speed of all runs in turns, as rows of the Measured of each name."""
    from mezzotint.assess.cost import size_and_bound, throughput
    from mezzotint.comparison.footprint import footprint
    from mezzotint.evaluate.table import Score

    def row(name: str, score: Any, metric: str, batch: int | None = None) -> Any:
        timed = steps if batch is not None else None
        return runs[name].row(replace(score, name=metric), split=None, batch=batch, steps=timed)

    for name, folder in folders.items():
        yield row(name, next(iter(size_and_bound(folder))), "model_mb")
        for batch in BATCHES:
            peak = footprint(folder, batch, steps)
            if peak is not None:
                yield row(name, Score("peak_rss_mb", peak, None, 1), "peak_rss_mb", batch)
    for name, score in throughput(folders, batches=BATCHES, steps=steps, rounds=rounds):
        print(f"{name} {score.name} {score.value:.4g} ({score.note})", flush=True)
        metric, _, batch = score.name.rpartition("_")
        timed = batch.isdigit()
        yield row(name, score, metric if timed else score.name, int(batch) if timed else None)


def main() -> None:
    given = arguments()
    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.rows import record
    from benchmarks.unconditional import RunScorer, data_rows
    from mezzotint.held_out import Texts, training_text
    from mezzotint.judge import Judge

    with TemporaryDirectory() as temporary:
        folders = {folder.name: folder for folder in given.runs}
        first = mezzotint.load(given.runs[0])
        for kind in COPIES:
            first.quantize(kind, Path(temporary) / kind)
            folders[kind] = Path(temporary) / kind
        judge, training = Judge(mezzotint.load(mezzotint.bundled_judge())), training_text(first)
        held_out = Texts(first, [corpus_files(NAME).test])
        record(data_rows(NAME, held_out.like_samples(given.n), judge, training, BENCHMARK), results=given.out)
        measured = {}
        for name, folder in folders.items():
            run = mezzotint.load(folder)
            variant = labels_of(run, name if name in COPIES else "")
            measured[name] = RunScorer(NAME, run, judge, training, given.n, BENCHMARK, variant)
            if name in COPIES:
                measured[name].log = []  # of the run that it is a copy of
            record(measured[name].bound(Texts(run, [corpus_files(NAME).test])), results=given.out)
            record(curve_rows(measured[name]), results=given.out)
            record(measured[name].quality(given.steps), results=given.out)
        record(speed_rows(measured, folders, given.steps, given.rounds), results=given.out)


if __name__ == "__main__":
    main()
