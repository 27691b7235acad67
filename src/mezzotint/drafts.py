"""From frames of ids to text: drafts while texts are generated, samples once they are finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.tasks import Task
from mezzotint.types import Canvas, Frame


@dataclass(frozen=True)
class Sample:
    """One generated text."""

    text: str
    ids: list[int]
    nfe: int
    """Network evaluations without which it would not be there. Those that chose the lengths of its gaps count in full,
    though other samples of the same call may have shared them. A pass of a critic that guides counts as one."""
    steps: int
    """Grid steps asked for."""
    seed: int
    index: int
    """Its stream of random numbers: the same seed and index give the same text in any batch."""
    gaps: tuple[int, ...] = ()
    """How many tokens each gap of its template was filled with."""
    unmet: tuple[str, ...] = ()
    """What was wanted of it and does not hold."""
    chance: float = 0.0
    """Nats: log p by the run's classifiers that it is as wanted; 0 where they were not asked."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Sample:
        return cls(**{**record, "gaps": tuple(record["gaps"]), "unmet": tuple(record["unmet"])})


@dataclass(frozen=True)
class Piece:
    """One position of a draft."""

    text: str
    """Its surface, the space before it included; empty where it is not known yet."""
    known: bool
    given: bool
    confidence: float
    """The probability with which it was chosen."""


@dataclass(frozen=True)
class Draft:
    """One moment of a generation, in text."""

    step: int
    steps: int
    t: list[float]
    rows: list[list[Piece]]
    nfe: list[int]
    done: bool
    samples: list[Sample]
    """The finished texts, where `done`."""


class Detokenizer:
    """Turns the frames of a task into text; with `pads_inside`, padding between tokens means nothing."""

    def __init__(self, tokenizer: Tokenizer, pads_inside: bool) -> None:
        self.tokenizer = tokenizer
        self.pads_inside = pads_inside

    def draft(self, task: Task, frame: Frame) -> Draft:
        """A frame of a task, in text."""
        samples = self.samples(task, frame) if frame.done else []
        rows = self._pieces(task.canvas, frame)
        nfe = [task.nfe(row) + evaluations for row, evaluations in enumerate(frame.nfe.tolist())]
        return Draft(frame.step, frame.steps, frame.t.tolist(), rows, nfe, frame.done, samples)

    def samples(self, task: Task, frame: Frame) -> list[Sample]:
        """The finished texts of a task's last frame."""
        ids_BL = frame.ids.cpu()
        written_BL = task.canvas.real & frame.known.cpu()
        rows = [self._without_padding(ids[written].tolist()) for ids, written in zip(ids_BL, written_BL, strict=True)]
        texts = [(task.text(self.tokenizer, b, ids), ids[: self._end(ids)]) for b, ids in enumerate(rows)]
        unmet, request = task.unmet(frame.ids, [(text, len(ids)) for text, ids in texts]), task.request
        chances = task.chances(frame.ids, [len(ids) for _, ids in texts])
        assert isinstance(request.seed, int), "a task has a seed of its own"
        samples = []
        for b, (index, (text, ids)) in enumerate(zip(task.canvas.index.tolist(), texts, strict=True)):
            nfe = task.nfe(b) + int(frame.nfe[b])
            gaps = task.gaps(b)
            samples.append(Sample(text, ids, nfe, request.steps, request.seed, index, gaps, unmet[b], chances[b]))
        return samples

    def _pieces(self, canvas: Canvas, frame: Frame) -> list[list[Piece]]:
        rows = []
        pad = self.tokenizer.pad
        for ids, known, given, real, confidence in zip(
            frame.ids.tolist(), frame.known.tolist(), canvas.given.tolist(), canvas.real.tolist(),
            frame.confidence.tolist(), strict=True,
        ):  # fmt: skip
            surfaces = self.tokenizer.surfaces([i if k else pad for i, k in zip(ids, known, strict=True)])
            has_text = [k and not (self.pads_inside and i == pad) for i, k in zip(ids, known, strict=True)]
            columns = zip(surfaces, has_text, known, given, confidence, real, strict=True)
            end = self._end(ids, known)
            rows.append([Piece(text if h else "", k, g, c) for text, h, k, g, c, r in islice(columns, end) if r])
        return rows

    def _without_padding(self, ids: list[int]) -> list[int]:
        """The ids that are not padding, where that can stand anywhere."""
        return [i for i in ids if i != self.tokenizer.pad] if self.pads_inside else ids

    def _end(self, ids: Sequence[int], known: Sequence[bool] | None = None) -> int:
        """Where the text stops: at the first known end token, or padding where that only comes after a text."""
        closing = (self.tokenizer.end,) if self.pads_inside else (self.tokenizer.end, self.tokenizer.pad)
        for place, i in enumerate(ids):
            if i in closing and (known is None or known[place]):
                return place
        return len(ids)
