"""Rows of results as wide tables: a line for a system and how it was asked, a column for a metric.

A benchmark becomes as many tables as it has sets of metrics that no line shares. What all lines of a table have in
common stands once, in its caption; where each line comes from (date, commit, hardware, command, seed, n, judge) stands
under the table, by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10

from benchmarks.rows import Row

LINE_KEYS = ("system", "variant", "size", "train_minutes", "steps", "batch", "seed", "split", "precision", "hardware")
"""What rows of one line share."""

FACTS = {"size": "size", "train_minutes": "minutes", "steps": "steps", "batch": "batch", "seed": "seed",
        "split": "split", "precision": "precision", "processor": "on"}  # fmt: skip
"""What is a column where the lines differ in it, and a word of the caption where they do not, by its heading."""

MAIN = (
    "bound_nats_per_token", "judge_nll", "judge_nll_matched", "mauve[judge]", "entropy_words", "distinct_2",
    "self_bleu", "valid_share", "sacrebleu", "chrf", "accuracy", "success", "exact_match", "length_accuracy",
    "words_mean", "tokens_per_second", "sentences_per_second", "wall_seconds",
)  # fmt: skip
"""Columns of the first table, in this order, where a benchmark has more than `WIDTH` metrics; the others are folded."""

WIDTH = 7


@dataclass(frozen=True)
class Line:
    """All that was measured of one system, asked in one way."""

    rows: tuple[Row, ...]

    def fact(self, name: str) -> object:
        """What all rows of the line share."""
        return getattr(self.rows[0], name)

    def row(self, column: str) -> Row | None:
        """The row of a metric, or None where it was not measured."""
        return next((row for row in self.rows if row.metric == column), None)

    @property
    def nfe(self) -> str:
        """Evaluations a text; of rows that disagree, all."""
        values = sorted({row.nfe for row in self.rows if row.nfe is not None})
        return ", ".join(f"{value:.1f}".removesuffix(".0") for value in values)


def lines(rows: Iterable[Row]) -> list[Line]:
    """Rows gathered into lines, in the order of the file. Two judges of one text are two lines; so are the data's own
    values of two numbers of texts."""
    by_key: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        of_data = row.system == "data"
        facts = (None if of_data and name == "hardware" else getattr(row, name) for name in LINE_KEYS)
        key = (*facts, row.source, row.n if of_data else None)
        copy = 0
        while any(other.metric == row.metric for other in by_key.get((*key, copy), [])):
            copy += 1
        by_key.setdefault((*key, copy), []).append(row)
    return [Line(tuple(rows)) for rows in by_key.values()]


def parts(table: Sequence[Line]) -> list[list[Line]]:
    """Lines that share a metric, directly or through others, together."""
    groups: list[tuple[set[str], list[Line]]] = []
    for line in table:
        metrics = {row.metric for row in line.rows}
        overlapping = [group for group in groups if group[0] & metrics]
        groups = [group for group in groups if not group[0] & metrics]
        groups.append(
            (metrics.union(*(g[0] for g in overlapping)), [*(old for g in overlapping for old in g[1]), line])
        )
    order = {id(line): place for place, line in enumerate(table)}
    ordered = [sorted(group, key=lambda line: order[id(line)]) for _, group in groups]
    return sorted(ordered, key=lambda group: (-len(group[0].rows), order[id(group[0])]))


def section(rows: Iterable[Row], *, marks: str = "") -> str:
    """The tables of some rows, each with its caption and its sources."""
    return "\n".join(_table(group, f"{marks}{place}.") for place, group in enumerate(parts(lines(rows)), 1))


def _table(group: Sequence[Line], mark: str) -> str:
    columns = _ordered({row.metric for line in group for row in line.rows})
    varying = [name for name in FACTS if len(_values(group, name)) > 1]
    sources = Sources(mark)
    marked = {id(line): sources.of(line) for line in group}
    first = columns[:WIDTH] if not set(MAIN) & set(columns) or len(columns) <= WIDTH else columns[: _mains(columns)]
    text = [_caption(group, varying), "", *_grid(group, varying, first, marked)]
    folded = columns[len(first) :]
    if folded:
        text += ["", f'<details markdown="1"><summary>{len(folded)} more columns</summary>', ""]
        text += [*_grid(group, varying, folded, marked), "", "</details>"]
    return "\n".join([*text, "", *sources.notes(), ""])


def _grid(
    group: Sequence[Line], varying: Sequence[str], columns: Sequence[str], source_marks: Mapping[int, str]
) -> list[str]:
    """The lines of one table in Markdown."""
    heads = ["system", *(["variant"] if len(_values(group, "variant")) > 1 else []), *(FACTS[name] for name in varying)]
    nfe = any(line.nfe for line in group)
    heads += [*(["evaluations"] if nfe else []), *(f"`{column}`" for column in columns), "from"]
    out = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for line in group:
        if not any(line.row(column) for column in columns):
            continue
        cells = [f"`{line.fact('system')}`"]
        cells += [variant(line)] if "variant" in heads else []
        cells += [short(line.fact(name)) for name in varying] + ([line.nfe] if nfe else [])
        cells += [cell(line.row(column)) for column in columns] + [source_marks[id(line)]]
        out.append("| " + " | ".join(cells) + " |")
    return out


def variant(line: Line) -> str:
    """The settings of a line, nothing for the recipe's own; pairs part where a line may break."""
    name = str(line.fact("variant"))
    return "" if name == "default" else ", ".join(f"`{pair}`" for pair in name.split(","))


