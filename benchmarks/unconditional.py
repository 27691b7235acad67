"""`e2e-unconditional` and `prose-unconditional`: mdlm and ar on real text, under one judge, beside the data's values.

    python -m benchmarks.unconditional e2e [--n 1000]
    python -m benchmarks.unconditional prose [--n 256]

Trains what is missing under runs/ (or goes on with it), then scores on the test split: the bound, and the bound against
training time on the valid split; samples at 4, 16, 64 and 256 steps; a sweep over temperature for judge NLL at the
data's own entropy. The judge is made by `python -m benchmarks.judge`.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from mezzotint.cli.allocator import keep_memory

STEPS = (4, 16, 64, 256)
TEMPERATURES = (0.7, 0.8, 0.9, 1.0, 1.1)
SWEEP_STEPS = 64
BOUNDS = {"ar": "exact", "mdlm": "any-order", "sed": "chain"}
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


SETTINGS = {
    "bistro": Setting(10),
    "e2e": Setting(15, batch={"mdlm": 32}),
    "prose": Setting(
        40, "windows", {"mdlm": 16, "ar": 16}, {"dim": "256", "depth": "6", "canvas": "128", "lr": "1e-3"}
    ),
}


def trained(
    name: str, system: str, out: Path | None = None, *, until: float = inf, device: str = "auto", **how: Any
) -> Path:
    """The run of a system on a corpus, trained to its end; SystemExit where the clock reached `until` before it.

    `how` goes to `mezzotint.train`, before what the corpus says.
    """
    import mezzotint
    from benchmarks.data import prepared

    out, setting, data = out or Path("runs") / f"{name}-{system}", SETTINGS[name], prepared(name)
    asked: dict[str, Any] = {
        "layout": setting.layout, "minutes": setting.minutes, "batch_size": setting.batch.get(system),
        "settings": setting.settings, "device": device, **how,
    }  # fmt: skip
    records = (
        mezzotint.resume(out, device=device)
        if out.exists()
        else mezzotint.train(system, [data.train], valid=[data.valid] if data.valid else None, out=out, **asked)
    )
    ending = False
    for record in records:
        if record.valid is not None:
            print(f"{out.name}: {record.fraction:.0%}, held-out bound {record.valid:.4f}", flush=True)
        if record.stopped is not None:
            raise SystemExit(f"{out.name}: {record.fraction:.0%} trained; call again to go on")
        if time.monotonic() > until and not ending:
            ending = True
            signal.raise_signal(signal.SIGTERM)  # which saves what there is, to the step
    return out


class Measured:
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
        """`variant`: what names the run in every row; by default the batch, where it is not the recipe's."""
        from benchmarks.rows import Row

        config = run.config
        batch = SETTINGS[name].batch.get(run.card.name)
        self.named = dict(variant) if variant is not None else {"batch": batch} if batch else {}
        log = [json.loads(line) for line in (run.folder / "log.jsonl").read_text().splitlines()]
        self.log, self.run, self.judge, self.training, self.n, self.name = log, run, judge, training, n, name
        self.system = run.card.name
        spec = run.spec.net
        self.common: dict[str, Any] = {
            "benchmark": benchmark or f"{name}-unconditional", "system": run.card.name, "split": "test",
            "seed": config["seed"],
            "size": f"d{spec.dim}x{spec.depth}", "params": sum(p.numel() for p in run.system.net.parameters()),
            "train_minutes": minutes_asked(config["training"]),
            "variant": self.called({}),
            "precision": str(next(run.system.net.parameters()).dtype)[6:],
        }  # fmt: skip
        self.row = Row

    def _row(self, score: Any, **more: Any) -> Any:
        value = score.value if score.value == score.value else None
        judge = score.judge or None
        return self.row(
            **{**self.common, **more, "metric": score.name, "value": value, "stderr": score.stderr, "n": score.n,
               "judge": judge}
        )  # fmt: skip

    def called(self, more: Mapping[str, object]) -> str:
        """The variant of a row: what names the run, and more."""
        from benchmarks.rows import variant

        return variant({**self.named, **more})

    def bound(self, texts: Any, **how: Any) -> Iterator[Any]:
        from mezzotint.assess import bound

        kind = {"bound": BOUNDS[self.system]}
        for score in bound(self.run, texts, **how):
            print(f"{self.system} {score.name} {score.value:.4f} ± {score.stderr:.4f} ({score.note})", flush=True)
            yield self._row(score, variant=self.called(kind))
        for line in self.log:
            if "valid" in line:
                yield self.row(
                    **{**self.common, "split": "valid", "train_minutes": round(line["elapsed"] / 60, 2),
                       "metric": "bound_nats_per_token", "value": line["valid"], "n": 512,
                        "variant": self.called({"curve": "training"})}
                )  # fmt: skip

    def samples(self, steps: int, temperature: float = 1.0, **how: Any) -> tuple[list[str], dict[str, Any]]:
        began = time.perf_counter()
        samples = self.run.generate(self.n, steps=steps, seed=SEED, temperature=temperature, **how)
        cost = {"seconds": time.perf_counter() - began, "nfe": sum(s.nfe for s in samples) / len(samples), "batch": 64}
        return [s.text for s in samples], cost

    def quality(self, steps: int | None, **how: Any) -> Iterator[Any]:
        from mezzotint.assess import of_texts

        texts, cost = self.samples(steps or 1, **how)
        what = f"{self.system} {self.called(how)}, {steps} steps"
        print(f"{what}, {cost['nfe']:.1f} evaluations, {cost['seconds']:.1f} s:", flush=True)
        for text in texts[:4]:
            print(f"    {text[:200]!r}", flush=True)
        for score in of_texts(texts, self.judge, self.training, False):
            yield self._row(score, steps=steps, variant=self.called(how), **cost)

    def matched(
        self, target: float, steps: int = SWEEP_STEPS, temperatures: Sequence[float] = TEMPERATURES, **how: Any
    ) -> Iterator[Any]:
        from mezzotint.evaluate.fluency import Swept, matched_sweep

        asked, what = None if self.system == "ar" else steps, f"{self.system} {self.called(how)}"
        sweep, nfe = [], []
        for temperature in temperatures:
            texts, cost = self.samples(asked or 1, temperature, **how)
            nfe.append(cost["nfe"])
            sweep.append(Swept.of(temperature, texts, self.judge))
            print(f"{what} at temperature {temperature}: entropy, nll {sweep[-1].point[1:]}", flush=True)
        score = matched_sweep(sweep, target)
        print(f"{what} at the entropy {target:.3f}: {score.value} ± {score.stderr} ({score.note})", flush=True)
        yield self._row(score, steps=asked, variant=self.called(how), nfe=sum(nfe) / len(nfe))


