"""Which files a path means: a Lightning .ckpt, a .safetensors, or a folder as Hugging Face has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint.errors import RunError
from mezzotint.training import folder as files

MODEL = files.MODEL
INDEX = files.INDEX
ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
MAX_BYTES = 16 << 20
"""Bytes of a JSON file or of a pickle without its tensors; real ones have a few million at most."""
MAX_NAME = 120
"""Characters of a name that are shown."""


@dataclass(frozen=True)
class Source:
    """The files that a checkpoint is made of."""

    path: Path
    """As it was named."""
    weights: tuple[Path, ...]
    pickled: bool
    config: Mapping[str, Any] | None
    """What the config.json beside the weights says."""
    tokenizer: Path | None
    """The tokenizer.json beside the weights."""

    @property
    def bytes(self) -> int:
        """Size of all files of weights."""
        return sum(path.stat().st_size for path in self.weights)


def check_source(path: str | Path, tokenizer: str | Path | None = None) -> Source:
    """The files of a published checkpoint, found without torch; RunError where there are none or they are a run's."""
    path = Path(path)
    if not path.exists():
        raise RunError(f"there is nothing at {path} to import; name a .ckpt, a .safetensors or a folder that has one")
    folder = path if path.is_dir() else path.parent
    config = read_object(folder / files.CONFIG) if (folder / files.CONFIG).exists() else None
    if config is not None and {"format", "system", "spec"} <= config.keys():
        raise RunError(f"{folder} is a run already, and needs no import; `mezzotint sample {folder}` writes with it")
    weights = _weight_files(path) if path.is_dir() else (path,)
    tokenizer_path = folder / files.TOKENIZER
    if tokenizer is not None:
        tokenizer_path = tokenizer_file(tokenizer)
    return Source(path, weights, _is_pickled(weights), config, tokenizer_path if tokenizer_path.exists() else None)


def tokenizer_file(path: str | Path) -> Path:
    """The tokenizer.json that a file or folder means; RunError where there is none."""
    path = Path(path)
    file = path / files.TOKENIZER if path.is_dir() else path
    if not file.is_file():
        raise RunError(f"there is no tokenizer at {path}; name a tokenizer.json of Hugging Face, or its folder")
    return file


def read_object(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file from elsewhere; RunError if it holds anything else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunError(f"{path} is too large for what it should be")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise RunError(f"{path} is damaged; expected JSON") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} is no object of settings; expected a JSON object")
    return value


def printable(name: object) -> str:
    """A name out of a file, safe to print: nothing that a terminal would obey, and not too much of it."""
    text = str(name)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= MAX_NAME else text[:MAX_NAME] + "…"


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / INDEX).exists():
        return _shards(folder)
    if (folder / MODEL).exists():
        return (folder / MODEL,)
    others = sorted(p.name for p in folder.iterdir() if p.suffix in (".ckpt", ".safetensors", ".pt", ".bin"))
    named = f"name one of its files: {', '.join(map(printable, others[:5]))}" if others else "it holds no weights"
    raise RunError(f"{folder} has no {MODEL}; {named}")


def _shards(folder: Path) -> tuple[Path, ...]:
    """The files that the index lists, every one a plain name in this folder."""
    names = read_object(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names or not all(_is_plain(name) for name in names.values()):
        raise RunError(f"{folder / INDEX} is damaged; its weight_map should name .safetensors files of this folder")
    shards = tuple(folder / name for name in sorted(set(names.values())))
    for path in shards:
        if not path.is_file():
            raise RunError(f"{path} is missing; {INDEX} lists it")
    return shards


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name and "\\" not in name


def _is_pickled(weights: tuple[Path, ...]) -> bool:
    """Whether these are a zip of torch's rather than safetensors; RunError for the pickles of old versions."""
    first = weights[0]
    if not first.is_file():
        raise RunError(f"{first} is no file; name a .ckpt, a .safetensors or a folder that has one")
    try:
        with first.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise RunError(f"{first} cannot be read: {error.strerror}") from None
    if head[:1] == PICKLE and head[8:] != b"{":  # safetensors begin with eight bytes of length and JSON
        raise RunError(f"{first} is a pickle as torch wrote them before 1.6, which are not read; convert it first")
    return head[: len(ZIP)] == ZIP
