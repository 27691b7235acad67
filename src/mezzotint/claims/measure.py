"""Checks claims: makes each run once, measures the figures, and compares them with the expected ones.

for outcome in reproduce(["mdlm-bound"]): print(outcome.holds)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, singledispatchmethod
from math import isfinite
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from mezzotint.assess.scores import SAMPLES, bound, text_scores
from mezzotint.checks import BISTRO
from mezzotint.claims.naive import naive_ancestral
from mezzotint.claims.table import (
    RUNS,
    Bound,
    Calls,
    Claim,
    Faster,
    Figure,
    OfData,
    Resumed,
    Training,
    Written,
    check_claims,
)
from mezzotint.descendants import distill_run
from mezzotint.held_out import Texts, training_text
from mezzotint.judge import Judge, bundled_judge
from mezzotint.launch import resume, train
from mezzotint.prepare import bistro_texts
from mezzotint.run import Run, load
from mezzotint.training import folder as files
from mezzotint.types import Noised

TIMED_TEXTS = 64
"""Texts that each sampler writes at once when they are timed."""
REPEATS = 3


@dataclass(frozen=True)
class Outcome:
    """The result of checking a claim."""

    claim: Claim
    seen: float
    seconds: float
    """Time taken, the runs that it was the first to need included."""

    @property
    def holds(self) -> bool:
        return self.claim.holds(self.seen)

    def to_json(self) -> dict[str, Any]:
        seen = self.seen if isfinite(self.seen) else None
        return {"claim": self.claim.name, "holds": self.holds, "seen": seen, "seconds": self.seconds} | {
            key: value for key, value in self.claim.to_json().items() if key != "name"
        }


def reproduce(
    names: Sequence[str] = (), *, size: str | None = None, folder: str | Path | None = None, seed: int = 0
) -> Iterator[Outcome]:
    """Check claims, all where none is named, one after the other; `size` keeps those that take no more than it says.

    Runs are made in `folder`, and found there again where they are finished; by default in one that is thrown away.
    UsageError for a name that is unknown, or where nothing is left to be checked.
    """
    return _reproduce(check_claims(names, size), folder, seed)


def _reproduce(claims: Sequence[Claim], folder: str | Path | None, seed: int) -> Iterator[Outcome]:
    with TemporaryDirectory(prefix="mezzotint-") as temporary:
        runner = ClaimRunner(Path(folder or temporary), seed)
        for claim in claims:
            began = time.perf_counter()
            figure = runner.figure(claim.figure)
            yield Outcome(claim, figure, time.perf_counter() - began)


class ClaimRunner:
    """Makes the runs that claims stand on when they are first needed, and measures them."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        self.run = cache(self._run)
        self.texts = cache(self._texts)

    @singledispatchmethod
    def figure(self, kind: Figure) -> float:
        """The figure of a claim, measured."""
        raise AssertionError(f"there is no way to measure {kind}")

    @figure.register
    def _(self, kind: OfData) -> float:
        return self._score(bistro_texts("test"), kind.metric)

    @figure.register
    def _(self, kind: Bound) -> float:
        run = self.run(kind.run)
        return next(score.value for score in bound(run, Texts(run, [BISTRO])))

    @figure.register
    def _(self, kind: Written) -> float:
        return self._score(self.texts(kind.run, kind.steps), kind.metric, kind.run)

    @figure.register
    def _(self, kind: Calls) -> float:
        return float(np.mean([sample.nfe for sample in self.run(kind.run).generate(SAMPLES, steps=kind.steps)]))

    @figure.register
    def _(self, kind: Faster) -> float:
        run, ratios = self.run(kind.run), []
        for _ in range(1 + REPEATS):  # the first is to warm up
            ours = _seconds(lambda: run.generate(TIMED_TEXTS, steps=kind.steps))
            ratios.append(_seconds(lambda: _sample_naively(run, kind.steps)) / ours)
        return median(ratios[1:])

    @figure.register
    def _(self, kind: Resumed) -> float:
        training = RUNS[kind.run]
        with TemporaryDirectory(prefix="mezzotint-") as temporary:
            folders = _, interrupted = Path(temporary) / "whole", Path(temporary) / "cut"
            for out in folders:
                for record in self._train(training, out, save_every=(training.steps or 2) // 2):
                    if out == interrupted and record.saved is not None:
                        break  # as by a power cut: what came after the checkpoint is lost
            list(resume(interrupted))
            weights = [load_file(out / files.MODEL) for out in folders]
        equal = [(weights[0][name] == weights[1][name]).double().flatten() for name in weights[0]]
        return float(torch.cat(equal).mean())

    @cached_property
    def judge(self) -> Judge:
        return Judge(load(bundled_judge()))

    def _score(self, texts: Sequence[str], metric: str, run: str = "") -> float:
        seen = training_text(self.run(run)) if run else None
        return next(score.value for score in text_scores(texts, self.judge, seen, True) if score.name == metric)

    def _texts(self, name: str, steps: int) -> list[str]:
        return [sample.text for sample in self.run(name).generate(SAMPLES, steps=steps, seed=self.seed)]

    def _run(self, name: str) -> Run:
        out, training = self.folder / name, RUNS[name]
        if not (out / files.CONFIG).exists():
            for _ in self._train(training, out):
                pass
        elif not files.is_finished(out):
            for _ in resume(out):
                pass
        return load(out)

    def _train(self, training: Training, out: Path, save_every: int | None = None) -> Iterator[Any]:
        options: dict[str, Any] = {
            "out": out, "max_steps": training.steps, "minutes": training.minutes, "batch_size": training.batch,
            "seed": self.seed, "settings": training.settings, "save_every": save_every,
        }  # fmt: skip
        if training.teacher:
            return distill_run(self.run(training.teacher).folder, system=training.system, **options)
        return train(training.system, [BISTRO], **options)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@torch.no_grad()
def _sample_naively(run: Run, steps: int) -> None:
    """The naive sampler with the same network, as many texts and as long."""
    system: Any = run.system
    canvas = run.task(TIMED_TEXTS).request.canvas
    rows, width = canvas.ids.shape
    naive_ancestral(
        lambda z, t: system.denoise(Noised(z, t), canvas).logits,
        system.process.schedule.alpha, rows, width, run.spec.vocab, steps, torch.Generator().manual_seed(0),
    )  # fmt: skip
