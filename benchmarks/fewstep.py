"""`e2e-fewstep`: few steps, of a teacher, its students with and without the reward, and ar, under one judge.

    mezzotint distill runs/e2e-mdlm --out runs/e2e-didi --minutes 15
    python -m benchmarks.fewstep [--teacher runs/e2e-mdlm] [--students runs/e2e-didi ...] [--ar runs/e2e-ar] [--n 1000]
    python -m benchmarks.fewstep --matched [--steps 4 8 16] [--temperatures 0.7 0.8 0.9 1.0]

Raw: each run at each number of steps (the teacher at 256 and 1,024 too), up to 32 steps also by the decoder `spread`,
which trains nothing, and students guided by their reward; ar at several nuclei. With --matched, judge NLL where a sweep
over temperature reaches the word entropy of the teacher's own samples in 1,024 steps. With --mauve every raw sample is
compared with held-out texts too. A student's rows are told apart by the settings that it was taught under, where they
are not the recipe's, and by the minutes or steps that it took. What is already measured, with as many texts and the
same judge, is left out, so the command goes on where it was stopped; --only names some of teacher, student, spread,
reward, ar.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = (1, 2, 4, 8, 16, 32, 64, 128)
LONG = (256, 1024)
MATCHED = (4, 8, 16)
FEW = 32
NUCLEI = (1.0, 0.95, 0.9, 0.8)
TRAINING_SETTINGS = ("batch", "warmup", "clip", "ema")
"""Settings of a training that tell students apart, beside the rate, which all rows name."""
TEMPERATURES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
ARMS = ("teacher", "student", "spread", "reward", "ar")

Options = dict[str, Any]


def arms(kind: str, steps: Iterable[int], matched: bool) -> Iterator[tuple[int | None, Options]]:
    """(steps, what `run.generate` is asked for) of every measurement of a run."""
    if kind == "ar":
        yield from ((None, {} if p == 1 else {"top_p": p}) for p in (NUCLEI[:1] if matched else NUCLEI))
    elif kind == "reward":
        yield from ((n, {"guide": "reward"}) for n in steps if 1 < n <= FEW)
    elif kind == "spread":
        yield from ((n, {"decoder": "spread"}) for n in steps if 1 < n <= FEW)
    else:
        yield from ((n, {}) for n in steps)


def training_labels(config: Mapping[str, Any]) -> Options:
    """The rate at which a student was taught, and its other settings as far as they are not the recipe's."""
    from mezzotint.recipes.didi_instruct import recipe
    from mezzotint.spec.base import Size
    from mezzotint.spec.recipe import Corpus
    from mezzotint.spec.transformer import SHAPES
    from mezzotint.types import Layout

    if config["system"] != "didi-instruct":
        return {}
    width, layout = config["spec"]["net"]["dim"], Layout(config["data"]["layout"])
    size = max((s for s in Size if SHAPES[s].dim <= width), key=lambda s: SHAPES[s].dim, default=Size.TINY)
    defaults = recipe(size, Corpus(config["spec"]["vocab"], config["spec"]["canvas"], layout))
    of_teacher = {"noise", "time_conditioning", "mask_output", "frame", "vocab", "canvas", "ending", "net"}
    options = {}
    training = {name: getattr(defaults.training, name) for name in TRAINING_SETTINGS}
    for part, expected in (("spec", defaults.spec.to_json()), ("training", training)):
        values = {name: config[part].get(name, value) for name, value in expected.items() if name not in of_teacher}
        options |= {name: value for name, value in values.items() if value != expected[name]}
    return options | {"lr": f"{config['training']['lr']:g}"}


def run_labels(name: str, config: Mapping[str, Any]) -> Options:
    """What names a run in rows of the corpus `name`: how it was taught, and by whom, where that is not as usual."""
    options = training_labels(config)
    if config["system"] == "didi-instruct":
        steps, teacher = config["training"]["max_steps"], Path(config["teacher"]["run"]).name
        options |= {"taught_steps": steps} if steps else {}
        options |= {"teacher": teacher} if teacher != f"{name}-mdlm" else {}
    return options


