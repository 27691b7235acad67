"""What the benchmarks of systems with a source are made of: tasks, arms, the ways in which they write, a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """A set of pairs: its files by split, and the fields of both sides."""

    name: str
    files: Mapping[str, Path]
    source: str | None
    target: str | None
    private: bool = False
    """Nothing that is written from it stays on the disk."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of every system."""
    several: bool = False
    """A source has several texts, and what is written from it may follow any of them."""
    words: Mapping[str, int] = field(default_factory=dict)
    """The most words that a source of a split may have, where its lines are longer than what is learned from."""

    @property
    def is_bistro(self) -> bool:
        return str(self.files["train"]) == "bistro"

    def pairs(self, split: str, limit: int | None = None) -> tuple[list[str], list[list[str]]]:
        """Sources of a split, or its first ones, with the texts of each: where there are `several` of a source, in
        whichever lines, they are together. SystemExit with a sentence where the split is not at hand."""
        from mezzotint.data.pairs import Columns, read_pairs
        from mezzotint.prepare import bistro_pairs

        if self.is_bistro:
            sources, texts = bistro_pairs(split)
        else:
            (sources, texts), _, _ = read_pairs([self.file(split)], Columns(self.source, self.target))
        if split in self.words:
            kept = [i for i, source in enumerate(sources) if len(source.split()) <= self.words[split]]
            sources, texts = [sources[i] for i in kept], [texts[i] for i in kept]
        if not self.several:
            return sources[:limit], [[text] for text in texts[:limit]]
        by_source: dict[str, list[str]] = {}
        for source, text in zip(sources, texts, strict=True):
            by_source.setdefault(source, []).append(text)
        return list(by_source)[:limit], list(by_source.values())[:limit]

    def file(self, split: str) -> Path:
        path = self.files[split]
        if not self.is_bistro and not path.exists():
            raise SystemExit(
                f"the benchmark data is not beside the repository ({path.parent.name}/{path.name}); see docs/log.md"
            )
        return path


@dataclass(frozen=True)
class Strategy:
    """How candidates are written, and by what one of them is chosen, in turn."""

    candidates: tuple[int, int]
    choosers: tuple[str, ...]
    steps: int | None = 20
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def translate_options(self) -> dict[str, Any]:
        """What `translate` is asked for, but for the choice."""
        steps = {} if self.steps is None else {"steps": self.steps}
        return {"candidates": self.candidates, **steps, **self.options}

    def variant(self, chooser: str | None, settings: Mapping[str, object]) -> str:
        """The variant of its rows, for an arm of these settings."""
        from benchmarks.rows import variant

        chosen = {} if chooser is None else {"choose": chooser}
        return variant({"candidates": "x".join(map(str, self.candidates)), **chosen, **self.options, **settings})


@dataclass(frozen=True)
class Arm:
    """A system, what is set beside its recipe, what of that names it in rows, and how it writes."""

    system: str
    strategies: tuple[Strategy, ...]
    settings: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    data: str = ""
    """What it learns from, where that is not the pairs of the task."""

    def name(self, more: Mapping[str, str]) -> dict[str, str]:
        """What names it in rows, with `more` that is set for all arms."""
        data = {"data": self.data} if self.data else {}
        return {name: self.settings[name] for name in self.named} | data | dict(more)


@dataclass(frozen=True)
class RunRequest:
    """What a call is asked for."""

    size: str
    minutes: float
    """Of each training."""
    steps: int | None
    settings: Mapping[str, str]
    lines: int | None
    """Only so many of a split."""
    runs: Path
    results: Path
    device: str
    until: float
    """The moment of time.monotonic() at which the call is to end."""

    def folder(self, task: Task, name: str) -> Path:
        more = "".join(f",{k}={v}" for k, v in sorted(self.settings.items()))
        return self.runs / f"{task.name}-{name}-{self.size}{more}"
