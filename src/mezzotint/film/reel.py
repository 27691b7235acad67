"""A film: stills kept of drafts as they pass, and the file that they become."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from mezzotint.errors import UsageError

if TYPE_CHECKING:
    from mezzotint.drafts import Draft, Piece

CONFIDENCE = (0.9, 0.5, 0.2, 0.0)
"""The least probabilities with which the tokens of each class were chosen, the surest class first."""
MAX_STILLS = 240
"""About so many frames are kept of a long film: half a minute of them."""


@dataclass(frozen=True)
class Cell:
    """One position of a frame."""

    text: str
    kind: str
    """`hidden`, `given`, or how sure it was: `c3` very, to `c0` hardly."""


@dataclass(frozen=True)
class Still:
    """One frame: its rows, and where it stands in its generation."""

    rows: list[list[Cell]]
    caption: str
    texts: list[str]
    """The finished texts, where it is the last of their generation."""


class Film:
    """The stills of the drafts that went through `of`."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.stills: list[Still] = []

    def of(self, drafts: Iterable[Draft]) -> Iterator[Draft]:
        """Passes the drafts on."""
        for draft in drafts:
            rows = [[_cell(piece, r, p) for p, piece in enumerate(row)] for r, row in enumerate(draft.rows)]
            t = sum(draft.t) / len(draft.t)
            caption = f"step {draft.step} of {draft.steps} · evaluations {max(draft.nfe)} · t {t:.2f}"
            self.stills.append(Still(rows, caption, [sample.text for sample in draft.samples]))
            yield draft

    @property
    def shown(self) -> list[Still]:
        """The stills, evenly thinned out where they are many; those with finished texts are always among them."""
        every = ceil(len(self.stills) / MAX_STILLS)
        return [still for i, still in enumerate(self.stills) if i % every == 0 or still.texts]

    def save(self, path: Path) -> None:
        """Write the film, whole or not at all; UsageError where it cannot be."""
        from mezzotint.training.folder import put

        check_film(path)
        try:
            put(path, _writers()[path.suffix.lower()](self))
        except OSError as error:
            raise UsageError(f"the film {path} cannot be written: {error.strerror}") from None


def check_film(path: Path) -> None:
    """UsageError unless a film can be written there."""
    if path.suffix.lower() not in (".html", ".gif"):
        raise UsageError(f"a film is an .html, which plays in any browser, or a .gif; not {path.name or path}")
    if path.is_dir() or not (path.absolute().parent.is_dir() and os.access(path.absolute().parent, os.W_OK)):
        raise UsageError(f"the film {path} cannot be written: {path.parent} is no folder that can be written to")


def _writers() -> Mapping[str, Callable[[Film], str | bytes]]:
    from mezzotint.film.page import page
    from mezzotint.film.picture import picture

    return {".html": page, ".gif": picture}


def _cell(piece: Piece, row: int, place: int) -> Cell:
    if not piece.known:
        return Cell(" " + "░" * (2 + (5 * row + 7 * place) % 6), "hidden")
    if piece.given:
        return Cell(piece.text, "given")
    return Cell(piece.text, f"c{3 - next(i for i, least in enumerate(CONFIDENCE) if piece.confidence >= least)}")
