"""Line charts as inline SVG that takes its colours and its font from the page around it.

matplotlib lays the chart out; what it writes is then freed of everything that belongs to a file of its own: prolog,
metadata, name spaces, fixed size, identifiers that would meet those of the next chart, and colours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stand for the page's own: each is unlike any colour that matplotlib would write by itself.
_INK, _RULE = "#010203", "#020304"
_SERIES = {"#030405": "first", "#040506": "second", "#050607": "third", "#060708": "fourth", "#070809": "fifth"}
_PAGE = {_INK: "var(--ink)", _RULE: "var(--rule)"} | {colour: f"var(--{name})" for colour, name in _SERIES.items()}
_MARKS = "osD^v"
_STROKES = ("solid", (0, (5, 2)), (0, (1, 1.5)))
"""Where there are more series than colours, the next ones are dashed, then dotted."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mezzotint",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    "xtick.color": _RULE,
    "ytick.color": _RULE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Line:
    """One series. Each of a chart has a colour of its own and, where it has marks, a shape of them."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    marks: bool = False


@dataclass(frozen=True)
class Chart:
    """What to draw: some series, and a level to compare them with."""

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    level: tuple[str, float] | None = None
    """A dashed horizontal line and its name, such as the data's own value."""
    top: float | None = None
    """Where the frame ends, if below the highest point."""
    doubling: bool = False
    """Whether x is told in doublings, with ticks at the points themselves."""


def svg(chart: Chart, name: str) -> str:
    """The chart as an `<svg>` element for HTML; `name` keeps its identifiers apart from those of other charts."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    out = StringIO()
    with rc_context(_STYLE):
        figure = Figure(figsize=(4.8, 3.0))
        figure.subplots_adjust(left=0.16, right=0.96, bottom=0.16, top=0.97)
        _draw(chart, figure.subplots())
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _freed(out.getvalue(), name, chart.title)


def _draw(chart: Chart, axes: Axes) -> None:
    colours = list(_SERIES)
    for place, line in enumerate(chart.lines):
        again, which = divmod(place, len(colours))
        mark, stroke = _MARKS[which] if line.marks else "", _STROKES[again % len(_STROKES)]
        axes.plot(
            line.x, line.y, color=colours[which], marker=mark, linestyle=stroke, markersize=4, linewidth=1.8,
            label=line.label,
        )  # fmt: skip
    if chart.level is not None:
        axes.axhline(chart.level[1], color=_INK, linestyle=(0, (4, 3)), linewidth=1.2, label=chart.level[0])
    if chart.top is not None:
        axes.set_ylim(top=chart.top)
    if chart.doubling:
        _double(chart, axes)
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.legend(loc="best")


def _double(chart: Chart, axes: Axes) -> None:
    ticks = _apart(sorted({x for line in chart.lines for x in line.x}))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, labels=[f"{x:.3g}" for x in ticks])
    axes.set_xticks([], minor=True)


def _apart(places: Sequence[float]) -> list[float]:
    """The last place and, going down, those whose labels do not run into one another."""
    gap = (places[-1] / places[0]) ** (1 / 9)
    kept = [places[-1]]
    for place in reversed(places):
        if place * gap < kept[-1]:
            kept.append(place)
    return kept[::-1]


def _freed(text: str, name: str, title: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    size = re.search(r'viewBox="[^"]*"', text)
    assert size is not None, "matplotlib writes a viewBox"
    head = f'<svg class="chart" role="img" aria-label="{escape(title)}" {size.group()}>'
    text = head + text[text.index(">") + 1 :]
    text = text.replace("xlink:href", "href").replace('href="#', f'href="#{name}-')
    text = text.replace('id="', f'id="{name}-').replace("url(#", f"url(#{name}-")
    for colour, variable in _PAGE.items():
        text = text.replace(colour, variable)
    return text.strip()
