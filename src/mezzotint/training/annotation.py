"""What classifiers of noisy texts learn from, and how much they tell right.

Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5 and App. D: they see the states that writing goes through, at all
times. A masked run's states are odds of tokens, those that the run itself gives where a token is masked. Where a system
cannot be led through its states, finished texts are read, to choose among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.data.labelled import IGNORED, Labelled
from mezzotint.guidance.constraint import View
from mezzotint.guidance.reading import Reader
from mezzotint.net.annotator import Annotator
from mezzotint.process.gaussian import Gaussian
from mezzotint.rng import Rng
from mezzotint.spec.controller import Labels
from mezzotint.types import Canvas, Loss, Noised, System

CLEAN = 0.1
"""Share of rows that are read without noise."""
BLUR = 0.1
"""How far a state without noise may be from a token's vector and still show that token."""
TIMES = (0.0, 0.25, 0.5)
"""When held-out texts are read, where there is noise."""


class Lesson:
    """What classifiers learn from: labelled texts in the states that a system writes through."""

    def __init__(self, system: System, net: Annotator, led: bool = True) -> None:
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
        """The vectors of tokens; None where odds are read."""
        return None if self.space is None else self.space.clean

    def reader(self, labels: Labels) -> Reader:
        """The classifiers at work."""
        return Reader(self.net, labels, self.clean, self.shown)

    def shown(self, view: View) -> Tensor:
        """(B, L, V): the tokens that a state shows by itself: the odds that it is, or how near each token's vector."""
        if self.space is None:
            return view.odds
        near = self.blurred.evidence(view.noised, self.space.vectors.detach()).softmax(-1)
        certain = F.one_hot(view.canvas.ids, near.shape[-1]).to(near)
        return torch.where(view.canvas.given[..., None], certain, near)

    @torch.no_grad()
    def view(self, canvas: Canvas, t: Tensor, rng: Rng) -> View:
        """What classifiers see at times t (B,)."""
        if self.process is None:
            return View(Noised(canvas.ids, torch.zeros_like(t)), canvas, lambda: self._certain(canvas))
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

    def _certain(self, canvas: Canvas) -> Tensor:
        assert self.net.embed is not None, "odds of tokens are read through a table"
        return F.one_hot(canvas.ids, self.net.embed.num_embeddings).float()

    def losses(self, batch: Canvas, rng: Rng) -> Iterator[Loss]:
        """Cross entropy: of every field, of parts of speech and of phrases, the last two as means over a text."""
        assert isinstance(batch, Labelled)
        rows, device = len(batch.ids), batch.ids.device
        t = rng.at("time").stratified()
        t = torch.where(rng.at("clean").uniform() < CLEAN, 0.0, t).to(device)
        # Some texts have words that are given, as when something is pinned.
        share = (rng.at("share").uniform() - 0.5).clamp(min=0)
        given = (rng.at("given").uniform(batch.ids.shape[1]) < share[:, None]).to(device) & batch.real
        canvas = Canvas(batch.ids, given, batch.real, batch.index)
        said = told(self.reader(Labels({}, (), ())), self.view(canvas, t, rng), len(self.net.sizes))
        parts: dict[str, Tensor] = {}
        for name, log_p in said.items():
            kind, label = name.partition("/")[0], of(batch, name)
            known = (label != IGNORED).view(rows, -1)
            cost = -log_p.gather(-1, label.clamp(min=0)[..., None]).view(rows, -1) * known
            part = (cost.sum(1) / known.sum(1).clamp(min=1)).sum()
            parts[kind] = parts[kind] + part if kind in parts else part
        total = torch.stack(list(parts.values())).sum()
        yield Loss(total, {name: part.detach() for name, part in parts.items()}, float(rows), "control")


def told(reader: Reader, view: View, fields: int) -> dict[str, Tensor]:
    """All log-probabilities of a state, by name: `fields/0`, …, `tags`, `phrases`; those that are learned."""
    net, h = reader.net, reader.hidden(view)
    found = {f"fields/{k}": reader.numbered(view, k) for k in range(fields)}
    if net.tag is not None:
        found["tags"] = net.tags(h)
    if net.phrase is not None:
        found["phrases"] = net.phrases(h)
    return {name: log_p.float() for name, log_p in found.items()}


@torch.no_grad()
def told_right(lesson: Lesson, labels: Labels, batches: Sequence[Labelled], seed: int) -> dict[str, list[float]]:
    """How much is told right at each of the lesson's times: shares of fields and of parts of speech, F1 of phrases."""
    hits: dict[str, list[list[float]]] = {}
    reader = lesson.reader(labels)
    for batch in batches:
        rng = Rng(seed, batch.index.tolist(), "held-out")
        for place, at in enumerate(lesson.times):
            t = torch.full((len(batch.ids),), at, dtype=torch.float64, device=batch.ids.device)
            for name, log_p in told(reader, lesson.view(batch, t, rng), len(labels.fields)).items():
                label, found = of(batch, name), log_p.argmax(-1)
                right, known = (found == label) & (label != IGNORED), label != IGNORED
                counted = (right.sum(), known.sum())
                if name == "phrases":  # F1: twice those right, over those told and those there
                    counted = (2 * (right & (label > 0)).sum(), ((found > 0) & known).sum() + (label > 0).sum())
                sums = hits.setdefault(name.partition("/")[0], [[0.0, 0.0] for _ in lesson.times])[place]
                sums[0], sums[1] = sums[0] + float(counted[0]), sums[1] + float(counted[1])
    return {kind: [right / max(every, 1.0) for right, every in each] for kind, each in hits.items()}


def of(batch: Labelled, name: str) -> Tensor:
    """The labels that log-probabilities of this name are about."""
    kind, _, number = name.partition("/")
    return batch.labels[kind][:, int(number)] if number else batch.labels[kind]
