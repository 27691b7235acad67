"""What can be typed to score runs, to set them side by side, to examine one, and to check what is said of Mezzotint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from mezzotint.cli.flags.readers import (
    FILES,
    Device,
    Files,
    Json,
    OwnField,
    Run,
    Seed,
    choose,
    integer,
    positional,
    positionals,
    switch,
    value,
    values,
)


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Score a run on held-out text, the data's own values beside."""

    example: ClassVar[str] = "mezzotint evaluate runs/reviews --data test.txt"
    run: Run
    data: Files
    field: OwnField = None
    judge: Annotated[
        Path | None, value("the ar run that judges fluency (default: the bundled judge of a bistro run)", "RUN", Path)
    ] = None
    mauve: Annotated[
        bool, switch("also compare 1,000 texts with held-out ones by MAUVE, on vectors of the judge (extra mauve)")
    ] = False
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Set runs side by side on the same text, as tables and pictures."""

    example: ClassVar[str] = "mezzotint compare runs/mdlm runs/fast runs/ar --curve"
    runs: Annotated[tuple[Path, ...], positionals("run folders, or owner/name of runs on the hub", "RUN", Path)]
    data: Annotated[
        tuple[Path, ...], values(f"held-out text: {FILES} (default: the runs' own, if it is the same)", "FILE", Path)
    ] = ()
    field: OwnField = None
    judge: Annotated[
        Path | None, value("the ar run that judges fluency (default: the bundled judge of bistro runs)", "RUN", Path)
    ] = None
    steps: Annotated[
        tuple[int, ...], values("steps to write in (default: 4 16 64; with --curve 1 2 4 8 16 32 64)", "N", integer())
    ] = ()
    curve: Annotated[
        bool, switch("more steps, and each also at several temperatures: fluency at matched entropy (takes longer)")
    ] = False
    entropy: Annotated[
        str, choose("whose word entropy is matched: the held-out texts', or the first run's own", "data", "first")
    ] = "data"
    n: Annotated[int, value("texts that each run writes at a time", "N", integer(2))] = 256
    out: Annotated[Path, value("the page to write; its figures go beside it as .json", "FILE.html", Path)] = Path(
        "compare.html"
    )
    seed: Seed = 0
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """Examine a run: padding, batches, seeds, saving, resuming, its law and its speed."""

    example: ClassVar[str] = "mezzotint doctor runs/reviews"
    run: Annotated[Path, positional("a run folder, owner/name on the hub, or the name of a system", "RUN", Path)]
    data: Annotated[
        tuple[Path, ...], values("texts for the tokenizer (default: those that it was trained on)", "FILE", Path)
    ] = ()
    field: OwnField = None
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Check what is said of Mezzotint here: each claim is made anew and passes or fails."""

    example: ClassVar[str] = "mezzotint reproduce --all --size tiny"
    names: Annotated[tuple[str, ...], positionals("claims, as --list names them", "NAME")] = ()
    all: Annotated[bool, switch("every claim")] = False
    list: Annotated[bool, switch("list the claims: what is said, what passes, what it takes")] = False
    size: Annotated[
        str | None, choose("only what takes so much: minutes on two cores, or ten for each run", "tiny", "small")
    ] = None
    keep: Annotated[
        Path | None, value("where the runs are made and found again (default: thrown away)", "FOLDER", Path)
    ] = None
    seed: Seed = 0
    json: Json = False
