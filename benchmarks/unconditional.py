"""`e2e-unconditional` and its like: systems on the same text, under one judge, beside the data's values.

    python -m benchmarks.unconditional e2e [--n 1000] [--systems mdlm ar sed] [--train-minutes 30]
    python -m benchmarks.unconditional prose [--n 256]
    python -m benchmarks.unconditional bistro --systems sed mdlm ar diffusion-lm

Trains what is missing under runs/ (or goes on with it), then scores on the test split: the bound, and the bound against
training time on the valid split; samples at 4, 16, 64 and 256 steps; a sweep over temperature for judge NLL at the
data's own entropy, or at --entropy, which says it for a corpus whose samples do not reach that. The judge is made by
`python -m benchmarks.judge`. What is measured already, with as many texts and the same judge, is left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any

from mezzotint.cli.allocator import keep_memory

STEPS = (4, 16, 64, 256)
TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1)
SWEEP_STEPS = 64
BOUNDS = {
    "ar": "exact", "mdlm": "any-order", "sed": "chain", "diffusion-lm": "chain", "qe-cdlm": "chain", "duo": "times",
}  # fmt: skip
"""Which bound a system's likelihood is, as variants say it."""
SEED = 0


@dataclass(frozen=True)
class Setting:
    """A corpus and how the systems are trained on it."""

    minutes: float
    layout: str = "texts"
    batch: dict[str, int] = field(default_factory=dict)
    """Rows of a batch by system, where they are not the recipe's."""
    settings: dict[str, str] = field(default_factory=dict)
    entropy: str = "test"
    """The split whose word entropy samples are brought to before they are compared."""


SMALL_BATCHES = {"mdlm": 32, "sed": 32, "diffusion-lm": 32, "qe-cdlm": 32, "duo": 32}
"""What needs steps more than rows."""
SETTINGS = {
    "bistro": Setting(10, batch={**SMALL_BATCHES, "ar": 32}),
    # Its held-out texts are five words longer than those that the systems learn from: no sample reaches their entropy.
    "e2e": Setting(15, batch=SMALL_BATCHES, entropy="train"),
    "ptb": Setting(15),
    "yelp": Setting(15),
    "prose": Setting(
        40, "windows", {"mdlm": 16, "ar": 16}, {"dim": "256", "depth": "6", "canvas": "128", "lr": "1e-3"}
    ),
    # What both can learn from in the time: chains of 20 kinds of residues, of up to 512 and 128 of them.
    "protein": Setting(120, batch={"mdlm": 32, "ar": 32}, settings={"canvas": "512"}),
    "protein-short": Setting(30, batch={"mdlm": 16, "ar": 16}, settings={"canvas": "128"}),
    # Four thousand stories of 66 tokens, longer than tiny's canvas: small batches, for more steps.
    "roc": Setting(10, batch=dict.fromkeys(("mdlm", "sed", "diffusion-lm", "ar"), 16), settings={"canvas": "128"}),
}


def train_run(
    name: str, system: str, out: Path | None = None, *, until: float = inf, device: str = "auto", **options: Any
) -> Path:
    """The run of a system on a corpus, trained to its end; SystemExit where the clock reached `until` before it.

    `how` goes to `mezzotint.train`, before what the corpus says.
    """
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.pieces import follow

    out, setting, data = out or Path("runs") / f"{name}-{system}", SETTINGS[name], corpus_files(name)
    asked: dict[str, Any] = {
        "layout": setting.layout, "minutes": setting.minutes, "batch_size": setting.batch.get(system),
        "settings": setting.settings, "tokenizer": data.tokenizer, "device": device, **options,
    }  # fmt: skip
    records = (
        mezzotint.resume(out, device=device)
        if out.exists()
        else mezzotint.train(system, [data.train], valid=[data.valid] if data.valid else None, out=out, **asked)
    )
    for _ in follow(out.name, records, until):
        pass
    return out


