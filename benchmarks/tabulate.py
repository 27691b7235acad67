"""Writes docs/results.md from the rows in benchmarks/results.

python -m benchmarks.tabulate
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.rows import RESULTS, ROOT, Row, read
from benchmarks.wide import Line, Sources, cell, lines, section, short, variant

PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results

Written by `python -m benchmarks.tabulate` from `benchmarks/results/*.json`; nothing here is edited by hand. What the
names mean stands in [METRICS.md](metrics.md); how they were measured in the scripts of `benchmarks/`, and what went on
around them in [the log](log.md). `±` is a standard error over texts; for speeds, half the spread of the repetitions.
Under each table stands where every line comes from: date, commit, hardware, seed, how many texts (n), judge, command.
One seed each, unless a table says otherwise: what two trainings differ by is in no `±`.
"""
ACROSS = {
    "e2e-unconditional": "Restaurant texts written by people (E2E), 22 words",
    "bistro-unconditional": "The bundled corpus, 14 words, whose grammar tells right from wrong",
}
"""The benchmarks of the table across systems, and what they are of."""
COLUMNS = ("bound_nats_per_token", "judge_nll", "entropy_words", "distinct_2", "self_bleu", "valid_share")
STEPS = 64
"""Where a system was asked to write in several numbers of steps, the nearest to this is shown across systems."""
SIZE_DEPENDENT = frozenset({"distinct_2", "self_bleu"})
"""What is another thing of more texts: it can be compared between samples of one size only."""
SAMPLING_SETTINGS = frozenset({"temperature", "top_p", "decoder", "threshold", "strength", "guidance", "guide"})
"""Settings that a run is asked with, not trained with."""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def page(results: Path = RESULTS) -> str:
    """The whole of docs/results.md."""
    by_benchmark = {path.stem: read(path) for path in sorted(results.glob("*.json"))}
    parts = [HEAD, "## Across systems\n"]
    parts += [across(title, by_benchmark[name], name) for name, title in ACROSS.items() if name in by_benchmark]
    return "\n".join([*parts, *(_benchmark(name, rows) for name, rows in by_benchmark.items())])


def _benchmark(name: str, rows: Sequence[Row]) -> str:
    """One benchmark: its tables, the curves of training left to the file."""
    shown = [row for row in rows if "curve=" not in row.variant]
    curves = len(rows) - len(shown)
    left = f"\n{curves} points of curves are in `benchmarks/results/{name}.json`.\n" if curves else ""
    return f"## {name}\n\n{section(shown)}{left}"


# ---- across systems --------------------------------------------------------------------------------------------------


def across(title: str, rows: Sequence[Row], name: str) -> str:
    """The systems of one benchmark side by side."""
    systems = select_lines(rows)
    columns = [column for column in COLUMNS if any(line.row(column) for line in systems)]
    sources = Sources("a")
    heads = ["system", "variant", "minutes", "of", "seed", "steps", "evaluations", *(f"`{c}`" for c in columns), "from"]
    out = [f"{title}: [{name}](#{name}).", "", "| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for line in systems:
        facts = [f"`{line.fact('system')}`", variant(line), short(minutes(line))]
        facts += [short(line.fact(name)) for name in ("processor", "seed", "steps")]
        values = [cell(line.row(column)) for column in columns]
        out.append("| " + " | ".join([*facts, line.nfe, *values, sources.of(line)]) + " |")
    return "\n".join([*out, "", *sources.notes(), ""])


def select_lines(rows: Sequence[Row]) -> list[Line]:
    """A line for each run, as it was asked, its bound beside what was scored of its texts: the data first, then `ar`.

    Of several numbers of steps the nearest to `STEPS`, of the data the most texts; a run's bound stands with what it
    wrote as it was trained. What falls with the number of texts is left out where the data's is of another number.
    """
    shown = [row for row in rows if "curve=" not in row.variant]
    bounds = {_run_key(row): row for row in shown if row.metric == "bound_nats_per_token"}
    written = [line for line in lines(row for row in shown if row.metric in COLUMNS) if line.row("judge_nll")]
    best: dict[tuple[object, ...], Line] = {}
    for line in written:
        key = tuple(line.fact(name) for name in ("system", "variant", "train_minutes", "size", "seed", "processor"))
        if key not in best or _distance(line) < _distance(best[key]):
            best[key] = line
    of_data = {row.metric: row.n for line in best.values() for row in line.rows if row.system == "data"}
    full = []
    for line in best.values():
        line = Line(
            tuple(row for row in line.rows if row.metric not in SIZE_DEPENDENT or row.n == of_data.get(row.metric))
        )
        bound = bounds.get(_run_key(line.rows[0])) if is_plain(line) else None
        full.append(line if bound is None else Line((*line.rows, replace(bound, nfe=None))))
    ranks = {"data": 0, "ar": 1}
    return sorted(full, key=lambda line: (ranks.get(str(line.fact("system")), 2), str(line.fact("system"))))


def is_plain(line: Line) -> bool:
    """Whether a line was written as the run was trained: at temperature 1, by the exact decoder."""
    return not SAMPLING_SETTINGS & _settings(line.rows[0]).keys()


def _distance(line: Line) -> tuple[int, int]:
    steps = line.fact("steps")
    return abs(steps - STEPS) if isinstance(steps, int) else 0, -_texts(line)


def _texts(line: Line) -> int:
    """Of how many texts the judge's figure is."""
    row = line.row("judge_nll")
    return 0 if row is None or row.n is None else row.n


def _run_key(row: Row) -> tuple[object, ...]:
    """Equal for rows of one run."""
    settings = {
        name: value for name, value in _settings(row).items() if name != "bound" and name not in SAMPLING_SETTINGS
    }
    return row.system, tuple(sorted(settings.items())), row.size, row.train_minutes, row.seed, row.processor


def minutes(line: Line) -> float | None:
    """How long a run was trained, its vectors of tokens included; None where that was not asked in minutes."""
    trained = line.fact("train_minutes")
    return (
        float(trained) + float(_settings(line.rows[0]).get("vector_minutes", 0))
        if isinstance(trained, int | float)
        else None
    )


def _settings(row: Row) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in row.variant.split(",")) if row.variant != "default" else {}


if __name__ == "__main__":
    main()
