"""What can be typed: one frozen dataclass a command, one field a flag.

A field says its type, its default and its sentence of help; `parse.py` turns words into these records. A reader takes
the text of a value and returns the value; where it cannot, it raises a ValueError that says what would be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

Reader = Callable[[str], Any]

FILES = "files of text: .txt .csv .tsv .jsonl .ndjson .json, also .gz .bz2 .xz of these; or bistro, the bundled corpus"


class Misspelt(Exception):
    """A value that is none of the known names."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__()
        self.known = known


def _field(default: Any, **argument: Any) -> Any:
    return field(default=default, metadata={"argument": argument})


def word(help: str, metavar: str, read: Reader = str, default: Any = MISSING) -> Any:
    """A word without a flag, known by its place."""
    return _field(default, help=help, metavar=metavar, type=read, nargs="?")


def value(help: str, metavar: str, read: Reader = str, default: Any = None) -> Any:
    """A flag with one value; the last one counts."""
    return _field(default, help=help, metavar=metavar, type=read)


def choose(help: str, known: Sequence[str]) -> Any:
    """A flag whose value is one of a few names, the first unless given."""
    return _field(known[0], help=help, metavar="|".join(known), type=one_of(known))


def values(help: str, metavar: str, read: Reader = str, default: Any = ()) -> Any:
    """A flag with one value or more, which may also be given several times."""
    return _field(default, help=help, metavar=metavar, type=read, nargs="+", action="extend")


def repeated(help: str, metavar: str, read: Reader = str) -> Any:
    """A flag with one value, which may be given several times."""
    return _field((), help=help, metavar=metavar, type=read, action="append")


def switch(help: str) -> Any:
    """A flag without a value, off unless given."""
    return _field(False, help=help, action="store_true")


def whole(least: int = 1) -> Reader:
    """Reads a whole number of at least `least`."""

    def read(text: str) -> int:
        if not re.fullmatch("-?[0-9]{1,18}", text) or int(text) < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(text)

    return read


def number(above: float = -math.inf, least: float = -math.inf, most: float = math.inf) -> Reader:
    """Reads a finite number within bounds."""
    bounds = [(above, "above"), (least, "of at least"), (most, "of at most")]
    expected = " and ".join(f"{how} {bound:g}" for bound, how in bounds if math.isfinite(bound))

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not (math.isfinite(found) and above < found and least <= found <= most):
            raise ValueError(f"a number {expected}")
        return found

    return read


def one_of(known: Sequence[str]) -> Reader:
    """Reads one of the known names; the parser names the nearest to another."""

    def read(text: str) -> str:
        if text not in known:
            raise Misspelt(known)
        return text

    return read


def unicode(text: str) -> str:
    """Reads text; bytes that are no text are refused."""
    if not text.isascii() and text.encode(errors="replace").decode() != text:
        raise ValueError("UTF-8 text")
    return text


def device(text: str) -> str:
    """Reads a device as torch names it, or `auto`."""
    name, colon, place = text.partition(":")
    one_of(("auto", "cpu", "cuda", "mps"))(name)
    if colon and not (name == "cuda" and place.isdecimal()):
        raise ValueError("auto, cpu, cuda, cuda:0 (or another number) or mps")
    return text


def setting(text: str) -> tuple[str, str]:
    """Reads `key=value`."""
    key, equals, content = text.partition("=")
    if not (key and equals):
        raise ValueError("key=value")
    return key.replace("-", "_"), content


def _run() -> Any:
    return word("a run folder, as `mezzotint train` writes it", "RUN", Path)


def _device() -> Any:
    return value("auto, cpu, cuda, cuda:1, mps", "DEVICE", device, "auto")


def _seed() -> Any:
    return value("where all random numbers come from", "N", whole(0), 0)


def _json() -> Any:
    return switch("one JSON object a line instead of text")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train mdlm on the bundled corpus, watch it write, fill a gap, score it."""

    example: ClassVar[str] = "mezzotint demo --minutes 1"
    minutes: float = value("how long to train", "M", number(above=0), 1.0)
    seed: int = _seed()
    out: Path | None = value("the run folder to write (default: runs/mdlm-<data>-<n>)", "FOLDER", Path)


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a system from scratch on files of text."""

    example: ClassVar[str] = "mezzotint train mdlm --data reviews.txt"
    system: str = word("which system; `mezzotint systems` lists them", "SYSTEM")
    data: tuple[Path, ...] = values(FILES, "FILE", Path, MISSING)
    field: str | None = value("which field of a record is the text (default: text, or the only text field)", "NAME")
    layout: str = choose(
        "a text is a line or record, or a window of fixed length cut from joined documents", ("texts", "windows")
    )
    valid: tuple[Path, ...] = values("held-out files of text (default: 5 % of the data)", "FILE", Path)
    tokenizer: str = choose("words, pieces of words, or whichever suits the text", ("auto", "word", "bpe"))
    out: Path | None = value("the run folder to write (default: runs/<system>-<data>-<n>)", "FOLDER", Path)
    size: str = choose("width, depth, canvas, batch and learning rate follow from it", ("tiny", "small", "base"))
    minutes: float | None = value("how long to train (default 10, unless --max-steps is given)", "M", number(above=0))
    max_steps: int | None = value("how many optimiser steps to train", "N", whole())
    batch_size: int | None = value("rows a step (default: by size)", "N", whole())
    save_every: int | None = value("steps between checkpoints", "N", whole())
    seed: int = _seed()
    device: str = _device()
    set: tuple[tuple[str, str], ...] = repeated("a setting of the system; may be repeated", "KEY=VALUE", setting)


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Continue a run from its last checkpoint."""

    example: ClassVar[str] = "mezzotint resume runs/reviews"
    run: Path = _run()
    device: str = _device()


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What `sample` and `infill` share."""

    run: Path = _run()
    n: int = value("how many texts", "N", whole(), 8)
    steps: int = value("steps from noise to text; fewer are faster and rougher", "N", whole(), 32)
    seed: int = _seed()
    temperature: float = value("0 takes the likeliest token, 1 the model's own odds", "T", number(least=0), 1.0)
    top_p: float = value("keep the likeliest tokens up to this probability", "P", number(above=0, most=1), 1.0)
    prefix: str | None = value("how every text begins", "TEXT", unicode)
    watch: bool = switch("draw the text emerging, on standard error")
    json: bool = _json()
    device: str = _device()


@dataclass(frozen=True, kw_only=True)
class Sample(Writing):
    """Write new texts, one a line."""

    example: ClassVar[str] = "mezzotint sample runs/reviews -n 8 --steps 16 --watch"


@dataclass(frozen=True, kw_only=True)
class Infill(Writing):
    """Fill the gaps of a template, where [3] is a gap of three tokens."""

    example: ClassVar[str] = 'mezzotint infill runs/reviews "The [3] pub near the river."'
    template: str | None = word("text with gaps; without it, lines of standard input", "TEMPLATE", unicode, None)
    n: int = value("how many fillings of each template", "N", whole(), 1)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a run on held-out text, the data's own values beside."""

    example: ClassVar[str] = "mezzotint evaluate runs/reviews --data test.txt"
    run: Path = _run()
    data: tuple[Path, ...] = values(FILES, "FILE", Path, MISSING)
    judge: Path | None = value("the run that judges fluency (default: the bundled judge of a bistro run)", "RUN", Path)
    json: bool = _json()


@dataclass(frozen=True, kw_only=True)
class Systems:
    """List the systems and what each can do."""

    example: ClassVar[str] = "mezzotint systems"
    json: bool = _json()
