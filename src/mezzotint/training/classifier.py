"""What classifiers of noisy texts learn from, and how accurate they are.

Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5 and App. D: they see the states that writing goes through, at all
times. A masked run's states are odds of tokens, those that the run itself gives where a token is masked. Those of a run
that writes from left to right are prefixes (Yang and Klein 2021, FUDGE, arXiv:2104.05218, §3). Where a system cannot be
led through its states, finished texts are read, to choose among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.data.labelled import IGNORED, Labelled
from mezzotint.guidance.classifier import Classifiers
from mezzotint.guidance.constraint import View
from mezzotint.guidance.fudge import one_hot_odds
from mezzotint.net.classifier import ClassifierNet, rows_of
from mezzotint.process.gaussian import Gaussian
from mezzotint.process.truncated import UNWRITTEN, Truncated
from mezzotint.rng import Rng
from mezzotint.spec.classifier import Labels
from mezzotint.types import Canvas, Ending, Loss, Noised, System

CLEAN = 0.1
"""Share of rows that are read without noise."""
BLUR = 0.1
"""How far a state without noise may be from a token's vector and still show that token."""
TIMES = (0.0, 0.25, 0.5)
"""When held-out texts are read, where there is noise."""


class ClassifierTask:
    """What classifiers learn from: labelled texts in the states that a system writes through."""

    def __init__(self, system: System, net: ClassifierNet, is_steerable: bool = True) -> None:
        """`is_steerable`: whether classifiers steer the states that the system writes through."""
        internals: Any = system
        self.process: Any = internals.process if is_steerable else None
        self.system, self.net, self.space = system, net, None
        self.players = {"control": net}
        if isinstance(self.process, Gaussian):
            self.space = internals.net.space
            self.blurred = Gaussian(self.process.variance, self.process.factor, BLUR)

    @property
    def times(self) -> tuple[float, ...]:
        """When held-out texts are read."""
        return TIMES if self.process is not None else (0.0,)

    @property
    def clean(self) -> Callable[[Tensor], Tensor] | None:
        """The vectors of tokens, or their ids where prefixes are read; None where odds are."""
        if isinstance(self.process, Truncated):
            return lambda ids: ids
        return None if self.space is None else self.space.clean

    def reader(self, labels: Labels) -> Classifiers:
        """The classifiers as constraints read them."""
        reads_prefixes = isinstance(self.process, Truncated)
        return Classifiers(self.net, labels, self.clean, self.shown, None if reads_prefixes else self.begin)

    def begin(self, canvas: Canvas) -> View:
        """Texts of which nothing is written yet, at t = 1. Where there is noise, it is the same at the same place of
        all: rows are told apart by their lengths alone."""
        return self.view(canvas, torch.ones(len(canvas.ids), dtype=torch.float64), Rng(0, [0] * len(canvas.ids)))

    def shown(self, view: View, table: Tensor) -> Tensor:
        """(B, L, S): the rows of a table (V, S) that a state shows by itself: by the odds that it is, by its ids, or by
        how near each token's vector it is."""
        if isinstance(self.process, Truncated):
            return rows_of(table, view.noised.z)
        if self.space is None:
            return view.weighted(table)
        near = self.blurred.evidence(view.noised, self.space.vectors.detach()).softmax(-1)
        given = F.embedding(view.canvas.ids, table)
        return torch.where(view.canvas.given[..., None], given, near.to(table.dtype) @ table)

    @torch.no_grad()
    def view(self, canvas: Canvas, t: Tensor, rng: Rng) -> View:
        """What classifiers see at times t (B,)."""
        if self.process is None:
            return View(Noised(canvas.ids, torch.zeros_like(t)), canvas, lambda: self._one_hot(canvas))
        if isinstance(self.process, Truncated):
            return self._prefixes(canvas, t, rng)
        if self.space is not None:
            state = self.process.corrupt(self.space.clean(canvas.ids), t, canvas.free, rng.at("noise"))
            return View(state, canvas, lambda: torch.empty(0))
        state = self.process.corrupt(canvas.ids, t, canvas.free, rng.at("noise"))
        odds = self._one_hot(canvas)
        rows, places = (state.z == self.process.mask).nonzero(as_tuple=True)
        if len(rows):
            internals: Any = self.system
            odds[rows, places] = internals.denoise(state, canvas, None, (rows, places)).logits.softmax(-1).to(odds)
        return View(state, canvas, lambda: odds)

    def _prefixes(self, canvas: Canvas, t: Tensor, rng: Rng) -> View:
        """Prefixes of texts. Every other has a random number of open places behind it, so that they do not tell where
        the text ends; one that has its end has none."""
        state = self.process.corrupt(canvas.ids, t, canvas.real)
        written, length = ((state.z != UNWRITTEN) & canvas.real).sum(1), canvas.real.sum(1)
        ends_by_symbol = self.system.spec.ending is Ending.SYMBOL
        longest = torch.full_like(length, canvas.ids.shape[1]) if ends_by_symbol else length
        open_places = (2 * rng.at("open").uniform() - 1).clamp(min=0).to(t.device) * (longest - written + 1)
        width = torch.where(written == length, length, (written + open_places.long()).clamp(max=longest)).clamp(min=1)
        real = torch.arange(canvas.ids.shape[1], device=t.device) < width[:, None]
        prefix = replace(canvas, real=real, given=real & (state.z != UNWRITTEN))
        vocab = self.net.embed.num_embeddings if self.net.embed is not None else 1
        return View(Noised(state.z, torch.zeros_like(t)), prefix, lambda: one_hot_odds(state.z, vocab))

    def _one_hot(self, canvas: Canvas) -> Tensor:
        assert self.net.embed is not None, "odds of tokens are read through a table"
        return F.one_hot(canvas.ids, self.net.embed.num_embeddings).float()

    def losses(self, batch: Canvas, rng: Rng) -> Iterator[Loss]:
        """Cross entropy: of every field, and means over a text of those of parts of speech, phrases and ends."""
        assert isinstance(batch, Labelled)
        rows, device = len(batch.ids), batch.ids.device
        t = rng.at("time").stratified()
        t = torch.where(rng.at("clean").uniform() < CLEAN, 0.0, t).to(device)
        # Some texts have words that are given, as when something is pinned.
        share = (rng.at("share").uniform() - 0.5).clamp(min=0)
        given = (rng.at("given").uniform(batch.ids.shape[1]) < share[:, None]).to(device) & batch.real
        canvas = Canvas(batch.ids, given, batch.real, batch.index)
        view = self.view(canvas, t, rng)
        outputs = log_probabilities(self.reader(Labels({}, (), ())), view, len(self.net.sizes))
        parts: dict[str, Tensor] = {}
        for name, log_p in outputs.items():
            kind, label = name.partition("/")[0], labels_for(batch, name)
            scored = is_scored(view, name, label).view(rows, -1)
            nats = -log_p.gather(-1, label.clamp(min=0)[..., None]).view(rows, -1) * scored
            part = (nats.sum(1) / scored.sum(1).clamp(min=1)).sum()
            parts[kind] = parts[kind] + part if kind in parts else part
        total = torch.stack(list(parts.values())).sum()
        yield Loss(total, {name: part.detach() for name, part in parts.items()}, float(rows), "control")


