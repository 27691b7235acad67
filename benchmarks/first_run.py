"""`first-run`: what a newcomer waits for, from a fresh clone in a fresh folder.

    python -m benchmarks.first_run [--skip-tests] [--longer 3 5]

`make setup`, `make demo` and `make test`, each timed; how long after the installation the first text is seen; peak
memory; the share of the demo's texts that the grammar accepts, after its minute and after --longer ones; and how fast
`mezzotint --help` answers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def run_timed(command: list[str], where: Path, moment: str = "$^") -> tuple[float, float | None, list[str]]:
    """(seconds, seconds until a line matches `moment`, lines) of a command that must succeed."""
    began, seen, lines = time.monotonic(), None, []
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "OMP_NUM_THREADS")}
    process = subprocess.Popen(
        command, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if seen is None and re.search(moment, line):
            seen = time.monotonic() - began
    if process.wait():
        raise SystemExit("\n".join(lines[-30:]))
    return time.monotonic() - began, seen, lines


def scores(run: Path) -> list[dict[str, Any]]:
    """What a demo's table says of the run's own texts."""
    shown = ("valid_share", "judge_nll", "bound_nats_per_token")
    table = json.loads((run / "results.json").read_text())
    return [score for score in table if score["column"] == "mdlm" and score["name"] in shown]


def peak_mb() -> float:
    """The largest resident memory of any process started so far, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--longer", type=int, nargs="*", default=[3, 5], help="minutes of further demos")
    given = parser.parse_args()
    from benchmarks.rows import Row, record

    rows: list[Row] = []

    def row(system: str, variant: str, metric: str, value: float, **more: Any) -> None:
        rows.append(Row(benchmark="first-run", system=system, variant=variant, metric=metric, value=value, **more))
        print(f"{system} {variant} {metric} {value:.4g}", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "mezzotint"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        row("mdlm", "what=make setup", "wall_seconds", run_timed(["make", "setup"], clone)[0])
        seconds, seen, _ = run_timed(["make", "demo"], clone, r"^step 0/")
        row("mdlm", "what=make demo", "wall_seconds", seconds)
        row("mdlm", "what=first text", "wall_seconds", seen or float("nan"))
        row("mdlm", "what=make demo", "peak_rss_mb", peak_mb())
        for score in scores(next((clone / "runs").iterdir())):
            row("mdlm", "what=make demo", score["name"], score["value"], stderr=score["stderr"], n=score["n"])
        command = str(clone / ".venv/bin/mezzotint")
        for minutes in given.longer:
            run_timed([command, "demo", "--minutes", str(minutes), "--out", f"runs/demo-{minutes}"], clone)
            for score in scores(clone / "runs" / f"demo-{minutes}"):
                options = {"stderr": score["stderr"], "n": score["n"], "train_minutes": minutes}
                row("mdlm", "what=demo", score["name"], score["value"], **options)
        help_ = [run_timed([command, "--help"], clone)[0] for _ in range(5)]
        row("mdlm", "what=help", "wall_seconds", statistics.median(help_), n=5)
        if not given.skip_tests:
            seconds, _, lines = run_timed(["make", "test"], clone)
            print(lines[-1], flush=True)
            row("mdlm", "what=make test", "wall_seconds", seconds)
            row("mdlm", "what=make test", "peak_rss_mb", peak_mb())
    record(rows)


if __name__ == "__main__":
    main()
