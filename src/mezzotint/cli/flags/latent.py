"""What can be typed of a run whose texts are points of a space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from mezzotint.cli.flags.readers import (
    Device,
    Json,
    Run,
    Seed,
    Temperature,
    choose,
    integer,
    number,
    positional,
    repeated,
    setting,
    unicode,
    value,
    values,
)

LabelledFiles = Annotated[
    tuple[Path, ...], values("files of records with a text and a label (default: the run's own)", "FILE", Path)
]
LabelField = Annotated[str, value("which field of a record is the label", "NAME")]
TextField = Annotated[
    str | None, value("which field of a record is the text (default: as the run was trained)", "NAME")
]


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """What the commands on a latent space share."""

    run: Run
    seed: Seed = 0
    temperature: Temperature = 0.0
    top_p: Annotated[float, value("keep the likeliest tokens up to this share", "P", number(above=0, most=1))] = 1.0
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class LatentSample(Decoding):
    """Write the texts at points of the latent space that the prior draws."""

    example: ClassVar[str] = "mezzotint latent sample runs/vae -n 8"
    temperature: Temperature = 1.0
    n: Annotated[int, value("how many texts", "N", integer())] = 8
    like: Annotated[
        str | None, value("draw where the texts of this label lie (default: where the prior draws)", "LABEL", unicode)
    ] = None
    prior: Annotated[
        str, choose("draw from what the run has learned, if it has, or from the normal law", "learned", "normal")
    ] = "learned"
    data: LabelledFiles = ()
    label: LabelField = "label"
    field: TextField = None


@dataclass(frozen=True, kw_only=True)
class LatentPrior:
    """Learn what the latents of a run's texts are drawn from, and draw from that when it writes."""

    example: ClassVar[str] = "mezzotint latent prior runs/vae --minutes 5"
    run: Annotated[Path, positional("a run folder, as `mezzotint train` writes it", "RUN", Path)]
    data: Annotated[
        tuple[Path, ...], values("files of text to learn from (default: those that the run learned from)", "FILE", Path)
    ] = ()
    field: TextField = None
    minutes: Annotated[
        float | None, value("how long to train (default 5, unless --max-steps is given)", "M", number(above=0))
    ] = None
    max_steps: Annotated[int | None, value("how many steps to train", "N", integer())] = None
    seed: Seed = 0
    device: Device = "auto"
    set: Annotated[
        tuple[tuple[str, str], ...],
        repeated("a setting of the prior's network or training; may be repeated", "KEY=VALUE", setting),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class LatentWalk(Decoding):
    """Walk through the latent space from one text to another."""

    example: ClassVar[str] = 'mezzotint latent walk runs/vae "the food was cold." "a wonderful evening."'
    a: Annotated[str, positional("where to begin", "A", unicode)]
    b: Annotated[str, positional("where to end", "B", unicode)]
    points: Annotated[int, value("how many texts, both ends among them", "N", integer(2))] = 7


@dataclass(frozen=True, kw_only=True)
class LatentAnalogy(Decoding):
    """Write the text that is to C what B is to A."""

    example: ClassVar[str] = 'mezzotint latent analogy runs/vae "a cat" "two cats" "a dog"'
    a: Annotated[str, positional("a text", "A", unicode)]
    b: Annotated[str, positional("what becomes of it", "B", unicode)]
    c: Annotated[str, positional("a text that the same is to happen to", "C", unicode)]


@dataclass(frozen=True, kw_only=True)
class LatentTransfer(Decoding):
    """Give the texts on standard input an attribute, learned from labelled texts."""

    example: ClassVar[str] = "mezzotint latent transfer runs/vae --to positive < negative.txt"
    to: Annotated[str, value("the label that they are to have", "LABEL", unicode)]
    data: LabelledFiles = ()
    label: LabelField = "label"
    field: TextField = None
    strength: Annotated[float, value("how far to go; 1 is the difference of the means", "S", number())] = 1.0
