"""A page of HTML that is complete in itself: its frame, and what tables and figures look like on it.

It loads nothing and runs nothing, and says so to the browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from math import floor, log10

from mezzotint.training.evidence import Json, number


def document(kind: str, title: str, top: str, sections: Mapping[str, str]) -> str:
    """The whole page: `kind` above the title, `top` below it, and the sections by their names, as ready HTML."""
    css = files("mezzotint.training").joinpath("report.css").read_text(encoding="utf-8")
    body = "".join(f"<section><h2>{name}</h2>{content}</section>\n" for name, content in sections.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>
{css}</style>
</head>
<body>
<header><p class="kind">mezzotint · {kind}</p><h1>{escape(title)}</h1>{top}</header>
<main>
{body}</main>
</body>
</html>
"""


def tile(name: str, value: float, form: str) -> str:
    return f'<div><dt>{name}</dt><dd title="{value!r}">{form.format(value)}</dd></div>'


def missing(sentence: str) -> str:
    return f'<p class="missing">{sentence}</p>'


def described(kind: str, pairs: Iterable[tuple[str, str]]) -> str:
    return f'<dl class="{kind}">{"".join(f"<div><dt>{name}</dt><dd>{said}</dd></div>" for name, said in pairs)}</dl>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of ready HTML cells."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(value: Json, stderr: Json = None) -> str:
    """A number as precise as it is known, the error to two digits, with all digits in the tooltip."""
    exact, error = number(value), number(stderr)
    if exact is None:
        return '<span title="not defined, or not reached">–</span>'
    if error is None or error <= 0:
        shown = f"{exact:,.0f}" if exact == int(exact) else f"{exact:.4g}"
        return f'<span title="{exact!r}">{shown}</span>'
    places = max(0, 1 - floor(log10(error)))
    return f'<span title="{exact!r} ± {error!r}">{exact:,.{places}f} ± {error:.{places}f}</span>'


def words(name: object) -> str:
    return escape(str(name).replace("_", " "))
