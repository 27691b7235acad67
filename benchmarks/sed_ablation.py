"""SED's arms, one thing changed at a time (`bistro-unconditional`, `e2e-unconditional`).

    python -m benchmarks.sed_ablation [--question paper|trap|width] [--corpus e2e|bistro]
                                      [--train-minutes 10 | --train-steps 2000] [--set speaks=vector] [--minutes 9]

    paper       random or pretrained vectors, without or with self-conditioning: both are large gains in Strudel et al.
                2022, arXiv:2211.04236
    trap        our recipe, and what each of its departures is worth: each taken back alone, then all at once
    width       vectors of 16, 32 and 64 numbers

The arms of a question begin with equal networks, are trained for as long, and are scored by their bound, by the judge
on samples and, with --matched, by the judge at the entropy that sweeps of that corpus go to. The pretrained vectors are
learned once, for all seeds, in --vector-minutes or --vector-steps that come on top. --set goes to every arm and into
the variant.

Runs stand in runs/sed-ablation, under all that they were asked for; what is measured already, with as many texts and
the same judge, is left out. So what was stopped, or had too few --minutes, is continued by the same call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

RUNS = Path("runs/sed-ablation")
STEPS = 64
WIDTH = 32

Settings = Mapping[str, str]
Measurement = tuple[dict[str, Any], Callable[[], Iterable[Any]]]


QUESTIONS: Mapping[str, Sequence[Settings]] = {
    "paper": [
        {"table": table, "self_condition": conditioned}
        for table in ("random", "pretrained")
        for conditioned in ("none", "coin")
    ],
    "trap": [
        {},
        {"speaks": "vector"},
        {"evidence": "false"},
        {"singly": "0"},
        {"noise_factor": "1"},
        {"times": "uniform"},
        {"evidence": "false", "noise_factor": "1", "singly": "0", "speaks": "vector", "times": "uniform"},
    ],
    "width": [{"width": "16"}, {"width": "32"}, {"width": "64"}],
}


class Ablation:
    """The runs of the ablation, each trained to its end or until the time is up."""

    def __init__(self, given: argparse.Namespace, until: float) -> None:
        self.until, self.device, self.batch = until, given.device, given.batch
        self.settings: dict[str, str] = dict(given.set)
        self.corpus = given.corpus
        self.budget = _budget(given.train_minutes, given.train_steps)
        self.vector_budget = _budget(given.vector_minutes, given.vector_steps)

    def vectors(self, settings: Settings) -> Path:
        """The run whose lookup is the pretrained table."""
        width = settings.get("width", str(WIDTH))
        # What says how wide the network is, and how a text ends, is theirs too; the rest is sed's alone.
        shared = {k: v for k, v in settings.items() if k in ("dim", "depth", "heads", "ending")}
        return self._train("mdlm", self.vector_budget, {**shared, "factor": width, "tied": "true"}, 0)

    def run(self, arm: Settings, seed: int) -> tuple[Path, dict[str, object]]:
        """An arm's run, and what names it in rows."""
        from benchmarks.unconditional import SETTINGS

        settings = {**self.settings, **arm}
        steps = {"train_steps": self.budget["max_steps"]} if self.budget["max_steps"] else {}
        batch = {"batch": self.batch or SETTINGS[self.corpus].batch["sed"]}
        if settings.get("table") != "pretrained":
            return self._train("sed", self.budget, settings, seed), {**settings, **steps, **batch}
        # Arms of one name must stand on one table.
        unit, key = ("steps", "max_steps") if self.vector_budget["max_steps"] else ("minutes", "minutes")
        labels = {f"vector_{unit}": f"{self.vector_budget[key]:g}"}
        table = self.vectors(settings)
        return self._train("sed", self.budget, settings, seed, labels, embeddings=table), {
            **settings, **labels, **steps, **batch
        }  # fmt: skip

    def _train(
        self,
        system: str,
        budget: Mapping[str, Any],
        settings: Settings,
        seed: int,
        labels: Settings | None = None,
        **options: Any,
    ) -> Path:
        """`labels`: what names the folder besides."""
        from benchmarks.rows import variant
        from benchmarks.unconditional import train_run

        facts = {**budget, "batch": self.batch, "seed": seed, **(labels or {})}
        folder_labels = {k: v for k, v in facts.items() if v is not None}
        out = RUNS / f"{self.corpus},{system},{variant({**folder_labels, **settings})}"
        rows = {"batch_size": self.batch} if self.batch else {}
        options |= {"settings": dict(settings), "seed": seed, **rows, **budget}
        return train_run(self.corpus, system, out, until=self.until, device=self.device, **options)