@dataclass(frozen=True)
class Table:
    """The rows of a benchmark of few steps: what is in the file already is not measured again."""

    name: str
    n: int
    judge: Any
    training: Any
    results: Path
    held_out: Sequence[str] = ()
    """As many texts, which samples stand beside."""
    others: Sequence[str] = ()
    """As many others, which samples are compared with."""
    mauve: bool = False

    @property
    def benchmark(self) -> str:
        return f"{self.name}-fewstep"

    @property
    def _last_metric(self) -> str:
        """The score that is there where all that is asked for was measured."""
        return "mauve[judge]" if self.mauve else "judge_nll"

    def scorer(self, run: Any) -> Any:
        """The measurements of a run."""
        from benchmarks.unconditional import RunScorer

        measured = RunScorer(self.name, run, self.judge, self.training, self.n, self.benchmark)
        measured.labels |= run_labels(self.name, run.config)
        return measured

    def find_row(self, measured: Any, metric: str, options: Options, steps: int | None) -> Any:
        """The row of a measurement, if there is one."""
        from benchmarks.rows import read
        from mezzotint.evaluate.judge import tag

        key = {**measured.identity, "metric": metric, "variant": measured.variant(options), "steps": steps, "n": self.n}
        rows = read(self.results / f"{self.benchmark}.json")
        matches = (row for row in rows if all(getattr(row, name) == value for name, value in key.items()))
        return next((row for row in matches if row.judge in (None, tag(self.judge))), None)

    def quality(self, measured: Any, steps: int | None, options: Options) -> None:
        if self.find_row(measured, self._last_metric, options, steps) is None:
            self._record(measured, measured.quality(steps, self.extra_scores, **options))

    def matched(
        self, measured: Any, steps: int | None, options: Options, target: Any, temperatures: Sequence[float]
    ) -> None:
        if self.find_row(measured, "judge_nll_matched", options, steps) is None:
            self._record(measured, measured.matched(target, steps or 1, temperatures, **options))

    def extra_scores(self, texts: Sequence[str]) -> Iterator[Any]:
        """What is said of texts here alone."""
        if self.mauve:
            from mezzotint.evaluate.divergence import divergence

            yield divergence(texts, self.others, self.judge)
        if self.name.startswith("protein"):
            from benchmarks.protein import of_chains

            yield from of_chains(texts, self.others)

    def record_data(self) -> None:
        """What is said of the held-out texts."""
        from benchmarks.rows import has, record
        from benchmarks.unconditional import data_rows
        from mezzotint.evaluate.judge import tag

        facts = {"system": "data", "metric": self._last_metric, "judge": tag(self.judge), "n": self.n}
        if not has(self.benchmark, self.results, **facts):
            rows = data_rows(
                self.name, list(self.held_out), self.judge, self.training, self.benchmark, self.extra_scores
            )
            record(rows, results=self.results)

    def teachers_entropy(self, teacher: Any) -> Any:
        """Word entropy of the teacher's samples in as many steps as there are, for sweeps to go to."""
        from benchmarks.unconditional import Target

        row = self.find_row(teacher, "entropy_words", {}, LONG[-1])
        if row is not None:
            return Target(float(row.value))
        return Target.of_texts(teacher.samples(LONG[-1])[0])

    def _record(self, measured: Any, rows: Iterable[Any]) -> None:
        from benchmarks.rows import record

        record(rows, device=str(measured.run.device), results=self.results)


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS
    from benchmarks.unconditional import SETTINGS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", choices=sorted(SETTINGS), default="e2e")
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--students", type=Path, nargs="*", default=())
    parser.add_argument("--ar", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--steps", type=int, nargs="+", help="instead of the usual ones of every run")
    parser.add_argument("--only", choices=ARMS, nargs="+", default=ARMS)
    parser.add_argument("--matched", action="store_true")
    parser.add_argument("--temperatures", type=float, nargs="+", default=TEMPERATURES, help="of the sweep")
    parser.add_argument("--mauve", action="store_true")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from mezzotint.held_out import Texts, training_text
    from mezzotint.judge import Judge

    def loaded(path: Path) -> Any:
        return mezzotint.load(path, device=given.device)

    teacher = loaded(given.teacher or Path("runs") / f"{given.name}-mdlm")
    held_out = Texts(teacher, [corpus_files(given.name).test]).like_samples(2 * given.n)
    judge = Judge(mezzotint.load(RECIPES[given.name].kept))
    first_half, others = held_out[: given.n], held_out[given.n :]
    table = Table(given.name, given.n, judge, training_text(teacher), given.out, first_half, others, given.mauve)
    whole = table.scorer(teacher)
    runs = [(kind, whole) for kind in ("teacher", "spread")]
    for path in given.students:
        student = table.scorer(loaded(path))
        runs += [(kind, student) for kind in ("student", "spread", "reward")]
    if given.ar:
        runs.append(("ar", table.scorer(loaded(given.ar))))
    target = table.teachers_entropy(runs[0][1]) if given.matched else None
    if not given.matched:
        table.record_data()
    for kind, measured in runs:
        steps_of_kind = MATCHED if given.matched else (*STEPS, *(LONG if kind == "teacher" else ()))
        for steps, options in arms(kind, given.steps or steps_of_kind, given.matched) if kind in given.only else ():
            if given.matched:
                table.matched(measured, steps, options, target, given.temperatures)
            else:
                table.quality(measured, steps, options)


if __name__ == "__main__":
    main()
