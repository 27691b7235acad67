"""`resume-after-kill`: runs killed at random moments and resumed end with the weights of an uninterrupted one.

    python -m benchmarks.kill [--kills 20] [--systems mdlm ar sed]

One run of each system is killed (SIGKILL) again and again, during writes too: checkpoints are saved at every third
step, so that much of the time is spent writing. Then it is resumed to its end, and raw and averaged weights and the
optimiser's state are compared with an uninterrupted run's, to the bit.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from safetensors.torch import load_file

from mezzotint.training.folder import CHECKPOINTS, is_finished, steps_saved

ROOT = Path("runs/kill")
STEPS = 240
COMMAND = [sys.executable, "-m", "mezzotint.cli.main"]


def start(system: str, out: Path) -> list[str]:
    """The command that starts or continues the run."""
    if (out / "config.json").exists():
        return [*COMMAND, "resume", str(out)]
    flags = ["--data", "bistro", "--out", str(out), "--max-steps", str(STEPS), "--save-every", "3"]
    return [*COMMAND, "train", system, *flags, "--set", "validations=4"]


def kill_repeatedly(system: str, out: Path, kills: int, seed: int) -> tuple[int, int]:
    """(kills that hit a run in progress, kills during a write), each at a random moment after the first checkpoint."""
    moments, hit, writing = random.Random(seed), 0, 0
    while hit < kills:
        process = subprocess.Popen(start(system, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = steps_saved(out)[-1] if out.exists() and steps_saved(out) else 0
        while process.poll() is None and not (out.exists() and steps_saved(out) and steps_saved(out)[-1] > before):
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.4))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        hit += 1
        writing += bool([p for p in out.rglob(".*")])
        print(f"{system}: kill {hit} at step {steps_saved(out)[-1]}, {writing} during a write", flush=True)
    return hit, writing


def equal(a: Path, b: Path) -> bool:
    """Whether two finished runs have the same last checkpoint and model, to the bit."""
    last = [p / CHECKPOINTS / str(steps_saved(p)[-1]) for p in (a, b)]
    is_equal = (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    for name in ("weights", "ema", "optimiser"):
        x, y = (load_file(p / f"{name}.safetensors") for p in last)
        is_equal = is_equal and x.keys() == y.keys() and all(bool((x[k] == y[k]).all()) for k in x)
    return is_equal and last[0].name == last[1].name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--systems", nargs="+", default=["mdlm", "ar", "sed"])
    given = parser.parse_args()
    from benchmarks.rows import Row, record

    shutil.rmtree(ROOT, ignore_errors=True)
    for system in given.systems:
        whole, cut = ROOT / f"{system}-whole", ROOT / f"{system}-cut"
        subprocess.run(start(system, whole), check=True, stderr=subprocess.DEVNULL)
        hit, writing = kill_repeatedly(system, cut, given.kills, seed=0)
        if not is_finished(cut):
            subprocess.run(start(system, cut), check=True, stderr=subprocess.DEVNULL)
        share = float(equal(whole, cut))
        print(f"{system}: {hit} kills, {writing} during a write; equal to the bit: {bool(share)}", flush=True)
        record(
            [
                Row(
                    benchmark="resume-after-kill", system=system, variant=f"kills={hit},writing={writing}",
                    metric="success", value=share, n=hit, seed=0, steps=STEPS,
                )
            ]
        )  # fmt: skip


if __name__ == "__main__":
    main()
