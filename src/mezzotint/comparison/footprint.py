"""The memory that writing with a run takes, measured in a process of its own:

python -m mezzotint.comparison.footprint RUN TEXTS STEPS     prints 10^6 bytes, the most that were resident
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TEXTS, STEPS = 64, 16


def footprint(run: Path, texts: int = TEXTS, steps: int = STEPS) -> float | None:
    """10^6 bytes; None where the system does not tell, or the process fails."""
    command = [sys.executable, "-m", "mezzotint.comparison.footprint", str(run), str(texts), str(steps)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return float(process.stdout)
    except ValueError:
        return None


def main() -> None:
    """Write with the run that is named, and print what that took."""
    from mezzotint.run import load
    from mezzotint.training.forecast import resident_peak

    texts, steps = map(int, sys.argv[2:4])
    load(sys.argv[1], device="cpu").generate(texts, steps=steps)
    peak = resident_peak()
    print("unknown" if peak is None else peak / 1e6)


if __name__ == "__main__":
    main()
