"""A run under examination: as it is used, in float64, and at the beginning of its training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from mezzotint.data.canvas import pack, pack_sources, room
from mezzotint.doctor.finding import Skip
from mezzotint.rng import Rng
from mezzotint.run import Run
from mezzotint.spec.recipe import Recipe
from mezzotint.spec.training import TrainingSpec
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.training.build import Start, build_trainer
from mezzotint.training.checkpoint import networks, read_weights
from mezzotint.training.loop import Trainer
from mezzotint.types import Can, Canvas, Request, Translator
from mezzotint.vectors import kept_table

ROWS = 6
STEPS = 4
"""Steps in which texts are written where how good they are is not the question, and steps that are trained."""
SEED = 0


@dataclass
class CheckedRun:
    """What the checks are given."""

    load: Callable[[], Run]
    """The run, anew from its folder each time."""
    texts: Sequence[str] = ()
    """Such texts as it was trained on; empty where there are none."""
    begun: Callable[[Run], Trainer] | None = None
    """The beginning of a training of the same system on this processor; None: that of the run's configuration."""

    @cached_property
    def run(self) -> Run:
        """The run as it is used."""
        return self.load()

    @cached_property
    def exact(self) -> Run:
        """The run in float64, in which the order of a sum shows in no token."""
        run = self.load()
        for module in networks(run.system):
            module.double()
        return run

    @property
    def translates(self) -> bool:
        return Can.TRANSLATE in self.run.card.can

    # ------------------------------------------------------------ texts as ids

    def rows(self, count: int = ROWS, seed: int = SEED) -> list[NDArray[np.int64]]:
        """Texts of ordinary tokens drawn at random, of different lengths, none of which needs the whole canvas."""
        spec, tokenizer, rng = self.run.spec, self.run.tokenizer, np.random.default_rng(seed)
        plain = np.setdiff1d(np.arange(spec.vocab), list(tokenizer.special))
        most = max(2, room(spec.canvas, spec.ending) // 2)
        lengths = [1 + (most - 1) * place // max(1, count - 1) for place in range(count)]
        return [rng.choice(plain, size=length) for length in lengths]

    def canvas(self, rows: Sequence[NDArray[np.int64]], index: Sequence[int] | None = None) -> Canvas:
        """Whole texts, as in training; each has itself as its source, where the system writes from one."""
        run, index = self.run, range(len(rows)) if index is None else index
        spec, end, pad = run.spec, run.tokenizer.end, run.tokenizer.pad
        canvas = pack(rows, index, spec.ending, spec.canvas, end, pad)
        if self.translates:
            fit = [row[: room(run.source_canvas, spec.ending) - 1] for row in rows]
            canvas = replace(canvas, source=pack_sources(fit, index, run.source_canvas, end, pad))
        return canvas

    def request(self, count: int = ROWS, seed: int = SEED, steps: int = STEPS) -> Request:
        """New texts."""
        if not self.translates:
            return self.exact.task(count, steps=steps, seed=seed).request
        system = self.exact.system
        assert isinstance(system, Translator), "who writes from a source sketches where"
        source = self.canvas(self.rows(count)).source
        assert source is not None
        sketch = system.sketch(source.to(self.exact.device), 1, 1)
        return Request(sketch.canvas, steps=steps, seed=seed, drafts=False)

    @torch.no_grad()
    def written(self, request: Request) -> list[list[int]]:
        """The ids of the finished texts, in float64."""
        *_, frame = self.exact.system.sample(request)
        shown = (request.canvas.real & frame.known).cpu()
        return [ids[kept].tolist() for ids, kept in zip(frame.ids.cpu(), shown, strict=True)]

    @torch.no_grad()
    def nats(self, canvas: Canvas) -> list[float]:
        """What the run says of texts in float64: one draw of its bound each."""
        drawn = self.exact.system.nll(canvas.to(self.exact.device), Rng(SEED, canvas.index.tolist(), "doctor"))
        return [float(value) for value in drawn]

    # ------------------------------------------------------------ the beginning of a training

    def trainer(self) -> Trainer:
        """A training of a few steps, before the first; Skip where the run was never trained here."""
        if self.begun is not None:
            return self.begun(self.run)
        run = self.run
        if run.config["training"] is None:
            raise Skip("the run was imported or quantised; there is no training of it to go on with")
        card, folder = run.card, run.folder
        founded = bool(card.teachers or card.backbone)
        if founded and not (folder / files.FROZEN).exists():
            raise Skip("the networks that the run started from are not beside it, so that it cannot be trained on")
        spec = files.read_spec(folder, run.config, TrainingSpec, "training")
        short = replace(
            spec, batch=ROWS, accumulate=1, max_steps=STEPS, save_every=STEPS // 2, validations=0, average_best=0,
            compile=False, shard=False,
        )  # fmt: skip
        table = kept_table(folder) if run.config["data"].get("embeddings") else None
        start = Start(table, partial(read_weights, folder / files.FROZEN) if founded else None)
        recipe = Recipe(files.read_spec(folder, run.config, entry(card.name).load(entry(card.name).spec)), short)
        trainer = build_trainer(card.name, recipe, run.lengths, SEED, "cpu", start=start)
        return replace(trainer, autocast=nullcontext)

    def batch(self, step: int, first: int, count: int) -> Canvas:
        """The batch of a step of that training."""
        return self.canvas(self.rows(ROWS, seed=step)[first : first + count], range(first, first + count))