@dataclass(frozen=True)
class Target:
    """The word entropy that sweeps over temperature go to, and what names it in their rows."""

    entropy: float
    labels: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, n: int) -> Target:
        """That of n texts, evenly spread over the split that samples of a corpus are to be compared with."""
        from benchmarks.data import corpus_files
        from mezzotint import bistro_texts

        split = SETTINGS[name].entropy
        file = getattr(corpus_files(name), split)
        texts = bistro_texts(split) if file == "bistro" else Path(file).read_text(encoding="utf-8").splitlines()
        of_split = cls.of_texts(texts[:: max(1, len(texts) // n)][:n])
        return of_split if split == "test" else cls(of_split.entropy, {"entropy": split})

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> Target:
        from mezzotint.evaluate.diversity import entropies
        from mezzotint.evaluate.words import words

        return cls(float(entropies([words(text) for text in texts]).mean()))


class RunScorer:
    """One run, scored: yields rows. `how`, wherever it stands, goes to `run.generate` and into the variant."""

    def __init__(
        self,
        name: str,
        run: Any,
        judge: Any,
        training: Any,
        n: int,
        benchmark: str = "",
        variant: Mapping[str, object] | None = None,
    ) -> None:
        """`variant`: what names the run in every row; by default the batch, where it is not the recipe's, and that
        its table was learned before."""
        config = run.config
        batch = SETTINGS[name].batch.get(run.card.name)
        usual = {"batch": batch} if batch else {}
        self.labels = dict(variant) if variant is not None else {**usual, **table_labels(config)}
        log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
        self.log, self.run, self.judge, self.training, self.n, self.name = log, run, judge, training, n, name
        self.system = run.card.name
        spec = run.spec.net
        self.common: dict[str, Any] = {
            "benchmark": benchmark or f"{name}-unconditional", "system": run.card.name, "split": "test",
            "seed": config["seed"],
            "size": f"d{spec.dim}x{spec.depth}", "params": sum(p.numel() for p in run.system.net.parameters()),
            "train_minutes": requested_minutes(config["training"]),
            "variant": self.variant({}),
            "precision": str(next(run.system.net.parameters()).dtype)[6:],
        }  # fmt: skip

    @property
    def identity(self) -> dict[str, Any]:
        """What every row of this run has."""
        return {name: self.common[name] for name in ("system", "seed", "size", "train_minutes")}

    def row(self, score: Any, **more: Any) -> Any:
        """A score of this run as a row; `more` stands above what all its rows have."""
        from benchmarks.rows import Row

        value = score.value if score.value == score.value else None
        judge = score.judge or None
        return Row(
            **{**self.common, **more, "metric": score.name, "value": value, "stderr": score.stderr, "n": score.n,
               "judge": judge}
        )  # fmt: skip

    def variant(self, more: Mapping[str, object]) -> str:
        """The variant of a row: what names the run, and more."""
        from benchmarks.rows import variant

        return variant({**self.labels, **more})

    def bound(self, texts: Any, **options: Any) -> Iterator[Any]:
        from mezzotint.assess.scores import bound
        from mezzotint.evaluate.table import Score

        kind = {"bound": BOUNDS[self.system]}
        for score in bound(self.run, texts, **options):
            print(f"{self.system} {score.name} {score.value:.4f} ± {score.stderr:.4f} ({score.note})", flush=True)
            yield self.row(score, variant=self.variant(kind))
        asked = self.common["train_minutes"]
        curve = {"curve": "training", **({"of": asked} if asked else {})}
        for line in self.log:
            if "valid" in line:
                score, minutes = Score("bound_nats_per_token", line["valid"], None, 512), round(line["elapsed"] / 60, 2)
                yield self.row(score, split="valid", train_minutes=minutes, variant=self.variant(curve))

    def samples(self, steps: int, temperature: float = 1.0, **options: Any) -> tuple[list[str], dict[str, Any]]:
        began = time.perf_counter()
        samples = self.run.generate(self.n, steps=steps, seed=SEED, temperature=temperature, **options)
        cost = {"seconds": time.perf_counter() - began, "nfe": sum(s.nfe for s in samples) / len(samples), "batch": 64}
        return [s.text for s in samples], cost

    def quality(
        self, steps: int | None, extra_scores: Callable[[list[str]], Iterator[Any]] | None = None, **options: Any
    ) -> Iterator[Any]:
        """`also` says more of the texts, in scores of its own."""
        from mezzotint.assess.scores import text_scores

        texts, cost = self.samples(steps or 1, **options)
        what = f"{self.system} {self.variant(options)}, {steps} steps"
        print(f"{what}, {cost['nfe']:.1f} evaluations, {cost['seconds']:.1f} s:", flush=True)
        for text in texts[:4]:
            print(f"    {text[:200]!r}", flush=True)
        usual = text_scores(texts, self.judge, self.training, self.name == "bistro")
        for score in chain(usual, extra_scores(texts) if extra_scores else ()):
            yield self.row(score, steps=steps, variant=self.variant(options), **cost)

    def matched(
        self,
        target: Target,
        steps: int = SWEEP_STEPS,
        temperatures: Sequence[float] = TEMPERATURES,
        **options: Any,
    ) -> Iterator[Any]:
        """Judge NLL where a sweep over temperature reaches the target's entropy."""
        from mezzotint.evaluate.fluency import Swept, matched_sweep

        asked, what = None if self.system == "ar" else steps, f"{self.system} {self.variant(options)}"
        sweep, nfe = [], []
        for temperature in temperatures:
            texts, cost = self.samples(asked or 1, temperature, **options)
            nfe.append(cost["nfe"])
            sweep.append(Swept.of(temperature, texts, self.judge))
            print(f"{what} at temperature {temperature}: entropy, nll {sweep[-1].point[1:]}", flush=True)
        score = matched_sweep(sweep, target.entropy)
        print(f"{what} at the entropy {target.entropy:.3f}: {score.value} ± {score.stderr} ({score.note})", flush=True)
        yield self.row(score, steps=asked, variant=self.variant({**target.labels, **options}), nfe=sum(nfe) / len(nfe))


def table_labels(config: Mapping[str, Any]) -> dict[str, object]:
    """What names a table that was learned before, with the minutes that it took where it says."""
    kept = config["data"].get("embeddings")
    if not kept:
        return {}
    source = Path(str(kept.get("source", ""))) / "config.json"
    minutes = requested_minutes(json.loads(source.read_text())["training"]) if source.exists() else None
    return {"table": "pretrained"} | ({} if minutes is None else {"vector_minutes": f"{minutes:g}"})


def requested_minutes(training: Mapping[str, Any] | None) -> float | None:
    """What a run was asked for, 15 for 15.0, as the keys of rows have it; None where it was steps, or nothing."""
    if training is None or training["max_steps"]:
        return None
    minutes = float(training["minutes"])
    return int(minutes) if minutes.is_integer() else minutes


def data_rows(
    name: str, texts: list[str], judge: Any, training: Any, benchmark: str = "",
    extra_scores: Callable[[list[str]], Iterator[Any]] | None = None,
) -> list[Any]:  # fmt: skip
    from benchmarks.rows import Row
    from mezzotint.assess.scores import text_scores

    return [
        Row(
            benchmark=benchmark or f"{name}-unconditional", system="data", metric=s.name, value=s.value,
            stderr=s.stderr, n=s.n, split="test", judge=s.judge or None,
        )
        for s in chain(
            text_scores(texts, judge, training, name == "bistro"),
            extra_scores(texts) if extra_scores else (),
        )
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SETTINGS))
    parser.add_argument("--n", type=int)
    parser.add_argument("--systems", nargs="+", default=["mdlm", "ar"])
    parser.add_argument("--train-minutes", type=float, help="where it is not what the corpus says")
    parser.add_argument("--vector-minutes", type=float, default=0.0, help="of sed's training, spent on a table first")
    parser.add_argument("--seed", type=int, default=SEED, help="of the trainings")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--temperatures", type=float, nargs="*", default=[], help="others than 1, at the sweep's steps")
    parser.add_argument("--entropy", type=float, help="that the sweep goes to (default: that of the corpus)")
    parser.add_argument("--swept", type=int, help="texts of each temperature of the sweep (default: --n; 0: none)")
    given = parser.parse_args()
    keep_memory()
    import mezzotint
    from benchmarks.data import corpus_files
    from benchmarks.judge import RECIPES
    from benchmarks.rows import has, record
    from mezzotint.evaluate.judge import tag
    from mezzotint.held_out import Texts, training_text
    from mezzotint.judge import Judge

    name = given.name
    n = given.n or {"prose": 256}.get(name, 1000)
    asked = (given.train_minutes, given.seed, given.vector_minutes)
    runs = [training_run(name, system, *asked) for system in given.systems]
    judge = Judge(mezzotint.load(RECIPES[name].kept))
    training = training_text(mezzotint.load(runs[0][0]))
    held_out = Texts(mezzotint.load(runs[0][0]), [corpus_files(name).test])
    data = data_rows(name, held_out.like_samples(n), judge, training)
    record(data)
    target = Target.of(name, n) if given.entropy is None else Target(given.entropy, {"entropy": f"{given.entropy:g}"})
    print(f"the sweep goes to an entropy of {target.entropy:.4f}", flush=True)
    for folder, labels in runs:
        run = mezzotint.load(folder)
        measured = RunScorer(name, run, judge, training, n, variant=labels)
        held_out = Texts(run, [corpus_files(name).test])
        swept = RunScorer(name, run, judge, training, n if given.swept is None else given.swept, variant=labels)
        for facts, rows in measurements(measured, swept, held_out, given.steps, given.temperatures, target):
            if not has(f"{name}-unconditional", **{**measured.identity, "judge": tag(judge), **facts}):
                record(rows())


def training_run(
    name: str, system: str, minutes: float | None, seed: int, of_vectors: float
) -> tuple[Path, dict[str, object]]:
    """The run of a system, trained for as many minutes as its corpus says, or for others; and what names it in rows.

    With `of_vectors`, the first minutes of a sed are spent on its vectors of tokens.
    """
    marks = ([f"{minutes:g}m"] if minutes else []) + ([f"s{seed}"] if seed else [])
    out = Path("runs") / "-".join([name, system, *marks])
    setting = SETTINGS[name]
    batch = {"batch": setting.batch[system]} if system in setting.batch else {}
    if system != "sed" or not of_vectors:
        return train_run(name, system, out, seed=seed, **({"minutes": minutes} if minutes else {})), batch
    table = vectors(name, Path("runs") / "-".join([name, "vectors", *marks]), seed=seed, minutes=of_vectors)
    rest = (minutes or setting.minutes) - of_vectors
    pretrained = {**setting.settings, "table": "pretrained"}
    run = train_run(name, system, out, seed=seed, minutes=rest, embeddings=table, settings=pretrained)
    return run, {**batch, "table": "pretrained", "vector_minutes": f"{of_vectors:g}"}


def vectors(name: str, out: Path, settings: Mapping[str, str] | None = None, width: int = 32, **options: Any) -> Path:
    """A run whose lookup is a table for sed, as `mezzotint train-embeddings` makes it."""
    narrow = {"factor": str(width), "tied": "true"}
    return train_run(name, "mdlm", out, settings={**(settings or SETTINGS[name].settings), **narrow}, **options)


def measurements(
    measured: RunScorer,
    swept: RunScorer,
    held_out: Any,
    steps: Sequence[int],
    temperatures: Sequence[float],
    target: Target,
) -> Iterator[tuple[dict[str, Any], Callable[[], Iterator[Any]]]]:
    """What is measured of a run: what its rows must have, and how they are made; `swept` is it with a sweep's texts."""
    system = measured.system
    bound = {"metric": "bound_nats_per_token", "split": "test", "judge": None}
    yield {**bound, "variant": measured.variant({"bound": BOUNDS[system]})}, lambda: measured.bound(held_out)
    asked = None if system == "ar" else SWEEP_STEPS
    plain: list[tuple[int | None, dict[str, Any]]] = [(each, {}) for each in ((None,) if system == "ar" else steps)]
    for each, options in plain + [(asked, {"temperature": temperature}) for temperature in temperatures]:
        yield (
            {"metric": "judge_nll", "steps": each, "variant": measured.variant(options), "n": measured.n},
            partial(measured.quality, each, **options),
        )
    if not swept.n:
        return
    yield (
        {"metric": "judge_nll_matched", "steps": asked, "variant": measured.variant(target.labels)},
        lambda: swept.matched(target),
    )


if __name__ == "__main__":
    main()
