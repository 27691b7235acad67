"""What classifiers of noisy texts learn from, and how much they tell right.

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

    def __init__(self, system: System, net: ClassifierNet, led: bool = True) -> None:
        """`led`: whether the system writes through states that can be moved."""
        whole: Any = system
        self.process: Any = whole.process if led else None
        self.system, self.net, self.space = system, net, None
        self.players = {"control": net}
        if isinstance(self.process, Gaussian):
            self.space = whole.net.space
            self.blurred = Gaussian(self.process.variance, self.process.factor, BLUR)

    @property
    def times(self) -> tuple[float, ...]:
        """When held-out texts are read."""
        return TIMES if self.process is not None else (0.0,)

    @property
    def clean(self) -> Callable[[Tensor], Tensor] | None:
        """The vectors of tokens, or their ids where prefixes are read; None where odds are."""
        if isinstance(self.process, Truncated):
            return _as_they_are
        return None if self.space is None else self.space.clean

    def reader(self, labels: Labels) -> Classifiers:
        """The classifiers at work."""
        begun = isinstance(self.process, Truncated)
        return Classifiers(self.net, labels, self.clean, self.shown, None if begun else self.begin)

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
            return View(Noised(canvas.ids, torch.zeros_like(t)), canvas, lambda: self._certain(canvas))
        if isinstance(self.process, Truncated):
            return self._begun(canvas, t, rng)
        if self.space is not None:
            state = self.process.corrupt(self.space.clean(canvas.ids), t, canvas.free, rng.at("noise"))
            return View(state, canvas, lambda: torch.empty(0))
        state = self.process.corrupt(canvas.ids, t, canvas.free, rng.at("noise"))
        odds = self._certain(canvas)
        rows, places = (state.z == self.process.mask).nonzero(as_tuple=True)
        if len(rows):
            whole: Any = self.system
            odds[rows, places] = whole.denoise(state, canvas, None, (rows, places)).logits.softmax(-1).to(odds)
        return View(state, canvas, lambda: odds)

    def _begun(self, canvas: Canvas, t: Tensor, rng: Rng) -> View:
        """Texts of which only the beginning is there. Every other has open places behind it, as many as it happens, so
        that they do not tell where it ends; one that has its end has none."""
        state = self.process.corrupt(canvas.ids, t, canvas.real)
        there, whole = ((state.z != UNWRITTEN) & canvas.real).sum(1), canvas.real.sum(1)
        spec: Any = self.system.spec
        most = torch.full_like(whole, canvas.ids.shape[1]) if spec.ending is Ending.SYMBOL else whole
        more = (2 * rng.at("open").uniform() - 1).clamp(min=0).to(t.device) * (most - there + 1)
        width = torch.where(there == whole, whole, (there + more.long()).clamp(max=most)).clamp(min=1)
        real = torch.arange(canvas.ids.shape[1], device=t.device) < width[:, None]
        begun = replace(canvas, real=real, given=real & (state.z != UNWRITTEN))
        size = self.net.embed.num_embeddings if self.net.embed is not None else 1
        return View(Noised(state.z, torch.zeros_like(t)), begun, lambda: one_hot_odds(state.z, size))

    def _certain(self, canvas: Canvas) -> Tensor:
        assert self.net.embed is not None, "odds of tokens are read through a table"
        return F.one_hot(canvas.ids, self.net.embed.num_embeddings).float()

    def losses(self, batch: Canvas, rng: Rng) -> Iterator[Loss]:
        """Cross entropy of every field, and as means over a text of parts of speech, of phrases and of ends."""
        assert isinstance(batch, Labelled)
        rows, device = len(batch.ids), batch.ids.device
        t = rng.at("time").stratified()
        t = torch.where(rng.at("clean").uniform() < CLEAN, 0.0, t).to(device)
        # Some texts have words that are given, as when something is pinned.
        share = (rng.at("share").uniform() - 0.5).clamp(min=0)
        given = (rng.at("given").uniform(batch.ids.shape[1]) < share[:, None]).to(device) & batch.real
        canvas = Canvas(batch.ids, given, batch.real, batch.index)
        view = self.view(canvas, t, rng)
        said = told(self.reader(Labels({}, (), ())), view, len(self.net.sizes))
        parts: dict[str, Tensor] = {}
        for name, log_p in said.items():
            kind, label = name.partition("/")[0], of(batch, name)
            known = asked(view, name, label).view(rows, -1)
            cost = -log_p.gather(-1, label.clamp(min=0)[..., None]).view(rows, -1) * known
            part = (cost.sum(1) / known.sum(1).clamp(min=1)).sum()
            parts[kind] = parts[kind] + part if kind in parts else part
        total = torch.stack(list(parts.values())).sum()
        yield Loss(total, {name: part.detach() for name, part in parts.items()}, float(rows), "control")


def told(reader: Classifiers, view: View, fields: int) -> dict[str, Tensor]:
    """All log-probabilities of a state, by name: `fields/0`, …, `tags`, `phrases`, `ends`; those that are learned."""
    net, h = reader.net, reader.hidden(view)
    found = {f"fields/{k}": reader.numbered_field(view, k) for k in range(fields)}
    if net.tag is not None:
        found["tags"] = net.tags(h)
    if net.phrase is not None:
        found["phrases"] = net.phrases(h)
    if net.end is not None:
        found["ends"] = net.ends(h)
    return {name: log_p.float() for name, log_p in found.items()}


def asked(view: View, name: str, label: Tensor) -> Tensor:
    """Of which labels, as `told` names them, a state has to tell: those of its places, and ends of what is open."""
    known, real = label != IGNORED, view.canvas.real
    if name == "phrases":
        return known & real[:, :, None] & real[:, None]
    if name == "ends":
        return known & real & (view.noised.z == UNWRITTEN)
    return known & real if name == "tags" else known


@torch.no_grad()
def told_right(
    lesson: ClassifierTask, labels: Labels, batches: Sequence[Labelled], seed: int
) -> dict[str, list[float]]:
    """How much is told right at each of the lesson's times: shares of fields and of parts of speech, F1 of phrases."""
    hits: dict[str, list[list[float]]] = {}
    reader = lesson.reader(labels)
    for batch in batches:
        rng = Rng(seed, batch.index.tolist(), "held-out")
        for place, at in enumerate(lesson.times):
            t = torch.full((len(batch.ids),), at, dtype=torch.float64, device=batch.ids.device)
            view = lesson.view(batch, t, rng)
            for name, log_p in told(reader, view, len(labels.fields)).items():
                if name == "ends":  # nearly every place has none
                    continue
                label, found = of(batch, name), log_p.argmax(-1)
                known = asked(view, name, label)
                right = (found == label) & known
                counted = (right.sum(), known.sum())
                if name == "phrases":  # F1: twice those right, over those told and those there
                    there = known & (label > 0)
                    counted = (2 * (right & there).sum(), ((found > 0) & known).sum() + there.sum())
                sums = hits.setdefault(name.partition("/")[0], [[0.0, 0.0] for _ in lesson.times])[place]
                sums[0], sums[1] = sums[0] + float(counted[0]), sums[1] + float(counted[1])
    return {kind: [right / max(every, 1.0) for right, every in each] for kind, each in hits.items()}


def of(batch: Labelled, name: str) -> Tensor:
    """The labels that log-probabilities of this name are about."""
    kind, _, number = name.partition("/")
    return batch.labels[kind][:, int(number)] if number else batch.labels[kind]


def _as_they_are(ids: Tensor) -> Tensor:
    return ids
