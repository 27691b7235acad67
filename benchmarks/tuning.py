"""`e2e-tuning`: a run of one corpus tuned to another, by few weights and by all.

    python -m benchmarks.tuning yelp e2e [--systems mdlm] [--begin-minutes 6] [--minutes 3] [--adapters lora ina none]

The run is trained on the first corpus, on pieces of words, for --begin-minutes, and then on the second for --minutes,
by each adapter (`none`: all weights). Beside them stand the run as it was (`stays`), and runs that have only ever seen
the second corpus, for as long as the tuning (`alone`) and as both trainings together (`alone`, more `train_minutes`).
All have the first one's tokenizer. On the test split of the second: the bound, texts of --steps steps under its judge,
and the share of weights that were trained.

Runs stand in runs/tuning; what is trained already is not trained again. Where a corpus has no judge yet
(`benchmarks.judge`), texts are not judged.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

from mezzotint.cli.allocator import keep_memory

RUNS = Path("runs/tuning")
SETTINGS = {"canvas": "64"}
"""Room for the second corpus's longer texts."""
TRAINED_NOTE = re.compile(r"([\d,]+) numbers are trained, beside ([\d,]+)")
SHARE = "tuned-share.json"
"""In a run's folder: what its training said of how much of it is trained."""


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS, setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("begin", help="the corpus that is learned first")
    parser.add_argument("name", help="the corpus that runs are tuned to")
    parser.add_argument("--systems", nargs="+", default=["mdlm"])
    parser.add_argument("--adapters", nargs="+", default=["lora", "ina", "none"])
    parser.add_argument("--begin-minutes", type=float, default=6)
    parser.add_argument("--minutes", type=float, default=3, help="of each tuning")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--max-steps", type=int, help="of each training, in place of minutes")
    parser.add_argument("--set", type=setting, nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser.parse_args()


def tune(run: Path, adapter: str, given: argparse.Namespace) -> Path:
    """The run tuned to the corpus, to its end."""
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.pieces import follow

    data, out = corpus_files(given.name), run.with_name(f"{run.name}-{given.name}-{adapter}")
    records = (
        mezzotint.resume(out)
        if out.exists()
        else mezzotint.finetune_run(
            run, out=out, data=[data.train], valid=[data.valid] if data.valid else None, adapter=adapter,
            seed=given.seed, **budget(given, given.minutes),
        )
    )  # fmt: skip
    for record in follow(out.name, records, inf):
        if (note := TRAINED_NOTE.search(record.note or "")) is not None:
            trained, frozen = (int(number.replace(",", "")) for number in note.groups())
            (out / SHARE).write_text(json.dumps(trained / (trained + frozen)))
    return out


def budget(given: argparse.Namespace, minutes: float) -> dict[str, Any]:
    """How long a training is."""
    return {"minutes": None, "max_steps": given.max_steps} if given.max_steps else {"minutes": minutes}


def runs(system: str, given: argparse.Namespace) -> Iterator[tuple[str, float, Path]]:
    """What names each run, the minutes that it saw the corpus for, and where it is."""
    from benchmarks.unconditional import train_run

    def fresh(name: str, minutes: float, **options: Any) -> Path:
        out = RUNS / f"{name}-{system}-{minutes:g}m-s{given.seed}"
        settings = {**SETTINGS, **dict(given.set)}
        return train_run(name, system, out, seed=given.seed, settings=settings, **options, **budget(given, minutes))

    first = fresh(given.begin, given.begin_minutes, tokenizer="bpe")
    yield "stays", 0, first
    for adapter in given.adapters:
        yield adapter, given.minutes, tune(first, adapter, given)
    pieces = str(first / "tokenizer.json")
    for minutes in (given.minutes, given.begin_minutes + given.minutes):
        yield "alone", minutes, fresh(given.name, minutes, tokenizer=pieces)


def read_share(folder: Path) -> float | None:
    """Of the numbers of a run those that were trained when it was tuned; None where it was not."""
    kept = folder / SHARE
    return float(json.loads(kept.read_text())) if kept.exists() else None


def main() -> None:
    given = arguments()
    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from benchmarks.rows import record
    from benchmarks.unconditional import RunScorer, data_rows
    from mezzotint.evaluate.table import Score
    from mezzotint.held_out import Texts, training_text
    from mezzotint.judge import Judge

    kept, benchmark = Path(RECIPES[given.name].kept), f"{given.name}-tuning"
    judge = Judge(mezzotint.load(kept)) if kept.exists() else None
    for system in given.systems:
        for adapter, minutes, folder in runs(system, given):
            run = mezzotint.load(folder)
            training, held_out = training_text(run), Texts(run, [corpus_files(given.name).test])
            record(data_rows(given.name, held_out.like_samples(given.n), judge, training, benchmark), results=given.out)
            variant = {"adapter": adapter} | ({} if adapter == "alone" else {"begun": given.begin})
            measured = RunScorer(given.name, run, judge, training, given.n, benchmark, variant)
            measured.common["train_minutes"], measured.log = minutes or None, []
            record(measured.bound(held_out), results=given.out)
            record(measured.quality(None if system == "ar" else given.steps), results=given.out)
            if (few := read_share(folder)) is not None:
                record([measured.row(Score("tuned_share", few, None, 1))], results=given.out)


if __name__ == "__main__":
    main()
