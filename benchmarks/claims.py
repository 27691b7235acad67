"""`reproduce`: every tiny claim made anew by `mezzotint reproduce`, with several seeds; the whole command timed.

    python -m benchmarks.claims [--seeds 0 1] [--size tiny]
    mezzotint reproduce --all --size tiny --seed 1 --json > ONE && python -m benchmarks.claims --seeds 1 --read ONE

Rows hold each claim's figure and whether it holds, and the seconds of all claims together: what two seeds differ by is
what the tolerances in claims/table.py are chosen by.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, record, variant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--size", choices=("tiny", "small"), default="tiny")
    parser.add_argument("--read", type=Path, nargs="+", help="what the command wrote with --json, a file for each seed")
    given = parser.parse_args()
    if given.read and len(given.read) != len(given.seeds):
        parser.error("--read takes a file for each of --seeds")
    for i, seed in enumerate(given.seeds):
        lines = given.read[i].read_text().splitlines() if given.read else run_command(given.size, seed)
        outcomes = []
        for line in lines:
            outcomes.append(json.loads(line))
            print(line, flush=True)
        record(rows(outcomes, seed, given.size))


def run_command(size: str, seed: int) -> Iterable[str]:
    """The lines of the command, as they come; SystemExit where it did not get to its end."""
    words = [sys.executable, "-m", "mezzotint", "reproduce", "--all", "--size", size, "--seed", str(seed), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        yield from command.stdout
    if command.returncode not in (0, 1):  # 1: a claim does not hold, which is a figure as any other
        raise SystemExit(f"`mezzotint reproduce` ended with {command.returncode}")


def rows(outcomes: Sequence[dict[str, Any]], seed: int, size: str) -> Iterator[Row]:
    """What was seen of each claim, and what all of them took."""
    common = {"benchmark": "reproduce", "system": "mezzotint", "size": size, "seed": seed}
    for outcome in outcomes:
        name = variant({"claim": outcome["claim"]})
        for metric, value in (("claim_seen", outcome["seen"]), ("claim_holds", float(outcome["holds"]))):
            yield Row(**common, variant=name, metric=metric, value=value, n=1)
    seconds = sum(outcome["seconds"] for outcome in outcomes)
    yield Row(**common, metric="wall_seconds", value=seconds, n=len(outcomes))


if __name__ == "__main__":
    main()
