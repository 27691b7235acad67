"""How values are typed: a flag, a word or a switch, and what reads its text.

A reader takes the text of a value and returns the value; where it cannot, it raises a ValueError that says what would
be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from mezzotint import Decoder

Reader = Callable[[str], Any]


Argument = dict[str, Any]
"""Keyword arguments of `ArgumentParser.add_argument`, but for the default."""


DECODERS = tuple(decoder.value for decoder in Decoder)


FILES = (
    "files of text: .txt .csv .tsv .jsonl .ndjson .json, also with .gz .bz2 .xz; .parquet; hf:OWNER/NAME, a data set "
    "on the hub (also hf:OWNER/NAME@REVISION#CONFIG:SPLIT[:N]); or bistro, the bundled corpus"
)


class Misspelt(Exception):
    """A value that is none of the known names."""

    def __init__(self, known: Sequence[str]) -> None:
        super().__init__()
        self.known = known


def positional(help: str, metavar: str, read: Reader = str) -> Argument:
    """A positional argument."""
    return {"help": help, "metavar": metavar, "type": read, "nargs": "?"}


def positionals(help: str, metavar: str, read: Reader = str) -> Argument:
    """One positional argument or more."""
    return {"help": help, "metavar": metavar, "type": read, "nargs": "*"}


def value(help: str, metavar: str, read: Reader = str) -> Argument:
    """A flag with one value; the last one counts."""
    return {"help": help, "metavar": metavar, "type": read}


def choose(help: str, *known: str) -> Argument:
    """A flag whose value is one of a few names."""
    return {"help": help, "metavar": "|".join(known), "type": one_of(*known)}


def values(help: str, metavar: str, read: Reader = str) -> Argument:
    """A flag with one value or more, which may also be given several times."""
    return {"help": help, "metavar": metavar, "type": read, "nargs": "+", "action": "extend"}


def repeated(help: str, metavar: str, read: Reader = str) -> Argument:
    """A flag with one value, which may be given several times."""
    return {"help": help, "metavar": metavar, "type": read, "action": "append"}


def switch(help: str) -> Argument:
    """A flag without a value."""
    return {"help": help, "action": "store_true"}


def integer(least: int = 1) -> Reader:
    """Reads a whole number of at least `least`."""

    def read(text: str) -> int:
        if not re.fullmatch("-?[0-9]{1,18}", text) or int(text) < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(text)

    return read


def number(above: float = -math.inf, least: float = -math.inf, most: float = math.inf) -> Reader:
    """Reads a finite number within bounds."""
    bounds = [(above, "above"), (least, "of at least"), (most, "of at most")]
    expected = " and ".join(f"{relation} {bound:g}" for bound, relation in bounds if math.isfinite(bound))

    def read(text: str) -> float:
        try:
            parsed = float(text)
        except ValueError:
            parsed = math.nan
        if not (math.isfinite(parsed) and above < parsed and least <= parsed <= most):
            raise ValueError(f"a number {expected}")
        return parsed

    return read


def one_of(*known: str) -> Reader:
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
    one_of("auto", "cpu", "cuda")(name)
    if colon and not (name == "cuda" and place.isdecimal()):
        raise ValueError("auto, cpu, cuda, or cuda:0 or another number")
    return text


def setting(text: str) -> tuple[str, str]:
    """Reads `key=value`."""
    key, equals, content = text.partition("=")
    if not (key and equals):
        raise ValueError("key=value")
    return key.replace("-", "_"), content


BUNDLED = Path("bistro")
"""The run that comes with the package, by its name."""
Run = Annotated[Path, positional("a run folder, or owner/name of a run on the hub", "RUN", Path)]


OwnField = Annotated[
    str | None, value("with --data: which field of a record is the text (default: as the run was trained)", "NAME")
]
Files = Annotated[tuple[Path, ...], values(FILES, "FILE", Path)]


Out = Annotated[Path | None, value("the run folder to write (default: runs/<system>-<data>-<n>)", "FOLDER", Path)]


Device = Annotated[str, value("auto, cpu, cuda, cuda:1", "DEVICE", device)]


Minutes = Annotated[
    float | None, value("how long to train (default 10, unless --max-steps is given)", "M", number(above=0))
]
MaxSteps = Annotated[int | None, value("how many steps to train", "N", integer())]
BatchSize = Annotated[int | None, value("rows a step (default: by size)", "N", integer())]
SaveEvery = Annotated[int | None, value("steps between checkpoints (default: one a minute)", "N", integer())]
Seed = Annotated[int, value("where all random numbers come from", "N", integer(0))]
Temperature = Annotated[float, value("0 takes the likeliest token, 1 the model's own odds", "T", number(least=0))]


Json = Annotated[bool, switch("one JSON object a line instead of text")]


def field_value(text: str) -> tuple[str, str]:
    """Reads `field=value`, as it is."""
    name, equals, content = unicode(text).partition("=")
    if not (name.strip() and equals and content.strip()):
        raise ValueError("FIELD=VALUE")
    return name.strip(), content.strip()


def phrase(text: str) -> tuple[int, int, str]:
    """Reads a phrase, 3:7=NP."""
    match = re.fullmatch(r"(\d{1,6}):(\d{1,6})=(\S+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise ValueError("first word, word after the last and a label, as in 3:7=NP")
    return int(match[1]), int(match[2]), match[3]


def beams(text: str) -> tuple[int, int]:
    """Reads how many lengths and how many texts of each: 5x2, or 5 for one of each."""
    if not re.fullmatch("[1-9][0-9]{0,3}(x[1-9][0-9]{0,3})?", text):
        raise ValueError("lengths x texts of each, as in 5x2, or one number of candidates")
    first, _, second = text.partition("x")
    return int(first), int(second or 1)
