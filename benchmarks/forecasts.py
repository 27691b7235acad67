"""`dry-run`: what `mezzotint train --dry-run` foresees, against the training itself; on an otherwise idle machine.

    python -m benchmarks.forecasts [--systems mdlm ar ...] [--steps 300]

Each system is foreseen, and then trained, in processes of their own on the bundled corpus, all of its validations
included. Rows hold foreseen ÷ measured: of the seconds from the first step to the last file, and of the most memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.rows import Row, record

SYSTEMS = ("ar", "mdlm", "sed", "diffusion-lm", "qe-cdlm", "ar-seq2seq", "cmlm", "difformer")
CHILD = """
import json, resource, sys, time
from mezzotint.cli.allocator import keep_memory
keep_memory()
import mezzotint
system, steps, out, dry = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "dry"
records = mezzotint.train(system, ["bistro"], out=out, max_steps=steps, dry_run=dry)
began = time.monotonic()
*_, last = records
seconds = last.forecast.seconds if dry else time.monotonic() - began
peak = last.forecast.peak_bytes if dry else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, peak]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    for system in given.systems:
        with TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            foreseen, measured = (run_child(system, given.steps, out, mode) for mode in ("dry", "earnest"))
        names = ("foreseen_seconds", "foreseen_memory")
        for name, a, b in zip(names, foreseen, measured, strict=True):
            print(f"{system}: {name} {a / b:.2f} of {b:,.0f}", flush=True)
            record([row(system, given.steps, name, a / b)])


def run_child(system: str, steps: int, out: Path, mode: str) -> tuple[float, float]:
    """(seconds, bytes), foreseen or measured."""
    words = [sys.executable, "-c", CHILD, system, str(steps), str(out), mode]
    seconds, peak = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return seconds, peak


def row(system: str, steps: int, metric: str, value: float) -> Row:
    return Row(
        benchmark="dry-run", system=system, variant=f"train_steps={steps}", metric=metric, value=value, n=1, seed=0,
        size="tiny",
    )  # fmt: skip


if __name__ == "__main__":
    main()
