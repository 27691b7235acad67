"""Scores with their standard errors, and the table that sets them beside the data's own values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import floor, isfinite, log10, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mezzotint.errors import UsageError

Numbers: TypeAlias = NDArray[np.float64]
Columns: TypeAlias = "Mapping[str, Sequence[Score]]"

DRAWS = 1000
"""Resamples of a bootstrap: the standard error itself is then known to about 2 %."""


@dataclass(frozen=True)
class Score:
    """One measured number."""

    name: str
    value: float
    """NaN where the score is not defined or was not reached; the note then says why."""
    stderr: float | None
    """Standard error over texts; None where fewer than two texts bear on the value."""
    n: int
    """How many texts (or points of a sweep) the value is over."""
    note: str = ""
    judge: str = ""
    """Name and first 8 digits of the weights' sha256 of the judge that gave the value; empty if none did."""

    @classmethod
    def mean(cls, name: str, values: ArrayLike, note: str = "") -> Score:
        """The mean of one value a text, with its standard error sd / sqrt(n)."""
        array = np.asarray(values, dtype=np.float64)
        n = array.size
        stderr = float(array.std(ddof=1)) / sqrt(n) if n > 1 else None
        return cls(name, float(array.mean()) if n else float("nan"), stderr, n, note)

    @classmethod
    def ratio(cls, name: str, parts: ArrayLike, wholes: ArrayLike, note: str = "", *, seed: int = 0) -> Score:
        """Sum of `parts` over sum of `wholes` (one of each a text), with its bootstrap standard error over texts."""
        pairs = np.stack([np.asarray(parts, dtype=np.float64), np.asarray(wholes, dtype=np.float64)], axis=-1)
        return cls(name, ratio(pairs), bootstrap_stderr(pairs, ratio, seed=seed), len(pairs), note)

    def to_json(self) -> dict[str, object]:
        """Plain values; a value or error that is not finite becomes None, which JSON can hold."""
        return {k: _plain(v) for k, v in asdict(self).items()}


def ratio(pairs: Numbers) -> float:
    """Sum of the first column of (n, 2) over the sum of the second; NaN where that is zero."""
    part, whole = pairs.sum(axis=0)
    return float(part / whole) if whole else float("nan")


def resampled(rows: Numbers, statistic: Callable[[Numbers], ArrayLike], *, seed: int, draws: int = DRAWS) -> Numbers:
    """(draws, ...): the statistic of `draws` samples of n of the n rows, with replacement (Efron 1979)."""
    rng = np.random.default_rng(seed)
    return np.array([statistic(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(draws)])


def bootstrap_stderr(
    values: ArrayLike, statistic: Callable[[Numbers], ArrayLike] = np.mean, *, seed: int = 0
) -> float | None:
    """Standard error of a statistic of n independent rows; None for fewer than two rows or where it is undefined."""
    rows = np.asarray(values, dtype=np.float64)
    if len(rows) < 2:
        return None
    estimates = resampled(rows, statistic, seed=seed)
    finite = estimates[np.isfinite(estimates)]
    return float(finite.std(ddof=1)) if finite.size > 1 else None


def jackknife_stderr(without_one: ArrayLike) -> float | None:
    """Standard error from the n values that a statistic takes when each text in turn is left out (Tukey 1958).

    For counts of *distinct* things, where a bootstrap sample, full of repeats, would mislead.
    """
    values = np.asarray(without_one, dtype=np.float64)
    n = values.size
    if n < 2 or not np.isfinite(values).all():
        return None
    return float(sqrt((n - 1) / n * ((values - values.mean()) ** 2).sum()))


def records(columns: Columns) -> list[dict[str, object]]:
    """One flat record a score, for `--json` and `results.json`: the score's fields and `column`, whose it is."""
    return [{"column": column} | score.to_json() for column, scores in columns.items() for score in scores]


def render(columns: Columns) -> str:
    """The scores as aligned plain text: a row a metric, a column a system (or the data), notes below.

    Numbers of texts stand in the head; a score over another number says so. Raises UsageError where two judges meet.
    """
    _one_judge(columns)
    usual = {column: _usual_n(scores) for column, scores in columns.items()}
    head = ["", *(f"{column} (n {usual[column]:,})" for column in columns)]
    body = [[name, *_cells(name, columns, usual)] for name in _names(columns)]
    return "\n".join([*_aligned([head, *body]), *_notes(columns)]) + "\n"


def figures(value: float, stderr: float | None) -> str:
    """A number as precise as it is known: the standard error to two digits, or four digits where there is none."""
    if not isfinite(value):
        return "–"
    if stderr is None or not isfinite(stderr) or stderr <= 0:
        return f"{value:.{_decimals(value, 4)}f}"
    places = _decimals(stderr, 2)
    return f"{value:.{places}f} ± {stderr:.{places}f}"


def _decimals(value: float, digits: int) -> int:
    return min(6, max(0, digits - 1 - floor(log10(abs(value))))) if value else 0


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not isfinite(value) else value


def _one_judge(columns: Columns) -> None:
    judges = sorted({score.judge for scores in columns.values() for score in scores if score.judge})
    if len(judges) > 1:
        raise UsageError(f"scores of different judges cannot stand in one table: {', '.join(judges)}")


def _usual_n(scores: Sequence[Score]) -> int:
    return Counter(score.n for score in scores).most_common(1)[0][0] if scores else 0


def _names(columns: Columns) -> list[str]:
    return list(dict.fromkeys(score.name for scores in columns.values() for score in scores))


def _cells(name: str, columns: Columns, usual: Mapping[str, int]) -> list[str]:
    return [_cell(next((s for s in scores if s.name == name), None), usual[c]) for c, scores in columns.items()]


def _cell(score: Score | None, usual: int) -> str:
    if score is None:
        return ""
    return figures(score.value, score.stderr) + ("" if score.n == usual else f" (n {score.n:,})")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _notes(columns: Columns) -> list[str]:
    columns_by_note: dict[tuple[str, str], list[str]] = {}
    for column, scores in columns.items():
        for score in scores:
            if score.note:
                columns_by_note.setdefault((score.name, score.note), []).append(column)
    return [f"  {name}{_whose(owners, columns)}: {note}" for (name, note), owners in columns_by_note.items()]


def _whose(owners: Sequence[str], columns: Columns) -> str:
    return "" if len(owners) == len(columns) else f" ({', '.join(owners)})"
