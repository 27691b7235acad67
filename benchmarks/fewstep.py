"""`e2e-fewstep`: few steps, of a teacher, its students with and without the reward, and ar, under one judge.

    mezzotint distill runs/e2e-mdlm --out runs/e2e-didi --minutes 15
    python -m benchmarks.fewstep [--teacher runs/e2e-mdlm] [--students runs/e2e-didi ...] [--ar runs/e2e-ar] [--n 1000]
    python -m benchmarks.fewstep --matched [--steps 4 8 16]

Raw: each run at each number of steps (the teacher at 256 and 1,024 too), students also guided by their reward up to 32
steps; ar at several nuclei. With --matched, judge NLL where a sweep over temperature reaches the word entropy of the
teacher's own samples in 1,024 steps. A student's rows are told apart by the settings of its own that it was taught
under and by the minutes or steps that it took. What is already measured, with as many texts and the same judge, is left
out, so the command goes on where it was stopped; --only names some of teacher, student, reward, ar.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
LONG = (256, 1024)
GUIDED = 32
NUCLEI = (1.0, 0.95, 0.9, 0.8)
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
ARMS = ("teacher", "student", "reward", "ar")

How = dict[str, Any]


def arms(kind: str, steps: tuple[int, ...], matched: bool) -> Iterator[tuple[int | None, How]]:
    """(steps, what `run.generate` is asked for) of every measurement of a run."""
    if kind == "ar":
        yield from ((None, {} if p == 1 else {"top_p": p}) for p in (NUCLEI[:1] if matched else NUCLEI))
    elif kind == "reward":
        yield from ((n, {"guide": "reward"}) for n in steps if 1 < n <= GUIDED)
    else:
        yield from ((n, {}) for n in (*steps, *(LONG if kind == "teacher" and not matched else ())))


def taught(config: Any) -> How:
    """The settings of its own under which a student was taught, as far as they are not the usual ones."""
    from dataclasses import MISSING, fields

    from mezzotint.spec.didi_instruct import DiDiSpec

    if config["system"] != "didi-instruct":
        return {}
    usual = {f.name: getattr(f.default, "value", f.default) for f in fields(DiDiSpec) if f.default is not MISSING}
    own = {"noise", "time_conditioning", "mask_output", "frame", "critic_blocks"}  # the teacher's, or by size
    theirs = {name: config["spec"].get(name, value) for name, value in usual.items() if name not in own}
    return {name: value for name, value in theirs.items() if value != usual[name]}


def told_apart(measured: Any, config: Any) -> Any:
    """The measurements of a run, whose rows say how it was taught where that is what tells them apart."""
    how, called = taught(config), measured.called
    if config["system"] == "didi-instruct":
        steps = config["training"]["max_steps"]
        how |= {"taught_steps": steps} if steps else {}
        measured.common["train_minutes"] = None if steps else config["training"]["minutes"]
    measured.called = lambda more: called({**how, **more})
    return measured


class Done:
    """The measurements that the file of results holds."""

    def __init__(self, benchmark: str, n: int, judge: str) -> None:
        from benchmarks.rows import RESULTS, read

        rows = [row for row in read(RESULTS / f"{benchmark}.json") if row.judge == judge and row.n == n]
        self.found = {(row.system, row.train_minutes, row.seed, row.metric, row.variant, row.steps) for row in rows}

    def __call__(self, measured: Any, metric: str, variant: str, steps: int | None) -> bool:
        whose = (measured.system, measured.common["train_minutes"], measured.common["seed"])
        return (*whose, metric, variant, steps) in self.found


def teachers_entropy(measured: Any) -> float:
    """Word entropy of the teacher's samples in as many steps as there are."""
    from mezzotint.evaluate.diversity import entropies
    from mezzotint.evaluate.words import words

    texts, _ = measured.samples(LONG[-1])
    return float(entropies([words(text) for text in texts]).mean())


def main() -> None:
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.data import prepared
    from benchmarks.judge import RECIPES
    from benchmarks.rows import record
    from benchmarks.unconditional import SETTINGS, Measured, of_data
    from mezzotint.assess import Texts, training_text
    from mezzotint.evaluate.judge import tag
    from mezzotint.judge import Judge

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", choices=sorted(SETTINGS), default="e2e")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--students", type=Path, nargs="*", default=())
    parser.add_argument("--ar", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+")
    parser.add_argument("--only", choices=ARMS, nargs="+", default=ARMS)
    parser.add_argument("--matched", action="store_true")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()

    benchmark = f"{given.name}-fewstep"
    teacher = mezzotint.load(given.teacher or Path("runs") / f"{given.name}-mdlm", device=given.device)
    judge, training = Judge(mezzotint.load(RECIPES[given.name].kept)), training_text(teacher)
    done, device = Done(benchmark, given.n, tag(judge)), str(teacher.device)

    def measured_of(run: Any) -> Any:
        return told_apart(Measured(given.name, run, judge, training, given.n, benchmark), run.config)

    runs = [("teacher", measured_of(teacher))]
    for path in given.students:
        student = measured_of(mezzotint.load(path, device=given.device))
        runs += [("student", student), ("reward", student)]
    if given.ar:
        runs.append(("ar", measured_of(mezzotint.load(given.ar, device=given.device))))
    target = teachers_entropy(runs[0][1]) if given.matched else 0.0
    data = {row[3] for row in done.found if row[0] == "data"}
    if not given.matched and "judge_nll" not in data:
        held_out = Texts(teacher, [prepared(given.name).test])
        record(of_data(given.name, held_out.like_samples(given.n), judge, training, benchmark), device=device)
    steps = tuple(given.steps or ((4, 8, 16) if given.matched else STEPS))
    for kind, measured in runs:
        for count, how in arms(kind, steps, given.matched) if kind in given.only else ():
            metric = "judge_nll_matched" if given.matched else "judge_nll"
            if done(measured, metric, measured.called(how), count):
                continue
            found = (
                measured.matched(target, count or 1, TEMPERATURES, **how)
                if given.matched
                else measured.quality(count, **how)
            )
            record(found, device=device)


if __name__ == "__main__":
    main()
