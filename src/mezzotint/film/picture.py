"""A film as a moving picture, drawn with the letters that come with matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

    from mezzotint.film.reel import Cell, Film, Still

WIDTH, MARGIN, SIZE, LINE = 720, 20, 17, 26
"""Pixels: the picture's width and margin, a letter's height, a line's."""
ROWS = 12
"""Texts that are drawn at most."""
PAUSE, LAST = 120, 2_500
"""Milliseconds that a frame stays, and the last one."""
PAPER = "#faf8f4"
COLOURS = {
    "given": "#1d1b18", "hidden": "#8a8378", "c3": "#14602f", "c2": "#0b5a73", "c1": "#7a5200", "c0": "#a32017",
    "soft": "#5d574e",
}  # fmt: skip

Word = tuple[float, int, str, str]
"""Left edge, line, text and colour."""


def picture(film: Film) -> bytes:
    """The bytes of a GIF that is played again and again."""
    from matplotlib import get_data_path
    from PIL import ImageFont

    folder = Path(get_data_path()) / "fonts" / "ttf"
    plain, bold = (ImageFont.truetype(folder / f"DejaVuSans{kind}.ttf", SIZE) for kind in ("", "-Bold"))
    frames = [list(_words(still, plain, bold)) for still in film.shown]
    height = 2 * MARGIN + LINE * (1 + max((line for words in frames for _, line, _, _ in words), default=0))
    first, *others = [_frame(words, height, plain, bold) for words in frames] or [_frame([], height, plain, bold)]
    gif = BytesIO()
    pauses = [PAUSE] * len(others) + [LAST]
    first.save(gif, "GIF", save_all=True, append_images=others, duration=pauses, loop=0)
    return gif.getvalue()


def _words(still: Still, plain: FreeTypeFont, bold: FreeTypeFont) -> Iterator[Word]:
    line = 0
    for row in still.rows[:ROWS]:
        x = 0.0
        for cell in row:
            text = _text_of(cell, at_edge=x == 0)
            width = (bold if cell.kind == "given" else plain).getlength(text)
            if x and x + width > WIDTH - 2 * MARGIN:
                x, line, text = 0.0, line + 1, text.removeprefix(" ")
            yield MARGIN + x, line, text, cell.kind
            x += (bold if cell.kind == "given" else plain).getlength(text)
        line += 1
    if len(still.rows) > ROWS:
        yield MARGIN, line, f"and {len(still.rows) - ROWS} more", "soft"
        line += 1
    yield MARGIN, line, still.caption, "soft"


def _text_of(cell: Cell, *, at_edge: bool) -> str:
    text = cell.text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", " ")
    return text.removeprefix(" ") if at_edge else text


def _frame(words: list[Word], height: int, plain: FreeTypeFont, bold: FreeTypeFont) -> Image:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(image)
    for x, line, text, kind in words:
        font = bold if kind == "given" else plain
        draw.text((x, MARGIN + LINE * line), text, fill=COLOURS[kind], font=font)
    return image
