"""SED's ablation on e2e (`e2e-unconditional`): random or pretrained vectors, without or with self-conditioning.

    python -m benchmarks.sed_ablation [--train-minutes 10 | --train-steps 2000] [--set speaks=vector] [--minutes 9]

Strudel et al. 2022, arXiv:2211.04236: both are large gains there. The four arms begin with equal networks, are
trained for as long, with seeds 0 and 1, and are scored by their bound, by the judge on samples and, with --matched, by
the judge at the data's own word entropy. The pretrained vectors are learned once, for all seeds, in --vector-minutes or
--vector-steps that come on top. --set goes to every arm and into the variant.

Runs stand in runs/sed-ablation, under all that they were asked for; what is measured already, with as many texts and
the same judge, is left out. So what was stopped, or had too few --minutes, is continued by the same call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from pathlib import Path
from typing import Any

NAME = "e2e-unconditional"
RUNS = Path("runs/sed-ablation")
STEPS = 64
WIDTH = 32

Settings = Mapping[str, str]
Measurement = tuple[dict[str, Any], Callable[[], Iterable[Any]]]


def arms(settings: Settings) -> Iterator[dict[str, str]]:
    """The settings of the four arms, the paper's best one last."""
    for table in ("random", "pretrained"):
        for conditioned in ("none", "both"):
            yield {**settings, "table": table, "self_condition": conditioned}


class Ablation:
    """The runs of the ablation, each trained to its end or until the time is up."""

    def __init__(self, given: argparse.Namespace, until: float) -> None:
        self.until, self.device, self.batch = until, given.device, given.batch
        self.settings: dict[str, str] = dict(given.set)
        self.budget = _budget(given.train_minutes, given.train_steps)
        self.vector_budget = _budget(given.vector_minutes, given.vector_steps)

    def vectors(self) -> Path:
        """The run whose lookup is the pretrained table."""
        width = self.settings.get("width", str(WIDTH))
        # What says how wide the network is, and how a text ends, is theirs too; the rest is sed's alone.
        shared = {k: v for k, v in self.settings.items() if k in ("dim", "depth", "heads", "ending")}
        return self._trained("mdlm", self.vector_budget, {**shared, "factor": width, "tied": "true"}, 0)

    def run(self, arm: Settings, seed: int) -> tuple[Path, dict[str, object]]:
        """An arm's run, and what names it in rows."""
        how: dict[str, Any] = {"embeddings": self.vectors()} if arm["table"] == "pretrained" else {}
        steps = {"train_steps": self.budget["max_steps"]} if self.budget["max_steps"] else {}
        batch = {"batch": self.batch} if self.batch else {}
        return self._trained("sed", self.budget, arm, seed, **how), {**arm, **steps, **batch}

    def _trained(self, system: str, budget: Mapping[str, Any], settings: Settings, seed: int, **how: Any) -> Path:
        from benchmarks.rows import variant
        from benchmarks.unconditional import trained

        known = {k: v for k, v in {**budget, "batch": self.batch, "seed": seed}.items() if v is not None}
        out = RUNS / f"{system},{variant({**known, **settings})}"
        how |= {"settings": dict(settings), "seed": seed, "batch_size": self.batch, **budget}
        return trained("e2e", system, out, until=self.until, device=self.device, **how)


def _budget(minutes: float, steps: int | None) -> dict[str, Any]:
    """How long to train, in the library's words."""
    return {"minutes": None if steps else minutes, "max_steps": steps}


def measurements(measured: Any, held_out: Any, given: argparse.Namespace, entropy: float) -> Iterator[Measurement]:
    """What is measured of a run: what its rows must have, and how they are made."""
    steps = given.steps
    bound = measured.called({"bound": "chain"})
    yield (
        {"metric": "bound_nats_per_token", "variant": bound, "n": len(held_out.rows)},
        lambda: measured.bound(held_out, draws=given.draws),
    )
    sampled = {"variant": measured.called({}), "steps": steps, "judge": given.judge}
    yield {**sampled, "metric": "judge_nll", "n": given.n}, lambda: measured.quality(steps)
    if given.matched:
        yield {**sampled, "metric": "judge_nll_matched"}, lambda: measured.matched(entropy, steps)


def entropy_of_data(held_out: Any, given: argparse.Namespace, judge: Any, training: Any) -> float:
    """Word entropy of as many held-out texts; all that is said of them is recorded, if it was not before."""
    from benchmarks.rows import has, read, record
    from benchmarks.unconditional import of_data

    if not has(NAME, given.out, system="data", metric="judge_nll", judge=given.judge, n=given.n):
        record(of_data("e2e", held_out.like_samples(given.n), judge, training), results=given.out)
    rows = read(given.out / f"{NAME}.json")
    return next(row.value for row in rows if (row.system, row.metric) == ("data", "entropy_words"))


def arguments() -> argparse.Namespace:
    from benchmarks.rows import RESULTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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


def setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"a setting is key=value, not {text}")
    return key, value


def main() -> None:
    given = arguments()
    until = time.monotonic() + 60 * given.minutes
    from mezzotint.cli.allocator import keep_memory

    keep_memory()
    import mezzotint
    from benchmarks.data import prepared
    from benchmarks.judge import RECIPES
    from benchmarks.rows import has, record
    from benchmarks.unconditional import Measured
    from mezzotint.assess import Judge, Texts, training_text
    from mezzotint.evaluate.judge import tag

    ablation = Ablation(given, until)
    judge = Judge(mezzotint.load(RECIPES["e2e"].kept, device=given.device))
    given.judge = tag(judge)
    for seed in given.seeds:
        for arm in arms(ablation.settings):
            folder, named = ablation.run(arm, seed)
            run = mezzotint.load(folder, device=given.device)
            training, held_out = training_text(run), Texts(run, [prepared("e2e").test])
            entropy = entropy_of_data(held_out, given, judge, training)
            measured = Measured("e2e", run, judge, training, given.n, variant=named)
            for facts, rows in measurements(measured, held_out, given, entropy):
                if has(NAME, given.out, system="sed", seed=seed, **facts):
                    continue
                if time.monotonic() > until:
                    raise SystemExit(f"{folder.name}: {facts['metric']} is still to be measured; call again to go on")
                record(rows(), device=str(run.device), results=given.out)


if __name__ == "__main__":
    main()
