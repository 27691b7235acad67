"""What a comparison found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mezzotint.evaluate.table import Score


@dataclass(frozen=True)
class Point:
    """What a run writes in so many steps."""

    steps: int | None
    """None for a run whose texts do not depend on steps."""
    nfe: float
    """Network evaluations a text."""
    seconds: float
    """For one text, in a batch: the median of the repetitions."""
    spread: tuple[float, float]
    """The fastest and the slowest of them."""
    tokens_per_second: float
    scores: Sequence[Score]
    matched: Score | None = None
    """Judge NLL at the entropy that all are brought to, where that was asked for."""

    def score(self, name: str) -> Score | None:
        return next((score for score in self.scores if score.name == name), None)

    def to_json(self) -> dict[str, Any]:
        scores = [score.to_json() for score in (*self.scores, *([self.matched] if self.matched else []))]
        return {
            "steps": self.steps, "nfe": self.nfe, "seconds": self.seconds, "spread": list(self.spread),
            "tokens_per_second": self.tokens_per_second, "scores": scores,
        }  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One run."""

    name: str
    system: str
    params: int
    """Numbers of its networks, those that it stands on too."""
    disk_mb: float
    """10^6 bytes of the files that others need of it."""
    peak_mb: float | None
    """10^6 bytes that a process which writes with it takes at most; None where that was not measured."""
    scores: Sequence[Score]
    """Those that take no steps: its bound, or what a run that writes from a source is scored by."""
    points: Sequence[Point] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name, "system": self.system, "params": self.params, "disk_mb": self.disk_mb,
            "peak_mb": self.peak_mb, "scores": [score.to_json() for score in self.scores],
            "points": [point.to_json() for point in self.points],
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """All runs, and the held-out texts beside them."""

    runs: Sequence[Compared]
    data: Sequence[Score] = ()
    """The held-out texts' own values."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """The conditions of the measurement."""
    notes: Sequence[str] = ()
    """What is left out, and why."""

    def to_json(self) -> dict[str, Any]:
        return {
            "about": dict(self.about), "notes": list(self.notes), "data": [score.to_json() for score in self.data],
            "runs": [run.to_json() for run in self.runs],
        }  # fmt: skip