def cell(row: Row | None) -> str:
    """A value with its error, to the second digit of the error."""
    if row is None:
        return ""
    if row.value is None:
        return "not reached"
    if not row.stderr or abs(row.value) < 1e-3:
        return f"{row.value:.4g}" + (f" ± {row.stderr:.2g}" if row.stderr is not None else "")
    digits = min(max(0, 1 - floor(log10(row.stderr))), 4)
    return f"{row.value:.{digits}f} ± {row.stderr:.{digits}f}"


def short(value: object) -> str:
    """A number without a tail of zeros; nothing for None."""
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


class Sources:
    """Where lines come from, numbered."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self._rows: dict[tuple[object, ...], list[Row]] = {}

    def of(self, line: Line) -> str:
        """The numbers of a line's sources."""
        numbers = []
        for row in line.rows:
            key = (row.date, row.commit, row.dirty, row.hardware, row.command, row.seed, row.source)
            self._rows.setdefault(key, []).append(row)
            numbers.append(list(self._rows).index(key) + 1)
        return ", ".join(f"{self.mark}{number}" for number in sorted(set(numbers)))

    def notes(self) -> list[str]:
        """A line for each source."""
        return [f"- {self.mark}{number}: {_source(rows)}" for number, rows in enumerate(self._rows.values(), 1)]


def _source(rows: Sequence[Row]) -> str:
    first = rows[0]
    if first.source is not None:
        return f"not ours, from {first.source}"
    state = " with changes not committed" if first.dirty else ""
    facts = [first.date, f"commit `{first.commit}`{state}" if first.commit else None, first.hardware]
    facts += [f"seed {first.seed}" if first.seed is not None else None, _counts(rows)]
    judges = sorted({row.judge for row in rows if row.judge is not None})
    facts += [f"judge {' and '.join(judges)}" if judges else None, f"`{first.command}`" if first.command else None]
    return "; ".join(fact for fact in facts if fact)


def _counts(rows: Sequence[Row]) -> str | None:
    """How many texts or repetitions; metrics over another number than most are named."""
    metrics_by_n: dict[int, set[str]] = {}
    for row in rows:
        if row.n is not None:
            metrics_by_n.setdefault(row.n, set()).add(row.metric)
    if not metrics_by_n:
        return None
    usual = max(metrics_by_n, key=lambda n: (len(metrics_by_n[n]), n))
    others = [f"{n} for {', '.join(sorted(names))}" for n, names in sorted(metrics_by_n.items()) if n != usual]
    return f"n {usual}" + (f" ({'; '.join(others)})" if others else "")


def _caption(group: Sequence[Line], varying: Sequence[str]) -> str:
    """What all lines share."""
    shared = {name: _values(group, name) for name in FACTS if name not in varying}
    facts = [f"{FACTS[name]} {short(next(iter(values)))}" for name, values in shared.items() if values]
    variants = _values(group, "variant")
    if len(variants) == 1 and variants != {"default"}:
        facts.append(f"variant `{next(iter(variants))}`")
    return f"Where it applies: {', '.join(facts)}." if facts else "One line each."


def _values(group: Sequence[Line], name: str) -> set[object]:
    return {line.fact(name) for line in group if line.fact(name) not in (None, "")}


def _mains(columns: Sequence[str]) -> int:
    """How many of some columns, the main ones first, stand in the first table."""
    return min(WIDTH, len(set(columns) & set(MAIN)))


def _ordered(columns: set[str]) -> list[str]:
    return [*(c for c in MAIN if c in columns), *sorted(columns - set(MAIN))]
