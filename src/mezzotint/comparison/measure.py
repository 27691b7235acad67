"""Measuring runs on the same held-out texts, by the same evaluators, under the same judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from platform import machine
from statistics import median
from typing import Any

import numpy as np
import torch

from mezzotint.assess.scores import bound, text_scores
from mezzotint.comparison.footprint import footprint
from mezzotint.comparison.record import Compared, Comparison, Point
from mezzotint.comparison.request import ComparisonRequest, check_compared
from mezzotint.drafts import Sample
from mezzotint.errors import UsageError
from mezzotint.evaluate.diversity import TrainingText
from mezzotint.evaluate.fluency import Swept, matched_sweep
from mezzotint.evaluate.judge import tag
from mezzotint.evaluate.table import Score
from mezzotint.held_out import Texts, is_bistro, training_text
from mezzotint.judge import Judge, bundled_judge
from mezzotint.run import Run, load
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import parameter_counts
from mezzotint.translation.scores import pair_scores
from mezzotint.types import Layout

STEPS = (4, 16, 64)
CURVE = (1, 2, 4, 8, 16, 32, 64)
TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.15)
"""Of the sweep that is brought to one entropy."""
SAMPLES = 256
TIMED, REPEATS = 64, 3
"""Texts that are timed at once, and how often, the runs in turn."""
ENTROPY = "entropy_words"


def compare(
    runs: Sequence[str | Path],
    data: Sequence[str | Path] = (),
    judge: str | Path | None = None,
    *,
    field: str | None = None,
    steps: Sequence[int] = (),
    n: int = SAMPLES,
    curve: bool = False,
    entropy_of_first: bool = False,
    memory: bool = True,
    seed: int = 0,
    device: str = "auto",
    tell: Callable[[str], None] = lambda what: None,
) -> Comparison:
    """Runs side by side on held-out text; by default their own, where they share it. `field` is which of a record is
    the text, by default as each run was trained.

    Each writes n texts at every number of `steps`; with `curve` at more of them, and at several temperatures, for judge
    NLL at one word entropy: that of the held-out texts, or with `entropy_of_first` that of the first run's own texts in
    the most steps. `memory` is measured in a process of its own for each run. `tell` hears what is being done. Raises
    the errors of `check_compared` and `load`.
    """
    request = check_compared([Path(run) for run in runs], data, None if judge is None else Path(judge))
    loaded = _by_name([load(run, device=device) for run in request.runs], request.runs)
    tell("measuring sizes")
    sizes = [_measure_size(name, run, memory) for name, run in loaded.items()]
    if request.translators:
        return _compare_translators(request, loaded, sizes, seed, tell)
    bench = ComparisonRun(loaded, request.data, field, _load_judge(loaded, judge, device), n, seed, tell)
    chosen = tuple(sorted(set(steps))) or (CURVE if curve else STEPS)
    compared = [replace(each, scores=scores) for each, scores in zip(sizes, bench.bounds(), strict=True)]
    points = bench.points(chosen)
    data_scores = list(text_scores(bench.held_out.like_samples(n), bench.judge, bench.training, bench.bistro))
    if curve:
        points = bench.add_matched_nll(points, data_scores, entropy_of_first)
    about = bench.about(_names_of(request.data, loaded)) | {"device": str(next(iter(loaded.values())).device)}
    filled = [replace(each, points=its_points) for each, its_points in zip(compared, points, strict=True)]
    return Comparison(filled, data_scores, about, bench.notes)


class ComparisonRun:
    """Some runs, and all that they are measured by."""

    def __init__(
        self,
        runs: dict[str, Run],
        data: Sequence[str | Path],
        field: str | None,
        judge: Judge | None,
        n: int,
        seed: int,
        tell: Callable[[str], None],
    ) -> None:
        self.runs, self.judge, self.n, self.seed, self.tell = runs, judge, n, seed, tell
        self.notes: list[str] = []
        self.texts = [Texts(run, data, field) for run in runs.values()]
        self.held_out = self.texts[0]
        self.training = self._training()
        self.bistro = all(map(is_bistro, runs.values()))
        if judge is None:
            self.notes.append(
                "Fluency is left out: it needs --judge RUN, a run of ar trained on such text with another seed."
            )

    def about(self, texts: Sequence[str]) -> dict[str, Any]:
        """The conditions of the measurement."""
        return {
            "texts": texts, "judge": tag(self.judge) if self.judge else None, "n": self.n,
            "seed": self.seed, "date": datetime.now(UTC).date().isoformat(),
            "hardware": f"{machine()}, {torch.get_num_threads()} threads", "timed": f"{REPEATS} times {TIMED} texts",
        }  # fmt: skip

    def bounds(self) -> Iterator[list[Score]]:
        """Every run's bound on the texts that fit all of them."""
        layouts = {texts.layout for texts in self.texts}
        if len(layouts) > 1:
            self.notes.append("Some runs read whole texts and some windows, so that their bounds are not comparable.")
        if layouts == {Layout.TEXTS}:
            shared = set.intersection(*(set(texts.order) for texts in self.texts))
            if not shared:
                raise UsageError("no held-out text fits all of these runs; compare them apart")
            left = max(len(texts.texts) for texts in self.texts) - len(shared)
            if left:
                self.notes.append(f"{left:,} held-out texts do not fit all runs and are left out of the bounds.")
            self.texts = [texts.only(shared) for texts in self.texts]
        is_one_tokenizer = len({run.tokenizer.fingerprint for run in self.runs.values()}) == 1
        if not is_one_tokenizer:
            self.notes.append("The runs have different tokens: their bounds are compared by the character alone.")
        for (name, run), texts in zip(self.runs.items(), self.texts, strict=True):
            self.tell(f"{name}: the bound on held-out text")
            scores = list(bound(run, texts, seed=self.seed))
            yield [score for score in scores if is_one_tokenizer or score.name == "bound_bits_per_char"]

    def points(self, steps: Sequence[int]) -> list[list[Point]]:
        """Every run's texts at every number of steps, scored and timed."""
        points: list[list[Point]] = []
        plans = {name: _plan(run, steps) for name, run in self.runs.items()}
        seconds = self._time(plans)
        for name, run in self.runs.items():
            points.append([])
            for count in plans[name]:
                self.tell(f"{name}: {self.n} texts" + ("" if count is None else f" in {count} steps"))
                samples = self._generate(run, count)
                scores = list(text_scores([s.text for s in samples], self.judge, self.training, self.bistro))
                times = seconds[name, count]
                tokens = sum(len(s.ids) for s in samples) / len(samples)
                nfe = float(np.mean([s.nfe for s in samples]))
                spread = min(times), max(times)
                points[-1].append(Point(count, nfe, median(times), spread, tokens / median(times), scores))
        return points

    def add_matched_nll(
        self, points: list[list[Point]], data_scores: Sequence[Score], first: bool
    ) -> list[list[Point]]:
        """The points with judge NLL at one entropy."""
        if self.judge is None:
            self.notes.append("Nothing is brought to one entropy, because there is no judge.")
            return points
        reference = points[0][-1].scores if first else data_scores
        target = next(score.value for score in reference if score.name == ENTROPY)
        whose = f"of {next(iter(self.runs))}'s own texts" if first else "of the held-out texts"
        self.notes.append(
            f"Matched: judge NLL where a sweep over temperature reaches {target:.3f} nats, the word entropy {whose}."
        )
        return [
            [replace(point, matched=self._nll_at_entropy(name, run, point.steps, target)) for point in run_points]
            for (name, run), run_points in zip(self.runs.items(), points, strict=True)
        ]

    def _nll_at_entropy(self, name: str, run: Run, steps: int | None, target: float) -> Score:
        assert self.judge is not None
        sweep = []
        for temperature in TEMPERATURES:
            self.tell(f"{name}: temperature {temperature:g}" + ("" if steps is None else f" in {steps} steps"))
            samples = self._generate(run, steps, temperature=temperature)
            sweep.append(Swept.of(temperature, [sample.text for sample in samples], self.judge))
        return matched_sweep(sweep, target)

    def _generate(self, run: Run, steps: int | None, n: int | None = None, **options: Any) -> list[Sample]:
        options = {"seed": self.seed, **options} | ({} if steps is None else {"steps": steps})
        return run.generate(n or self.n, **options)

    def _time(self, plans: dict[str, list[int | None]]) -> dict[tuple[str, int | None], list[float]]:
        """Seconds a text: the runs in turn, once to warm up and then REPEATS times."""
        count = min(TIMED, self.n)
        seconds: dict[tuple[str, int | None], list[float]] = {}
        for turn in range(1 + REPEATS):
            self.tell(f"timing, {turn + 1} of {1 + REPEATS}")
            for name, plan in plans.items():
                for steps in plan:
                    start = time.perf_counter()
                    self._generate(self.runs[name], steps, count)
                    if turn:
                        seconds.setdefault((name, steps), []).append((time.perf_counter() - start) / count)
        return seconds

    def _training(self) -> TrainingText | None:
        """The texts that all runs were trained on, if they are the same and still here."""
        sources = [
            (run.config["data"]["files"], [s["sha256"] for s in run.config["data"].get("sources", [])])
            for run in self.runs.values()
        ]
        if any(other != sources[0] for other in sources):
            self.notes.append("The runs were trained on different texts, so that what is new in theirs is left out.")
            return None
        return training_text(self.held_out.run)


