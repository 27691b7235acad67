"""Writes docs/results.md from the rows in benchmarks/results.

python -m benchmarks.tabulate
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.rows import RESULTS, Row, read

PAGE = Path("docs/results.md")
HEAD = """# Results

Written by `python -m benchmarks.tabulate` from `benchmarks/results/*.json`; nothing here is edited by hand. What the
names mean stands in `benchmarks/METRICS.md`; how they were measured in the scripts of `benchmarks/`, and what went on
around them in `docs/log.md`. `±` is a standard error over texts; for speeds, half the spread of the repetitions.
"""


def main() -> None:
    parts = [HEAD, *(section(path.stem, read(path)) for path in sorted(RESULTS.glob("*.json")))]
    PAGE.write_text("\n".join(parts), encoding="utf-8")
    print(f"wrote {PAGE}")


def section(name: str, rows: list[Row]) -> str:
    """One benchmark: a table with a line a measurement, the curve of training left to the file."""
    shown = [row for row in rows if "curve=training" not in row.variant]
    columns = ("system", "variant", "size", "steps", "nfe", "batch", "metric", "value", "n")
    used = [c for c in columns if any(getattr(row, c) is not None for row in shown)]
    lines = ["| " + " | ".join(used) + " |", "|" + " --- |" * len(used)]
    lines += ["| " + " | ".join(cell(row, c) for c in used) + " |" for row in shown]
    about = facts(shown)
    return f"## {name}\n\n{about}\n\n" + "\n".join(lines) + "\n"


def facts(rows: Iterable[Row]) -> str:
    """What all rows share, in a line."""
    found = []
    for name in ("judge", "hardware", "commit", "date", "command"):
        values = sorted({str(getattr(row, name)) for row in rows if getattr(row, name) is not None})
        if values:
            found.append(f"{name}: {', '.join(f'`{v}`' for v in values)}")
    return "; ".join(found) + "."


def cell(row: Row, name: str) -> str:
    """One value as it is shown."""
    value = getattr(row, name)
    if name == "value":
        if value is None:
            return "not reached"
        return f"{value:.4g}" + (f" ± {row.stderr:.2g}" if row.stderr is not None else "")
    if value is None:
        return ""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