def minutes_asked(training: Mapping[str, Any] | None) -> float | None:
    """What a run was asked for, 15 for 15.0, as the keys of rows have it; None where it was steps, or nothing."""
    if training is None or training["max_steps"]:
        return None
    minutes = float(training["minutes"])
    return int(minutes) if minutes.is_integer() else minutes


def of_data(name: str, texts: Sequence[str], judge: Any, training: Any, benchmark: str = "") -> list[Any]:
    from benchmarks.rows import Row
    from mezzotint.assess import of_texts

    return [
        Row(
            benchmark=benchmark or f"{name}-unconditional", system="data", metric=s.name, value=s.value,
            stderr=s.stderr, n=s.n, split="test", judge=s.judge or None,
        )
        for s in of_texts(texts, judge, training, False)
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=("e2e", "prose"))
    parser.add_argument("--n", type=int)
    parser.add_argument("--systems", nargs="+", default=["mdlm", "ar"])
    given = parser.parse_args()
    keep_memory()
    import mezzotint
    from benchmarks.data import prepared
    from benchmarks.judge import RECIPES
    from benchmarks.rows import record
    from mezzotint.assess import Judge, Texts, training_text

    name = given.name
    n = given.n or {"e2e": 1000, "prose": 256}[name]
    folders = [trained(name, system) for system in given.systems]
    judge = Judge(mezzotint.load(RECIPES[name].kept))
    runs = [mezzotint.load(folder) for folder in folders]
    training = training_text(runs[0])
    held_out = Texts(runs[0], [prepared(name).test])
    data = of_data(name, held_out.like_samples(n), judge, training)
    record(data)
    entropy = next(row.value for row in data if row.metric == "entropy_words")
    for run in runs:
        measured = Measured(name, run, judge, training, n)
        record(measured.bound(Texts(run, [prepared(name).test])))
        for steps in (None,) if run.card.name == "ar" else STEPS:
            record(measured.quality(steps))
        record(measured.matched(entropy))


if __name__ == "__main__":
    main()
