"""A run under examination: as it is used, in float64, and before the first step of its training."""

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
"""Steps of sampling, where the quality of the texts does not matter, and of training."""
SEED = 0


@dataclass
class CheckedRun:
    """A run, and what its checks need besides."""

    load: Callable[[], Run]
    """Loads the run from its folder, anew at each call."""
    texts: Sequence[str] = ()
    """Texts like those it was trained on; empty where there are none."""
    make_trainer: Callable[[Run], Trainer] | None = None
    """Makes a trainer of the same system on this processor, before its first step; None: by the run's configuration."""

    @cached_property
    def run(self) -> Run:
        """The run as it is used."""
        return self.load()

    @cached_property
    def float64(self) -> Run:
        """The run in float64, in which the order of a sum shows in no token."""
        run = self.load()
        for module in networks(run.system):
            module.double()
        return run

    @property
    def is_translator(self) -> bool:
        return Can.TRANSLATE in self.run.card.can

    # ------------------------------------------------------------ texts as ids

    def rows(self, count: int = ROWS, seed: int = SEED) -> list[NDArray[np.int64]]:
        """Texts of ordinary tokens drawn at random, of different lengths, none of which needs the whole canvas."""
        spec, tokenizer, rng = self.run.spec, self.run.tokenizer, np.random.default_rng(seed)
        ordinary = np.setdiff1d(np.arange(spec.vocab), list(tokenizer.special))
        longest = max(2, room(spec.canvas, spec.ending) // 2)
        lengths = [1 + (longest - 1) * i // max(1, count - 1) for i in range(count)]
        return [rng.choice(ordinary, size=length) for length in lengths]

    def canvas(self, rows: Sequence[NDArray[np.int64]], index: Sequence[int] | None = None) -> Canvas:
        """Whole texts, as in training; each has itself as its source, where the system writes from one."""
        run, index = self.run, range(len(rows)) if index is None else index
        spec, end, pad = run.spec, run.tokenizer.end, run.tokenizer.pad
        canvas = pack(rows, index, spec.ending, spec.canvas, end, pad)
        if self.is_translator:
            fit = [row[: room(run.source_canvas, spec.ending) - 1] for row in rows]
            canvas = replace(canvas, source=pack_sources(fit, index, run.source_canvas, end, pad))
        return canvas

    def request(self, count: int = ROWS, seed: int = SEED, steps: int = STEPS) -> Request:
        """New texts."""
        if not self.is_translator:
            return self.float64.task(count, steps=steps, seed=seed).request
        system = self.float64.system
        assert isinstance(system, Translator), "a system that translates makes sketches"
        source = self.canvas(self.rows(count)).source
        assert source is not None
        sketch = system.sketch(source.to(self.float64.device), 1, 1)
        return Request(sketch.canvas, steps=steps, seed=seed, drafts=False)

    @torch.no_grad()
    def sample(self, request: Request) -> list[list[int]]:
        """The ids of the texts sampled for a request, in float64."""
        *_, frame = self.float64.system.sample(request)
        is_text = (request.canvas.real & frame.known).cpu()
        return [ids[mask].tolist() for ids, mask in zip(frame.ids.cpu(), is_text, strict=True)]

    @torch.no_grad()
    def nats(self, canvas: Canvas) -> list[float]:
        """-log p of each text, or one draw of its bound, in float64."""
        nats = self.float64.system.nll(canvas.to(self.float64.device), Rng(SEED, canvas.index.tolist(), "doctor"))
        return [float(value) for value in nats]

    # ------------------------------------------------------------ a short training

    def trainer(self) -> Trainer:
        """A trainer of a few steps, before the first; Skip where the run was never trained here."""
        if self.make_trainer is not None:
            return self.make_trainer(self.run)
        run = self.run
        if run.config["training"] is None:
            raise Skip("the run was imported or quantised; there is no training of it to go on with")
        card, folder = run.card, run.folder
        has_frozen = bool(card.teachers or card.backbone)
        if has_frozen and not (folder / files.FROZEN).exists():
            raise Skip("the networks that the run started from are not beside it, so that it cannot be trained on")
        spec = files.read_spec(folder, run.config, TrainingSpec, "training")
        short_spec = replace(
            spec, batch=ROWS, accumulate=1, max_steps=STEPS, save_every=STEPS // 2, validations=0, average_best=0,
            compile=False, shard=False,
        )  # fmt: skip
        table = kept_table(folder) if run.config["data"].get("embeddings") else None
        start = Start(table, partial(read_weights, folder / files.FROZEN) if has_frozen else None)
        recipe = Recipe(files.read_spec(folder, run.config, entry(card.name).load(entry(card.name).spec)), short_spec)
        trainer = build_trainer(card.name, recipe, run.lengths, SEED, "cpu", start=start)
        return replace(trainer, autocast=nullcontext)

    def batch(self, step: int, first: int, count: int) -> Canvas:
        """The batch of a step of that training."""
        return self.canvas(self.rows(ROWS, seed=step)[first : first + count], range(first, first + count))
