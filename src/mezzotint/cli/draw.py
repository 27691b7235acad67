"""What the terminal shows: the film of a text emerging, the progress of a training, and the closing lines.

Everything here goes to standard error and passes on the records that it draws, so that a command reads as one chain
of generators. A terminal gets live pictures; a file or a pipe gets a few plain lines.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

import mezzotint

if TYPE_CHECKING:
    from mezzotint import Draft, Piece, Progress

PAUSE = 0.07
"""Seconds that a frame stays at least: small models write faster than anyone can watch."""

LONGEST = 6.0
"""Seconds after which frames follow each other as fast as they come."""

ROWS = 12
"""Texts that are drawn at most."""

PLAIN_ROWS = 3
"""Texts that are drawn at most where nothing moves."""

SETTLED = 3
"""Frames after which a token looks like any other."""

WIDE = 400
"""Columns of a table that is not drawn on a terminal."""

CONFIDENCE = ((0.9, "green"), (0.5, "cyan"), (0.2, "yellow"), (0.0, "red"))
"""Colours of new tokens, by the least probability with which they were chosen."""


def stderr() -> Console:
    """Where everything is drawn; made anew for each command, because tests replace the stream.

    Of the processes of a launch the first alone draws.
    """
    return Console(stderr=True, highlight=False, soft_wrap=False, quiet=not mezzotint.is_first())


def say(line: str, *, whoever: bool = False) -> None:
    """One plain line on standard error, at any width of the terminal; `whoever` says it, not the first process only."""
    if whoever or mezzotint.is_first():
        print(line, file=sys.stderr, flush=True)


def closing(next_command: str, report: Path | None = None) -> None:
    """The last lines of a command: where the report is, and what is useful next."""
    if report is not None and report.is_file():
        say(f"report: {report}")
    say(f"next:   {next_command}")


def draw_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output: as wide as the terminal, or as it needs where nobody looks."""
    console = Console(highlight=False, quiet=not mezzotint.is_first())
    if not console.is_interactive:
        console.width = WIDE
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(head):
        table.add_column(name, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


# -- the film ---------------------------------------------------------------------------------------------------------


def film(drafts: Iterable[Draft], console: Console) -> Iterator[Draft]:
    """Draws each draft and passes it on."""
    return _live(drafts, console) if console.is_interactive else _stills(drafts)


def picture(draft: Draft, ages: Sequence[Sequence[int]], rows: int = ROWS) -> Text:
    """A draft in colour: given text bold, what is still to be written as blocks, new tokens by their confidence.

    `ages` says for how many frames each piece has been known.
    """
    lines = [_line(row, r, row_ages) for r, (row, row_ages) in enumerate(zip(draft.rows, ages, strict=True))]
    left_out = [Text(f"and {len(lines) - rows} more", style="dim")] if len(lines) > rows else []
    return Text("\n").join([*lines[:rows], *left_out, Text(caption(draft), style="dim")])


def caption(draft: Draft) -> str:
    """Where a draft is: step, evaluations of the network, mean time from noise (1) to text (0)."""
    t = sum(draft.t) / len(draft.t)
    return f"step {draft.step}/{draft.steps} · evaluations {max(draft.nfe)} · t {t:.2f}"


class _Ages:
    """For how many frames each piece of a draft has been known."""

    def __init__(self) -> None:
        self._ages: list[list[int]] = []

    def after(self, draft: Draft) -> list[list[int]]:
        """The ages in the next frame; what is known in the first is as old as can be."""
        before = [*self._ages, *[[]] * len(draft.rows)]
        self._ages = [
            [_age(piece, old) for piece, old in zip(row, chain(ages, repeat(SETTLED)), strict=False)]
            for row, ages in zip(draft.rows, before, strict=False)
        ]
        return self._ages


def _age(piece: Piece, before: int) -> int:
    return min(before + 1, SETTLED) if piece.known else -1


def _live(drafts: Iterable[Draft], console: Console) -> Iterator[Draft]:
    ages, ends = _Ages(), time.monotonic() + LONGEST
    rows = max(1, min(ROWS, console.height - 3))
    with Live(console=console, auto_refresh=False, transient=sys.stdout.isatty()) as live:
        for draft in drafts:
            for _ in range(1 + SETTLED if draft.done else 1):
                live.update(picture(draft, ages.after(draft), rows), refresh=True)
                time.sleep(PAUSE if time.monotonic() < ends else 0)
            yield draft


def _stills(drafts: Iterable[Draft]) -> Iterator[Draft]:
    shown = -1
    for draft in drafts:
        quarter = 4 if draft.done else min(3, 4 * draft.step // max(1, draft.steps))
        if quarter > shown:
            say(caption(draft))
            for r, row in enumerate(draft.rows[:PLAIN_ROWS]):
                say(f"  {_line(row, r, [SETTLED] * len(row)).plain}")
            if len(draft.rows) > PLAIN_ROWS:
                say(f"  and {len(draft.rows) - PLAIN_ROWS} more")
        shown = -1 if draft.done else max(shown, quarter)
        yield draft


def _line(row: Sequence[Piece], r: int, ages: Sequence[int]) -> Text:
    line = Text(overflow="fold")
    for place, (piece, age) in enumerate(zip(row, ages, strict=True)):
        text = one_line(piece.text) if piece.known else " " + "░" * _width(r, place)
        line.append(text if line else text.removeprefix(" "), style=_style(piece, age))
    return line


def _style(piece: Piece, age: int) -> str:
    if not piece.known:
        return "dim"
    if piece.given:
        return "bold"
    if age >= SETTLED:
        return ""
    colour = next(colour for least, colour in CONFIDENCE if piece.confidence >= least)
    return ("bold " if age == 0 else "") + colour


def _width(row: int, place: int) -> int:
    """A plausible number of letters for a hidden token, always the same at the same place."""
    return 2 + (5 * row + 7 * place + place * place // 3) % 6


def one_line(text: str) -> str:
    r"""A text on one line: newlines as \n, carriage returns as \r, all else as it is; --json loses nothing."""
    return text.replace("\n", "\\n").replace("\r", "\\r")


# -- the progress of a training ---------------------------------------------------------------------------------------


def progress(records: Iterable[Progress], console: Console) -> Progress | None:
    """Draws a training until it ends; returns its last record, None where there was none."""
    return _bar(records, console) if console.is_interactive else _plain_progress(records)


def duration(seconds: float) -> str:
    """Minutes and seconds as 1:05, hours as 2:00:09, a dash where nobody knows."""
    if not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _bar(records: Iterable[Progress], console: Console) -> Progress | None:
    last, bound = None, ""
    columns = (TextColumn("training"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[state]}"))
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("training", total=1.0, state="preparing")
        for last in records:
            if last.note is not None:
                bar.console.print(last.note, markup=False)
            if last.note is not None or last.forecast is not None:
                continue
            bound = bound if last.valid is None else f" · held out {last.valid:.3f}"
            state = f"loss {last.loss:.3f}{bound} · {duration(last.remaining)} left"
            bar.update(task, completed=last.fraction, state=state)
    return last


def _plain_progress(records: Iterable[Progress]) -> Progress | None:
    """A line for every tenth of the run, for every validation and for every note."""
    last, shown = None, 0
    for last in records:
        tenth = int(10 * last.fraction)
        where = f"{last.fraction:4.0%}  step {last.step}  loss {last.loss:.3f}"
        if last.note is not None:
            say(last.note)
        elif last.forecast is not None:
            break
        elif last.valid is not None:
            say(f"{where}  held-out bound {last.valid:.3f}")
        elif tenth > shown:
            say(f"{where}  {last.tokens_per_second:,.0f} tokens/s  {duration(last.remaining)} left")
        shown = tenth  # a run's classifiers are a training of their own, from the start
    return last