def _plan(run: Run, steps: Sequence[int]) -> list[int | None]:
    """The numbers of steps that a run is measured at: none, once, where its texts do not depend on them."""
    one, three = (run.generate(4, steps=count) for count in (1, 3))
    is_fixed = [(s.text, s.nfe) for s in one] == [(s.text, s.nfe) for s in three]
    return [None] if is_fixed else list(steps)


def _names_of(data: Sequence[str | Path], runs: Mapping[str, Run]) -> list[str]:
    """What the held-out texts are called."""
    if data:
        return [Path(path).name for path in data]
    run = next(iter(runs.values()))
    return [f"those withheld from {Path(path).name}" for path in run.config["data"]["files"]]


def _compare_translators(
    request: ComparisonRequest, runs: dict[str, Run], sizes: Sequence[Compared], seed: int, tell: Callable[[str], None]
) -> Comparison:
    compared = []
    for each, run in zip(sizes, runs.values(), strict=True):
        tell(f"{each.name}: writing from the held-out sources")
        compared.append(replace(each, scores=list(pair_scores(run, request.data, seed=seed))))
    about = {"texts": _names_of(request.data, runs), "seed": seed}
    return Comparison(compared, (), about, ["These runs write from a source: each is scored beside the references."])


def _measure_size(name: str, run: Run, memory: bool) -> Compared:
    paths = [run.folder / file for file in files.PUBLISHED]
    has_teacher = not run.card.backbone
    size = sum(p.stat().st_size for p in paths if p.exists() and not (has_teacher and p.name == files.FROZEN))
    peak = footprint(run.folder) if memory else None
    return Compared(name, run.card.name, sum(parameter_counts(run.system)), size / 1e6, peak, ())


def _by_name(runs: Sequence[Run], paths: Sequence[Path]) -> dict[str, Run]:
    """Runs by their names; by their paths where two have the same name."""
    names = [run.name for run in runs]
    twice = len(set(names)) < len(names)
    return {str(path) if twice else run.name: run for run, path in zip(runs, paths, strict=True)}


def _load_judge(runs: dict[str, Run], judge: str | Path | None, device: str) -> Judge | None:
    if judge is None:
        return Judge(load(bundled_judge(), device=device)) if all(map(is_bistro, runs.values())) else None
    judge_model = Judge(load(judge, device=device))
    for name, run in runs.items():
        if run.weights_sha256 == judge_model.run.weights_sha256:
            raise UsageError(f"{judge} has the weights of {name} and cannot judge it; name an ar run of another seed")
    return judge_model
