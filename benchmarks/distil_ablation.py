"""What each part of DiDi-Instruct is worth: students of one teacher, each taught without one of them.

    python -m benchmarks.distil_ablation [--name bistro] [--train-minutes 1] [--seeds 0 1] [--arms full uncoupled ...]
                                         [--steps 4 8 16] [--n 500] [--guided 8] [--set lr=3e-4] [--minutes 9]

The paper (Zheng et al. 2025, arXiv:2509.25035) adds its parts one after another; here each is taken from the whole
alone, and `plain` is without any. `consistency` and `tokens` are other objectives (after SDTT and Di[M]O), `one-time`
and `teachers-texts` are switches of ours. With --guided the arms that have a critic write with its reward too, in so
many steps.

Rows go to `NAME-fewstep`, where a student's variant names what it was taught under. Runs stand in runs/distil-ablation;
what is measured already is left out, so what was stopped, or had too few --minutes, is continued by the same call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from math import inf
from pathlib import Path

from benchmarks.fewstep import Table

RUNS = Path("runs/distil-ablation")

Settings = Mapping[str, str]

UNREGULARISED = {"kl_first": "0", "kl_second": "0", "entropy": "0"}
ARMS: Mapping[str, Settings] = {
    "full": {},
    "one-step": {"two_steps": "false"},
    "uncoupled": {"coupled": "false"},
    "unweighted": {"weighted": "false"},
    "middle-times": {"time_a": "2", "time_b": "2"},
    "importance": {"time_a": "2", "time_b": "2", "importance": "true"},
    "unregularised": UNREGULARISED,
    "plain": {"two_steps": "false", "coupled": "false", "weighted": "false", **UNREGULARISED},
    "one-time": {"one_time": "true"},
    "teachers-texts": {"reference": "teacher"},
    "consistency": {"objective": "consistency"},
    "tokens": {"objective": "tokens"},
}


def train_student(arm: Settings, seed: int, given: argparse.Namespace, until: float) -> Path:
    """The run of an arm, trained to its end; SystemExit where the clock reached `until` before it."""
    import mezzotint
    from benchmarks.pieces import follow
    from benchmarks.rows import variant

    settings = {**dict(given.set), **arm}
    marks = {"teacher": given.teacher.name, "minutes": f"{given.train_minutes:g}", "seed": seed}
    out = RUNS / variant({**marks, **settings})
    records = (
        mezzotint.resume(out, device=given.device)
        if out.exists()
        else mezzotint.distill_run(
            given.teacher, out=out, minutes=given.train_minutes, seed=seed, device=given.device, settings=settings
        )
    )
    for _ in follow(out.name, records, until):
        pass
    return out


def score(table: Table, folder: Path, given: argparse.Namespace) -> None:
    import mezzotint
    from mezzotint.spec.didi_instruct import Objective

    run = mezzotint.load(folder, device=given.device)
    scorer = table.scorer(run)
    for steps in given.steps:
        table.quality(scorer, steps, {})
    if given.guided and run.spec.objective is Objective.DIVERGENCE:
        table.quality(scorer, given.guided, {"guide": "reward"})


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS, setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", choices=("bistro", "e2e"), default="bistro")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=list(ARMS))
    parser.add_argument("--train-minutes", type=float, default=1)
    parser.add_argument("--set", type=setting, nargs="+", default=[], metavar="KEY=VALUE", help="for every arm")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--n", type=int, default=500, help="texts of each run that are scored")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--guided", type=int, default=0, metavar="STEPS")
    parser.add_argument("--minutes", type=float, default=inf, help="how long this call may take")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    given = parser.parse_args()
    given.teacher = given.teacher or Path("runs") / f"{given.name}-mdlm"
    return given


def main() -> None:
    given = arguments()
    until = time.monotonic() + 60 * given.minutes
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.judge import RECIPES
    from mezzotint.held_out import training_text
    from mezzotint.judge import Judge

    teacher = mezzotint.load(given.teacher, device=given.device)
    judge = Judge(mezzotint.load(RECIPES[given.name].kept))
    table = Table(given.name, given.n, judge, training_text(teacher), given.out)
    for steps in given.steps:
        table.quality(table.scorer(teacher), steps, {})
    for seed in given.seeds:
        for name in given.arms:
            score(table, train_student(ARMS[name], seed, given, until), given)


if __name__ == "__main__":
    main()
