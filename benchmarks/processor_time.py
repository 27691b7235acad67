"""Another benchmark, or the command, with minutes of training counted on the processor's clock, not the wall's.

    python -m benchmarks.processor_time benchmarks.pairs aeslc train ar --train-minutes 10
    python -m benchmarks.processor_time mezzotint distill runs/e2e-mdlm --out runs/e2e-didi --minutes 6

For machines with other work on them: what a training is given does not depend on what runs beside it. The clock is that
of all threads of the process together, so give it one (OMP_NUM_THREADS=1), or ask for as many times the minutes.
"""

from __future__ import annotations

import runpy
import sys
import time
from types import SimpleNamespace

from mezzotint.training import loop


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        raise SystemExit((__doc__ or "").rstrip())
    # The loop's name for the module alone: everybody else goes on by the wall.
    vars(loop)["time"] = SimpleNamespace(monotonic=time.process_time)
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
