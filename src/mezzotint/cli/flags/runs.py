"""What can be typed to import, quantise and serve runs, and to list systems."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from mezzotint.cli.flags.readers import (
    Device,
    Json,
    OwnField,
    Run,
    choose,
    integer,
    positional,
    positionals,
    switch,
    unicode,
    value,
    values,
)


@dataclass(frozen=True, kw_only=True)
class Import:
    """Make a run from a published checkpoint (MDLM, SDTT, DiDi-Instruct); nothing in it is executed."""

    example: ClassVar[str] = "mezzotint import mdlm.ckpt --out runs/mdlm-owt"
    source: Annotated[Path, positional("a .ckpt, a .safetensors, or a folder of Hugging Face", "FILE|FOLDER", Path)]
    out: Annotated[Path, value("the run folder to write", "RUN", Path)]
    tokenizer: Annotated[
        Path | None,
        value("a tokenizer.json, or its folder (default: beside the weights, or in the .ckpt)", "FILE|FOLDER", Path),
    ] = None
    weights: Annotated[
        str | None, choose("averaged or last weights (default: averaged where there are some)", "ema", "raw")
    ] = None
    heads: Annotated[int | None, value("heads of the network, where no configuration says it", "N", integer())] = None
    length: Annotated[int | None, value("tokens of a window, where no configuration says it", "N", integer())] = None
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Make a small copy of a run, its weights of few values, and say what that costs."""

    example: ClassVar[str] = "mezzotint quantize runs/reviews --weights int8 --out runs/small"
    run: Run
    weights: Annotated[
        str, choose("-a, 0 or a in each row; 0 and 7 powers of two, signed; 256 levels", "ternary", "pow2", "int8")
    ]
    out: Annotated[Path, value("the run folder to write", "RUN", Path)]
    data: Annotated[tuple[Path, ...], values("held-out text to compare on (default: the run's own)", "FILE", Path)] = ()
    field: OwnField = None
    json: Json = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Answer for runs over HTTP, as OpenAI's clients ask, with a page on which text is seen emerging."""

    example: ClassVar[str] = "mezzotint serve runs/reviews --port 8000"
    runs: Annotated[
        tuple[Path, ...],
        positionals(
            "run folders, or owner/name of runs on the hub (default: those that came with Mezzotint)", "RUN", Path
        ),
    ] = ()
    host: Annotated[str, value("the address to listen on; others than this machine's need a key", "HOST")] = "127.0.0.1"
    port: Annotated[int, value("the port to listen on", "N", integer(0))] = 8000
    api_key: Annotated[
        str | None, value("what every request has to show (also in MEZZOTINT_API_KEY)", "KEY", unicode)
    ] = None
    insecure: Annotated[bool, switch("let others in without a key")] = False
    deterministic: Annotated[
        bool, switch("write each text by itself: slower, and a seed gives the same tokens whatever others ask")
    ] = False
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class Systems:
    """List the systems and what each can do."""

    example: ClassVar[str] = "mezzotint systems"
    json: Json = False
