"""Strips of text for the report: a text emerging from noise, and the way from one text to another."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from mezzotint.training.evidence import Record, number

FRAMES = 10
"""A film strip has at most so many frames, evenly chosen, the first and the last always."""


def film(frames: Sequence[Sequence[Record]]) -> str:
    """A text emerging: at most `FRAMES` of the frames, with what is new in each and how sure it is."""
    count = min(FRAMES, len(frames))
    picked = [frames[round(i * (len(frames) - 1) / max(1, count - 1))] for i in range(count)]
    rows = [_frame(frame, before) for frame, before in zip(picked, [[], *picked[:-1]], strict=True)]
    return (
        f'<ol class="film">{"".join(rows)}</ol><p class="key">'
        '<span class="blank"></span> still noise <span class="known new" style="--sure:34%">word</span> written since '
        'the line above <span class="known" style="--sure:8%">word</span> hardly sure '
        '<span class="known" style="--sure:60%">word</span> sure of it</p>'
    )


def _frame(frame: Sequence[Record], before: Sequence[Record]) -> str:
    old = {i for i, piece in enumerate(before) if piece.get("known")}
    spans = [_piece(piece, new=i not in old) for i, piece in enumerate(frame)]
    count = sum(bool(piece.get("known")) for piece in frame)
    return f'<li><span class="count">{count} of {len(frame)}</span><span class="text">{"".join(spans)}</span></li>'


def _piece(piece: Record, *, new: bool) -> str:
    if not piece.get("known"):
        return '<span class="blank" title="still noise"></span>'
    sure = min(1.0, max(0.0, number(piece.get("confidence")) or 0.0))
    kind, text = "known new" if new else "known", str(piece.get("text", ""))
    space, word = escape(text[: len(text) - len(text.lstrip())]), escape(text.lstrip())
    return (
        f'{space}<span class="{kind}" style="--sure:{8 + 52 * sure:.0f}%" title="confidence {sure:.2f}">{word}</span>'
    )


def walks(found: Sequence[Sequence[Record]]) -> str:
    """Walks from one text to another, the words coloured that only one of the ends has."""
    strips = "".join(f'<ol class="film">{_walk(walk)}</ol>' for walk in found)
    key = (
        '<p class="key"><span class="known first">word</span> of the first text only '
        '<span class="known last">word</span> of the last only</p>'
    )
    return strips + key


def _walk(walk: Sequence[Record]) -> str:
    rows = []
    for place, point in enumerate(walk, 1):
        text = "".join(_step(piece) for piece in point["pieces"] if isinstance(piece, dict)) or "<i>empty</i>"
        rows.append(f'<li><span class="count">{place} of {len(walk)}</span><span class="text">{text}</span></li>')
    return "".join(rows)


def _step(piece: Record) -> str:
    """A word on the way: coloured where only one of the ends has it."""
    text, first, last = str(piece.get("text", "")), bool(piece.get("first")), bool(piece.get("last"))
    if first == last:
        return escape(text)
    space, word = escape(text[: len(text) - len(text.lstrip())]), escape(text.lstrip())
    return f'{space}<span class="known {"first" if first else "last"}">{word}</span>'
