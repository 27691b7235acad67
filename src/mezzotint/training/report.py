"""report.html: one page, complete in itself, that shows what a run is, how it learned and what it writes.

Everything on it is gathered from the run folder. A piece that is missing or damaged is left out with a sentence that
says what would make it. The page loads nothing and runs nothing, and says so to the browser.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import hexdigits

from mezzotint.errors import RunError
from mezzotint.spec.metrics import METRICS
from mezzotint.training.charts import Chart, svg
from mezzotint.training.evidence import (
    Evidence,
    Json,
    Record,
    column,
    gather,
    loss_charts,
    measured,
    number,
    quality_charts,
    validations,
    walk_chart,
)
from mezzotint.training.folder import REPORT, put
from mezzotint.training.sheet import described, document, figure, missing, table, tile, words
from mezzotint.training.strips import film, walks

TEXTS = 8
"""So many texts are shown of each sample, the first ones."""


def report(folder: Path) -> Path:
    """Write report.html into a run folder from what lies there, whole or not at all, and return its path.

    Raises RunError where there is no such folder, or it cannot be written to.
    """
    if not folder.is_dir():
        raise RunError(f"there is no run folder at {folder}; `mezzotint train` makes one")
    path = folder / REPORT
    content = page(gather(folder))
    try:
        put(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}") from None
    return path


def page(run: Evidence) -> str:
    """The whole page as HTML."""
    title = f"{_system(run)} · {run.folder.resolve().name}"
    sections = {
        "What this is": _about(run),
        "A text emerging": _film(run),
        **({"From one text to another": _walks(run)} if run.walks or "interpolate" in _abilities(run) else {}),
        "Learning": _learning(run),
        "Samples": _samples(run),
        "Quality against evaluations": _quality(run),
        "Scores": _scores(run),
        "What comes next": _next(run),
    }
    return document("report of a run", title, _tiles(run), sections)


def _system(run: Evidence) -> str:
    return str(run.config.get("system", "run"))


def _tiles(run: Evidence) -> str:
    last = run.log[-1] if run.log else {}
    bounds = [number(point["valid"]) for point in validations(run.log)]
    shown = [
        ("bound on held-out text, nats a symbol", bounds[-1] if bounds else None, "{:.3f}"),
        ("training loss, nats a symbol", number(last.get("loss")), "{:.3f}"),
        ("steps", number(last.get("step")), "{:,.0f}"),
        ("minutes of training", number(last.get("elapsed"), 60), "{:.1f}"),
        ("tokens a second", number(last.get("tokens_per_second")), "{:,.0f}"),
    ]
    tiles = [tile(name, value, form) for name, value, form in shown if value is not None]
    return f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else ""


def _about(run: Evidence) -> str:
    if not run.config:
        return missing("There is no readable config.json here, so what was trained on what is not known.")
    first = ("system", "spec", "training", "data", "seed", "versions", "hardware")
    names = [*(name for name in first if name in run.config), *(name for name in run.config if name not in first)]
    return described("facts", [(words(name), _told(run.config[name])) for name in names])


def _told(value: Json) -> str:
    """A value of the configuration in words: records of a list each on a line, a record as its fields."""
    if isinstance(value, dict):
        return " ".join(f'<span class="pair"><i>{words(key)}</i> {_told(inner)}</span>' for key, inner in value.items())
    if isinstance(value, list):
        records = any(isinstance(item, dict) for item in value)
        lines = (f'<span class="record">{_told(item)}</span>' for item in value)
        return "".join(lines) if records else ", ".join(map(_told, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    digest = isinstance(value, str) and len(value) == 64 and not set(value) - set(hexdigits)
    return f"<code>{value}</code>" if digest else escape(str(value))


def _film(run: Evidence) -> str:
    if run.film:
        return film(run.film)
    if "translate" in _abilities(run):
        return missing("It writes from a source; no film of that is kept.")
    return missing(f"No film has been kept; {_command(run, 'sample', '-n 1 --watch')} shows a text emerging.")


def _walks(run: Evidence) -> str:
    if not run.walks:
        command = _command(run, "evaluate", "--data test.txt")
        return missing(f"No walk between two texts has been kept; {command} takes some, and measures many.")
    return walks(run.walks) + _charts("walk", [chart for walk in run.walks if (chart := walk_chart(walk))])


def _learning(run: Evidence) -> str:
    if len(run.log) < 2:
        return missing("There is no readable log.jsonl with two lines or more, so there is no curve to draw.")
    keys = {"step": "step", "elapsed": "seconds", "loss": "training loss", "valid": "held-out bound"}
    points = table(list(keys.values()), [[figure(point.get(key)) for key in keys] for point in validations(run.log)])
    more = f"<details><summary>The validations as a table</summary>{points}</details>" if validations(run.log) else ""
    return _charts("loss", loss_charts(run.log)) + more


def _samples(run: Evidence) -> str:
    if not run.samples and "translate" in _abilities(run):
        command = _command(run, "translate", "< sources.txt")
        return missing(f"It writes from a source, and no texts of that are kept; {command} writes some.")
    if not run.samples:
        return missing(f"No texts have been kept; {_command(run, 'sample', '-n 8 --steps 16')} writes some.")
    return f'<div class="cards">{"".join(_card(sample) for sample in run.samples)}</div>'


def _card(sample: Record) -> str:
    steps, nfe = number(sample.get("steps")), number(sample.get("nfe"))
    asked = "samples" if steps is None else f"{steps:g} step{'' if steps == 1 else 's'}"
    spent = "" if nfe is None else f' <span class="nfe">{figure(nfe)} evaluation{"" if nfe == 1 else "s"} a text</span>'
    texts = [f"<li>{escape(str(text)) or '<i>empty</i>'}</li>" for text in sample["texts"][:TEXTS]]
    more = len(sample["texts"]) - TEXTS
    rest = f'<p class="key">and {more:,} more</p>' if more > 0 else ""
    return f"<article><h3>{asked}{spent}</h3><ul>{''.join(texts)}</ul>{rest}</article>"


def _quality(run: Evidence) -> str:
    names = measured(run.curve)
    if not names:
        return missing("Quality has not been measured at several numbers of steps.")
    head = ["steps", "evaluations a text", *map(words, names)]
    rows = [[figure(point.get(key)) for key in ("steps", "nfe", *names)] for point in run.curve]
    return _charts("quality", quality_charts(run)) + table(head, rows)


def _scores(run: Evidence) -> str:
    if not run.scores:
        command = _command(run, "evaluate", "--data test.txt")
        return missing(f"Nothing has been scored yet; {command} measures the run against texts it has not seen.")
    columns = sorted(dict.fromkeys(map(column, run.scores)), key="data".__eq__)
    by_place = {(score["name"], column(score)): score for score in run.scores}
    names = dict.fromkeys(score["name"] for score in run.scores)
    cells = [[_score(by_place.get((name, whose))) for whose in columns] for name in names]
    rows = [
        [words(n), *row, escape(METRICS[n].meaning if n in METRICS else "")]
        for n, row in zip(names, cells, strict=True)
    ]
    return table(["", *map(escape, columns), "what it is"], rows) + _notes(run.scores)


def _score(score: Record | None) -> str:
    if score is None:
        return ""
    n = number(score.get("n"))
    return figure(score.get("value"), score.get("stderr")) + ("" if n is None else f" <small>n {n:,.0f}</small>")


def _notes(scores: Iterable[Record]) -> str:
    said = dict.fromkeys((score["name"], str(score["note"])) for score in scores if score.get("note"))
    items = [f"<li><b>{words(name)}</b>: {escape(note)}</li>" for name, note in said]
    return f'<ul class="notes">{"".join(items)}</ul>' if items else ""


def _next(run: Evidence) -> str:
    steps = [
        ("Write more texts, and watch them emerge", _command(run, "sample", "-n 8 --steps 16 --watch")),
        ("Fill the gaps of a text", _command(run, "infill", before='echo "The [3] is near the [1]." | ')),
        ("Score it on texts that it has not seen", _command(run, "evaluate", "--data test.txt")),
        ("Go on with it, if it was stopped", _command(run, "resume")),
    ]
    can = _abilities(run)
    if "translate" in can:
        steps[:2] = [("Write from the lines of a file", _command(run, "translate", "< sources.txt"))]
    elif can and "infill" not in can:
        del steps[1]
    return described("next", steps[:-1] if "imported" in run.config else steps)


def _abilities(run: Evidence) -> list[Json]:
    """What the system can, as the configuration has it; empty where it does not say."""
    can = run.config.get("can")
    return can if isinstance(can, list) else []


def _command(run: Evidence, verb: str, flags: str = "", before: str = "") -> str:
    line = f"{before}mezzotint {verb} {shlex.quote(str(run.folder))} {flags}".strip()
    return f"<code>{escape(line, quote=False)}</code>"


def _charts(name: str, charts: Sequence[Chart]) -> str:
    drawn = [f"<figure>{svg(chart, f'{name}{i}')}{_beyond(chart)}</figure>" for i, chart in enumerate(charts)]
    return f'<div class="charts">{"".join(drawn)}</div>'


def _beyond(chart: Chart) -> str:
    most = max(y for line in chart.lines for y in line.y)
    higher = chart.top is not None and most > chart.top
    return f"<figcaption>begins above the frame, at {figure(most)}</figcaption>" if higher else ""