def _budget(minutes: float, steps: int | None) -> dict[str, Any]:
    """How long to train, in the library's words."""
    return {"minutes": None if steps else minutes, "max_steps": steps}


def measurements(measured: Any, held_out: Any, given: argparse.Namespace, target: Any) -> Iterator[Measurement]:
    """What is measured of a run: what its rows must have, and how they are made."""
    steps = given.steps
    bound = measured.variant({"bound": "chain"})
    yield (
        {"metric": "bound_nats_per_token", "variant": bound, "n": len(held_out.rows)},
        lambda: measured.bound(held_out, draws=given.draws),
    )
    sampled = {"variant": measured.variant({}), "steps": steps, "judge": given.judge}
    yield {**sampled, "metric": "judge_nll", "n": given.n}, lambda: measured.quality(steps)
    if given.matched:
        yield (
            {**sampled, "metric": "judge_nll_matched", "variant": measured.variant(target.labels)},
            lambda: measured.matched(target, steps),
        )


def score_data(held_out: Any, given: argparse.Namespace, judge: Any, training: Any) -> None:
    """What is said of as many held-out texts is recorded, if it was not before."""
    from benchmarks.rows import has, record
    from benchmarks.unconditional import data_rows

    name = f"{given.corpus}-unconditional"
    if not has(name, given.out, system="data", metric="judge_nll", judge=given.judge, n=given.n):
        record(data_rows(given.corpus, held_out.like_samples(given.n), judge, training), results=given.out)


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS, setting

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--question", choices=sorted(QUESTIONS), default="paper")
    parser.add_argument("--corpus", choices=("bistro", "e2e"), default="e2e")
    parser.add_argument("--train-minutes", type=float, default=10)
    parser.add_argument("--train-steps", type=int)
    parser.add_argument("--vector-minutes", type=float, default=5)
    parser.add_argument("--vector-steps", type=int)
    parser.add_argument("--batch", type=int, help="rows a step (default: the recipe's)")
    parser.add_argument("--set", type=setting, nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--n", type=int, default=1000, help="texts of each run that the judge reads")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps that they are written in")
    parser.add_argument("--draws", type=int, default=8, help="draws of each text's bound")
    parser.add_argument("--matched", action="store_true")
    parser.add_argument("--minutes", type=float, default=inf, help="how long this call may take")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results are kept")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    until = time.monotonic() + 60 * given.minutes
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from benchmarks.rows import has, record
    from benchmarks.unconditional import RunScorer, Target
    from mezzotint.evaluate.judge import tag
    from mezzotint.held_out import Texts, training_text
    from mezzotint.judge import Judge

    ablation = Ablation(given, until)
    judge = Judge(mezzotint.load(RECIPES[given.corpus].kept, device=given.device))
    given.judge = tag(judge)
    target = Target.of(given.corpus, given.n)
    for seed in given.seeds:
        for arm in QUESTIONS[given.question]:
            folder, labels = ablation.run(arm, seed)
            run = mezzotint.load(folder, device=given.device)
            training, held_out = training_text(run), Texts(run, [corpus_files(given.corpus).test])
            score_data(held_out, given, judge, training)
            measured = RunScorer(given.corpus, run, judge, training, given.n, variant=labels)
            for facts, rows in measurements(measured, held_out, given, target):
                if has(f"{given.corpus}-unconditional", given.out, **{**measured.identity, **facts}):
                    continue
                if time.monotonic() > until:
                    raise SystemExit(f"{folder.name}: {facts['metric']} is still to be measured; call again to go on")
                try:
                    record(rows(), device=str(run.device), results=given.out)
                except mezzotint.CapabilityError as error:
                    print(f"{folder.name}: no {facts['metric']}: {error}", flush=True)


if __name__ == "__main__":
    main()