def log_probabilities(reader: Classifiers, view: View, fields: int) -> dict[str, Tensor]:
    """Those of all labels that are learned, by name: `fields/0`, …, `tags`, `phrases`, `ends`."""
    net, h = reader.net, reader.hidden(view)
    outputs = {f"fields/{k}": reader.numbered_field(view, k) for k in range(fields)}
    if net.tag is not None:
        outputs["tags"] = net.tags(h)
    if net.phrase is not None:
        outputs["phrases"] = net.phrases(h)
    if net.end is not None:
        outputs["ends"] = net.ends(h)
    return {name: log_p.float() for name, log_p in outputs.items()}


def is_scored(view: View, name: str, label: Tensor) -> Tensor:
    """Which labels, named as in `log_probabilities`, count: those of real places, and ends where nothing is written."""
    known, real = label != IGNORED, view.canvas.real
    if name == "phrases":
        return known & real[:, :, None] & real[:, None]
    if name == "ends":
        return known & real & (view.noised.z == UNWRITTEN)
    return known & real if name == "tags" else known


@torch.no_grad()
def held_out_accuracy(
    task: ClassifierTask, labels: Labels, batches: Sequence[Labelled], seed: int
) -> dict[str, list[float]]:
    """At each of the task's times, the accuracy of fields and of parts of speech, and the F1 of phrases."""
    counts: dict[str, list[list[float]]] = {}
    reader = task.reader(labels)
    for batch in batches:
        rng = Rng(seed, batch.index.tolist(), "held-out")
        for place, time in enumerate(task.times):
            t = torch.full((len(batch.ids),), time, dtype=torch.float64, device=batch.ids.device)
            view = task.view(batch, t, rng)
            for name, log_p in log_probabilities(reader, view, len(labels.fields)).items():
                if name == "ends":  # nearly every place has none
                    continue
                label, guess = labels_for(batch, name), log_p.argmax(-1)
                scored = is_scored(view, name, label)
                right = (guess == label) & scored
                hits, total = right.sum(), scored.sum()
                if name == "phrases":  # F1: twice those right, over those predicted and those there
                    there = scored & (label > 0)
                    hits, total = 2 * (right & there).sum(), ((guess > 0) & scored).sum() + there.sum()
                sums = counts.setdefault(name.partition("/")[0], [[0.0, 0.0] for _ in task.times])[place]
                sums[0], sums[1] = sums[0] + float(hits), sums[1] + float(total)
    return {kind: [hits / max(total, 1.0) for hits, total in by_time] for kind, by_time in counts.items()}


def labels_for(batch: Labelled, name: str) -> Tensor:
    """The labels that the log-probabilities of this name are of."""
    kind, _, number = name.partition("/")
    return batch.labels[kind][:, int(number)] if number else batch.labels[kind]
