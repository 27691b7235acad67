"""A comparison as two tables, for the terminal and the page alike: what the runs are, and what they write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mezzotint.comparison.record import Comparison, Point
from mezzotint.evaluate.table import Score, figures
from mezzotint.spec.metrics import COMPARED, label


@dataclass(frozen=True)
class Cell:
    """A figure with all that is known of it, or words; `value` None is a place where nothing stands."""

    value: float | str | None
    stderr: float | None = None
    form: str = ""
    """How a figure without an error is written; empty: as precise as usual."""

    @property
    def text(self) -> str:
        """For a terminal."""
        if self.value is None or isinstance(self.value, str):
            return self.value or ""
        if self.form and self.value == self.value:
            return self.form.format(self.value)
        return figures(self.value, self.stderr)


@dataclass(frozen=True)
class Table:
    """A head, and rows as wide as it is."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def tables(comparison: Comparison) -> list[Table]:
    """The tables of a comparison; that of texts is missing where nothing was written freely."""
    has_texts = any(run.points for run in comparison.runs)
    return [_runs_table(comparison), *([_texts_table(comparison)] if has_texts else [])]


def _runs_table(comparison: Comparison) -> Table:
    names = list(dict.fromkeys(score.name for run in comparison.runs for score in run.scores))
    has_memory = any(run.peak_mb is not None for run in comparison.runs)
    head = ["run", "system", "parameters", "MB on disk", *(["MB in memory"] if has_memory else [])]
    rows = []
    for run in comparison.runs:
        scores = {score.name: score for score in run.scores}
        size = [Cell(run.params, form="{:,.0f}"), Cell(run.disk_mb, form="{:.1f}")]
        size += [Cell(run.peak_mb, form="{:,.0f}")] if has_memory else []
        rows.append([Cell(run.name), Cell(run.system), *size, *(_cell(scores.get(name)) for name in names)])
    return Table("The runs", [*head, *map(label, names)], rows)


def _texts_table(comparison: Comparison) -> Table:
    points = [point for run in comparison.runs for point in run.points]
    names = [name for name in COMPARED if any(point.score(name) for point in points)]
    has_matched = any(point.matched for point in points)
    head = ["run", "steps", "evaluations", "ms a text", "tokens a second", *map(label, names)]
    rows = []
    for run in comparison.runs:
        for point in run.points:
            scores = [_cell(point.score(name)) for name in names]
            rows.append([Cell(run.name), *_cost(point), *scores, *([_cell(point.matched)] if has_matched else [])])
    if comparison.data:
        data = {score.name: score for score in comparison.data}
        blank = [Cell(None)] * 4
        beside = [_cell(data.get(name)) for name in names]
        rows.append([Cell("the held-out texts"), *blank, *beside, *([Cell(None)] if has_matched else [])])
    return Table("What they write", [*head, *(["NLL, matched"] if has_matched else [])], rows)


def _cost(point: Point) -> list[Cell]:
    steps = Cell("–") if point.steps is None else Cell(float(point.steps), form="{:.0f}")
    rate = Cell(point.tokens_per_second, form="{:,.0f}")
    return [steps, Cell(point.nfe, form="{:.1f}"), Cell(1000 * point.seconds, form="{:.1f}"), rate]


def _cell(score: Score | None) -> Cell:
    return Cell(None) if score is None else Cell(score.value, score.stderr)
