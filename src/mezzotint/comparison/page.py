"""compare.html: some runs as pictures and tables on one page that is complete in itself, and its figures as JSON."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from math import isfinite
from pathlib import Path

from mezzotint.comparison.record import Compared, Comparison, Point
from mezzotint.comparison.request import MARK
from mezzotint.comparison.tables import Cell, Table, tables
from mezzotint.errors import UsageError
from mezzotint.evaluate.table import Score
from mezzotint.spec.metrics import CHARTED, label
from mezzotint.training import folder as files
from mezzotint.training.charts import Chart, Line, svg
from mezzotint.training.sheet import described, document, figure, missing, table

AXES: tuple[tuple[str, str, Callable[[Point], float]], ...] = (
    ("evaluations", "network evaluations a text", lambda point: point.nfe),
    ("seconds", "milliseconds a text", lambda point: 1000 * point.seconds),
)


def write_page(comparison: Comparison, out: Path) -> Path:
    """Write the page, and its figures beside it, each whole or not at all; returns the path of the figures."""
    figures = out.with_suffix(".json")
    try:
        files.put_json(figures, comparison.to_json())
        files.put(out, page(comparison))
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}; choose another --out") from None
    return figures


def page(comparison: Comparison) -> str:
    """The page as HTML."""
    sections = {"What is compared": _about(comparison)}
    if any(run.points for run in comparison.runs):
        sections |= {f"Quality against {word}": _charts(comparison, word, axis, at) for word, axis, at in AXES}
    sections |= {each.title: _table(each) for each in tables(comparison)}
    names = " · ".join(run.name for run in comparison.runs)
    return document(MARK.partition(" · ")[2], names, "", sections)


def charts(comparison: Comparison, word: str, axis: str, at: Callable[[Point], float]) -> list[Chart]:
    """Scores of what the runs write, and NLL at one entropy, against what it costs."""
    data = {score.name: score.value for score in comparison.data}
    drawn = []
    for name in (*CHARTED, "judge_nll_matched"):
        lines = [line for run in comparison.runs if (line := _line(run, name, at)) is not None]
        level = ("the held-out texts", data[name]) if isfinite(data.get(name, float("nan"))) else None
        if lines:
            drawn.append(Chart(f"{label(name)} against {word}", axis, label(name), lines, level, doubling=True))
    return drawn


def _line(run: Compared, name: str, at: Callable[[Point], float]) -> Line | None:
    pairs = [(at(point), score.value) for point in run.points if (score := _score(point, name)) is not None]
    finite = sorted((x, y) for x, y in pairs if isfinite(y) and x > 0)
    return Line(run.name, [x for x, _ in finite], [y for _, y in finite], marks=True) if finite else None


def _score(point: Point, name: str) -> Score | None:
    return point.matched if name == "judge_nll_matched" else point.score(name)


def _charts(comparison: Comparison, word: str, axis: str, at: Callable[[Point], float]) -> str:
    drawn = [
        f"<figure>{svg(chart, f'{word}{i}')}</figure>" for i, chart in enumerate(charts(comparison, word, axis, at))
    ]
    return f'<div class="charts">{"".join(drawn)}</div>'


def _about(comparison: Comparison) -> str:
    facts = {name: ", ".join(value) if isinstance(value, list) else value for name, value in comparison.about.items()}
    rows = [(escape(name), escape("none" if value in (None, "") else str(value))) for name, value in facts.items()]
    return described("facts", rows) + "".join(missing(escape(note)) for note in comparison.notes)


def _table(content: Table) -> str:
    return table([escape(name) for name in content.head], [[_html(cell) for cell in row] for row in content.rows])


def _html(cell: Cell) -> str:
    if cell.value is None or isinstance(cell.value, str):
        return escape(cell.value or "")
    return f'<span title="{cell.value!r}">{cell.text}</span>' if cell.form else figure(cell.value, cell.stderr)
