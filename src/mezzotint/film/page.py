"""A film as one page complete in itself: it loads nothing, and what a model wrote is text in it and never markup."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mezzotint.film.reel import Film

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src '{script_hash}'; \
style-src '{style_hash}'; img-src data:; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p id="controls" hidden>
<button id="play" type="button" aria-pressed="false">Play</button>
<label>Draft <input id="frame" type="range" min="0" max="0" value="0"></label>
</p>
<ol id="texts">{texts}</ol>
<p id="caption">{caption}</p>
<p><span class="given">given</span> · how sure a word was when it was chosen: <span class="c3">very</span>
<span class="c2">rather</span> <span class="c1">little</span> <span class="c0">hardly</span></p>
</main>
<script type="application/json" id="film">{frames}</script>
<script>{script}</script>
</body>
</html>
"""


def page(film: Film) -> str:
    """The page; without its script it shows the last frame."""
    style, script = (files(__package__).joinpath(f"film.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    frames = [
        {"rows": [[[cell.text, cell.kind] for cell in row] for row in still.rows], "caption": still.caption}
        for still in film.shown
    ]
    texts = film.stills[-1].texts if film.stills else []
    return TEMPLATE.format(
        title=escape(film.title), style=style, style_hash=_hash(style), script=script, script_hash=_hash(script),
        texts="".join(f"<li>{escape(text)}</li>" for text in texts),
        caption=escape(film.stills[-1].caption) if film.stills else "",
        # Nothing in the text can end the element that it stands in.
        frames=json.dumps(frames, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )  # fmt: skip


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
