"""What can be typed to make runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from mezzotint.cli.flags.readers import (
    BatchSize,
    Device,
    Files,
    MaxSteps,
    Minutes,
    Out,
    Run,
    SaveEvery,
    Seed,
    choose,
    integer,
    number,
    positional,
    repeated,
    setting,
    switch,
    value,
    values,
)

Beside = Annotated[Path | None, value("the run folder to write (default: runs/<system>-<run>-<n>)", "FOLDER", Path)]
TextField = Annotated[
    str | None, value("which field of a record is the text (default: text, or the only text field)", "NAME")
]
HeldOut = Annotated[tuple[Path, ...], values("held-out files of text (default: 5 % of the data)", "FILE", Path)]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Train mdlm on the bundled corpus, watch it write, fill a gap, score it."""

    example: ClassVar[str] = "mezzotint demo --minutes 1"
    minutes: Annotated[float, value("how long to train", "M", number(above=0))] = 1.0
    seed: Seed = 0
    out: Out = None


@dataclass(frozen=True, kw_only=True)
class Training:
    """What every training from scratch is told."""

    data: Files
    field: TextField = None
    layout: Annotated[
        str,
        choose(
            "a text is a line or record, or a window of joined documents (blank lines part them)", "texts", "windows"
        ),
    ] = "texts"
    valid: HeldOut = ()
    tokenizer: Annotated[
        str,
        value(
            "words, pieces of words, what suits the text; or one that is there already: a tokenizer.json, its folder "
            "or its name on the hub, such as gpt2",
            "auto|word|bpe|NAME",
        ),
    ] = "auto"
    out: Out = None
    size: Annotated[
        str, choose("width, depth, canvas, batch and learning rate follow from it", "tiny", "small", "base")
    ] = "tiny"
    minutes: Minutes = None
    max_steps: MaxSteps = None
    batch_size: BatchSize = None
    save_every: SaveEvery = None
    seed: Seed = 0
    device: Device = "auto"
    set: Annotated[
        tuple[tuple[str, str], ...],
        repeated("a setting of the system or its training; may be repeated", "KEY=VALUE", setting),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a system from scratch on files of text."""

    example: ClassVar[str] = "mezzotint train mdlm --data reviews.txt"
    system: Annotated[str, positional("which system; `mezzotint systems` lists them", "SYSTEM")]
    source: Annotated[str | None, value("which field a text is written from, for systems that translate", "NAME")] = (
        None
    )
    target: Annotated[str | None, value("which field is the text, for systems that translate", "NAME")] = None
    embeddings: Annotated[
        Path | None,
        value(
            "for sed: a run, or a model of Hugging Face (its folder or its name on the hub), whose vectors of tokens "
            "are used, as they are or along their principal axes, with its tokenizer",
            "RUN|FOLDER|NAME",
            Path,
        ),
    ] = None
    backbone: Annotated[
        str | None,
        value("what a system such as adavae stands on: a run of ar, or GPT-2 (its name on the hub or folder)", "NAME"),
    ] = None
    quantize: Annotated[
        str | None,
        choose(
            "for qe-cdlm: the values of its projections (default ternary); --set quantize=table: of vectors of tokens",
            "binary", "ternary", "pow2", "levels",
        ),
    ] = None  # fmt: skip
    dry_run: Annotated[bool, switch("say what it would take, from some steps; write nothing")] = False


@dataclass(frozen=True, kw_only=True)
class TrainEmbeddings(Training):
    """Learn vectors of tokens for `train sed --embeddings`: a masked language model with a narrow lookup."""

    example: ClassVar[str] = "mezzotint train-embeddings --data reviews.txt --width 32 --out runs/embeddings"
    width: Annotated[int, value("how many numbers a token's vector has", "D", integer())] = 32


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Continue a run from its last checkpoint."""

    example: ClassVar[str] = "mezzotint resume runs/reviews"
    run: Annotated[Path, positional("a run folder, as `mezzotint train` writes it", "RUN", Path)]
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Distill:
    """Teach a student to write in few steps what a run of mdlm writes in many."""

    example: ClassVar[str] = "mezzotint distill runs/mdlm --out runs/fast"
    run: Run
    out: Beside = None
    data: Annotated[
        tuple[Path, ...], values("files of text to learn from (default: those that the run learned from)", "FILE", Path)
    ] = ()
    field: Annotated[str | None, value("with --data: which field of a record is the text", "NAME")] = None
    valid: Annotated[tuple[Path, ...], values("with --data: held-out files of text", "FILE", Path)] = ()
    minutes: Annotated[float | None, value("how long to train (default: by size, 5 at tiny)", "M", number(above=0))] = (
        None
    )
    max_steps: MaxSteps = None
    batch_size: BatchSize = None
    save_every: SaveEvery = None
    seed: Seed = 0
    device: Device = "auto"
    set: Annotated[
        tuple[tuple[str, str], ...],
        repeated("a setting of the student or its training; may be repeated", "KEY=VALUE", setting),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Tune a trained run to other texts, all of its weights or few beside them; its words stay as they are."""

    example: ClassVar[str] = "mezzotint finetune runs/reviews --data hotels.txt --adapter lora"
    run: Run
    data: Files
    adapter: Annotated[
        str, choose("factors of low rank (extra lora), gates on attention, or all weights", "lora", "ina", "none")
    ] = "lora"
    out: Beside = None
    field: TextField = None
    valid: HeldOut = ()
    minutes: Minutes = None
    max_steps: MaxSteps = None
    batch_size: BatchSize = None
    save_every: SaveEvery = None
    seed: Seed = 0
    device: Device = "auto"
    set: Annotated[
        tuple[tuple[str, str], ...],
        repeated("a setting of the training; may be repeated", "KEY=VALUE", setting),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class TrainControl:
    """Train what `mezzotint control` follows, on texts of which fields, parts of speech or trees are known."""

    example: ClassVar[str] = "mezzotint train-control runs/reviews --data annotated.jsonl"
    run: Annotated[Path, positional("a run folder, as `mezzotint train` writes it", "RUN", Path)]
    data: Annotated[
        tuple[Path, ...],
        values("files of records with a text and its fields, tags, tree or spans; or bistro", "FILE", Path),
    ]
    field: Annotated[str | None, value("which field of a record is the text (default: text)", "NAME")] = None
    minutes: Minutes = None
    max_steps: MaxSteps = None
    batch_size: Annotated[int, value("rows a step", "N", integer())] = 64
    seed: Seed = 0
    device: Device = "auto"
