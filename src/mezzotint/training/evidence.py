"""What the files of a run folder tell, read without trust, and the curves that can be drawn from it.

`log.jsonl` has an object a line: step, elapsed (s), loss, lr, tokens_per_second, and valid where one was measured.
`results.json` is a list of scores as `mezzotint.evaluate.table.records` gives them; those of the held-out texts have
the column "data". `samples.json` is {"samples": [{steps, nfe, texts}], "curve": [{steps, nfe, and any scores}]}, or the
first list alone. `film.json` is a list of frames, each a list of {text, known, confidence}. `walks.json` is a list of
walks, each a list of {pieces, from_first, from_last} (evaluate/walks.py), the pieces being {text, first, last}.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import Any, TypeAlias

from mezzotint.spec.metrics import CHARTED
from mezzotint.training.charts import Chart, Line
from mezzotint.training.folder import CONFIG, LOG, RESULTS, SAMPLES, WALKS

Json: TypeAlias = Any
"""What a file says, which may be anything: every use looks first."""
Record: TypeAlias = "Mapping[str, Json]"

FILM = "film.json"
POINTS = 400
"""A curve has at most so many points; more log lines are averaged in groups of equal number."""
MINUTE, HOUR = 60, 3600


@dataclass(frozen=True)
class Evidence:
    """All that is known of a run, each part empty where its file is missing or damaged."""

    folder: Path
    config: Record
    log: Sequence[Record]
    scores: Sequence[Record]
    samples: Sequence[Record]
    curve: Sequence[Record]
    film: Sequence[Sequence[Record]]
    walks: Sequence[Sequence[Record]] = ()


def gather(folder: Path) -> Evidence:
    """Read the folder; never an error for what it says or does not say."""
    config, samples, film, walks = (_json(folder / name) for name in (CONFIG, SAMPLES, FILM, WALKS))
    parts = samples if isinstance(samples, dict) else {"samples": samples}
    return Evidence(
        folder=folder,
        config=config if isinstance(config, dict) else {},
        log=_log(folder / LOG),
        scores=[score for score in _objects(_json(folder / RESULTS)) if isinstance(score.get("name"), str)],
        samples=[sample for sample in _objects(parts.get("samples")) if isinstance(sample.get("texts"), list)],
        curve=sorted(_objects(parts.get("curve")), key=lambda point: cost(point) or 0),
        film=_lists(film),
        walks=[walk for walk in _lists(walks) if walk and all(isinstance(p.get("pieces"), list) for p in walk)],
    )


def number(value: Json, unit: float = 1) -> float | None:
    """The value in a unit, if it is a finite number."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    return value / unit if plain and unit != 1 else value if plain else None


def column(score: Record) -> str:
    """Whose score it is: a system, a number of steps, or the data."""
    steps = number(score.get("steps"))
    return str(score.get("column") or ("this run" if steps is None else f"{steps:g} steps"))


def cost(point: Record) -> float | None:
    """Network evaluations a text, or the steps asked for where they were not measured."""
    nfe = number(point.get("nfe"))
    return nfe if nfe is not None else number(point.get("steps"))


def measured(curve: Iterable[Record]) -> list[str]:
    """The scores that some point of the curve has."""
    names = dict.fromkeys(name for point in curve for name in point)
    return [name for name in names if name not in ("steps", "nfe") and _points(curve, name)]


def validations(log: Iterable[Record]) -> list[Record]:
    """The log lines at which held-out text was scored."""
    return [point for point in log if number(point.get("valid")) is not None]


def loss_charts(log: Sequence[Record]) -> list[Chart]:
    """Training loss and held-out bound, against steps and against time; no chart for what was not logged."""
    unit, seconds = _clock(log)
    charts = [_loss_chart(log, "steps", "step", 1), _loss_chart(log, unit, "elapsed", seconds)]
    return [chart for chart in charts if chart.lines]


def quality_charts(evidence: Evidence) -> list[Chart]:
    """Scores against network evaluations, beside the data's own: those of `CHARTED`, or all where it has none."""
    names = measured(evidence.curve)
    return [_quality_chart(evidence, name) for name in [n for n in CHARTED if n in names] or names]


def walk_chart(walk: Sequence[Record]) -> Chart | None:
    """Words changed since the first text of a walk and still to be changed for its last; None where that is unknown."""
    ends = (("from the first text", "from_first"), ("from the last", "from_last"))
    found = [(label, [number(point.get(key)) for point in walk]) for label, key in ends]
    lines = [
        Line(label, range(1, len(walk) + 1), [y for y in of if y is not None], marks=i == 1)
        for i, (label, of) in enumerate(found)
        if None not in of
    ]
    return Chart("a walk", "point of the walk", "words changed", lines) if lines else None


def _loss_chart(log: Sequence[Record], unit: str, key: str, seconds: float) -> Chart:
    series = [("training loss", "loss", False), ("bound on held-out text", "valid", True)]
    lines = [Line(label, *_series(log, key, seconds, name), marks=marks) for label, name, marks in series]
    lines = [line for line in lines if line.x]
    return Chart(f"loss against {unit}", unit, "nats a symbol", lines, top=_top(lines))


def _top(lines: Sequence[Line]) -> float | None:
    """High enough for all but the first twentieth of the run, whose fall would flatten the rest."""
    end = max((x for line in lines for x in line.x), default=0)
    late = [y for line in lines for x, y in zip(line.x, line.y, strict=True) if x >= end / 20]
    return max(late) + 0.05 * (max(late) - min(late)) if len(late) > 1 and max(late) > min(late) else None


def _series(log: Sequence[Record], key: str, unit: float, name: str) -> tuple[list[float], list[float]]:
    found = [(number(point.get(key), unit), number(point.get(name))) for point in log]
    pairs = [(x, y) for x, y in found if x is not None and y is not None]
    size = max(1, ceil(len(pairs) / POINTS))
    groups = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    return [_mean(x for x, _ in group) for group in groups], [_mean(y for _, y in group) for group in groups]


def _clock(log: Iterable[Record]) -> tuple[str, float]:
    total = max((number(point.get("elapsed")) or 0 for point in log), default=0)
    return ("seconds", 1) if total < 3 * MINUTE else ("minutes", MINUTE) if total < 2 * HOUR else ("hours", HOUR)


def _quality_chart(evidence: Evidence, name: str) -> Chart:
    own = [number(score.get("value")) for score in evidence.scores if (score["name"], column(score)) == (name, "data")]
    level = next((("the data's own", value) for value in own if value is not None), None)
    x, y = zip(*_points(evidence.curve, name), strict=True)
    label = name.replace("_", " ")
    lines = [Line("this run", x, y, marks=True)]
    return Chart(f"{label} against evaluations", "network evaluations a text", label, lines, level, doubling=True)


def _points(curve: Iterable[Record], name: str) -> list[tuple[float, float]]:
    pairs = [(cost(point), number(point.get(name))) for point in curve]
    return [(x, y) for x, y in pairs if x is not None and x > 0 and y is not None]


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def _json(path: Path) -> Json:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _log(path: Path) -> list[Record]:
    """The log by step: of a step logged twice, before and after a resume, the later line counts."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    by_step = {number(point.get("step")): point for point in _objects([_parsed(line) for line in lines])}
    return [by_step[step] for step in sorted(step for step in by_step if step is not None)]


def _parsed(line: str) -> Json:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _lists(value: Json) -> list[list[Record]]:
    return [_objects(each) for each in value if isinstance(each, list)] if isinstance(value, list) else []


def _objects(value: Json) -> list[Record]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
