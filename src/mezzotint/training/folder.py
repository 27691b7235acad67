"""The run folder: what is in it, and how its files are written so that a crash leaves the old or the new, never half.

    config.json         format, system, spec, training, data with sha256, seed, versions
    tokenizer.json      model.safetensors (averaged weights)      lengths.json      log.jsonl      results.json
    frozen.safetensors (networks that the run starts from and does not change, where there are such)
    prior.safetensors (what a run with a latent space has learned to draw its points from)
    control.json, control.safetensors (classifiers of noisy texts, where some were trained)
    embeddings.safetensors (the table that a run began with, where it was given one)
    walks.json (texts on the way from one to another, where a run with a latent space was evaluated)
    report.html         checkpoints/<step>/ (raw and averaged weights, optimiser, counters; the last two)
    best/<step>.safetensors (averaged weights of the best validations, where the model is to be their mean)

This module imports no torch, so that a wrong path is answered at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from mezzotint.errors import RunError, UsageError
from mezzotint.spec.base import Spec

S = TypeVar("S", bound=Spec)

FORMAT = 1
CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
LENGTHS = "lengths.json"
MODEL = "model.safetensors"
FROZEN = "frozen.safetensors"
INDEX = "model.safetensors.index.json"
PRIOR = "prior.safetensors"
EMBEDDINGS = "embeddings.safetensors"
CONTROL = "control.safetensors"
CONTROLLER = "control.json"
LOG = "log.jsonl"
RESULTS = "results.json"
SAMPLES = "samples.json"
WALKS = "walks.json"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
BEST = "best"
PUBLISHED = (CONFIG, TOKENIZER, LENGTHS, MODEL, FROZEN, PRIOR, CONTROL, CONTROLLER)
"""What somebody else needs of a run, and all that is published of it beside its card."""


def sync(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put(path: Path, content: str | bytes) -> None:
    """Write a file aside, wait for the disk, and rename it into place."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)
        sync(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)


def put_json(path: Path, value: Any) -> None:
    """`put`, as indented JSON."""
    put(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def digest(path: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """The value in a JSON file of a run; RunError if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing; a run folder has one") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as e:
        raise RunError(f"{path} is damaged ({e}); expected JSON") from None
    except OSError as e:
        raise RunError(f"{path} cannot be read: {e.strerror}") from None


def read_config(folder: Path) -> Mapping[str, Any]:
    """A run's config.json, checked for its format and the fields that every run has."""
    if not folder.exists():
        raise RunError(f"there is no run at {folder}; `mezzotint train` makes one")
    if not (folder / CONFIG).exists():
        raise RunError(f"{folder} is not a run folder: it has no {CONFIG}")
    config = read_json(folder / CONFIG)
    needed, of_data = {"format", "system", "spec", "training", "data", "seed"}, {"files", "valid", "field", "layout"}
    whole = isinstance(config, dict) and needed <= config.keys() and isinstance(config["data"], dict)
    if not whole or not of_data <= config["data"].keys() or type(config["seed"]) is not int:
        raise RunError(f"{folder / CONFIG} is damaged: it lacks the fields that every run's has")
    if config["format"] != FORMAT:
        raise RunError(f"{folder} has format {config['format']}, and this version reads format {FORMAT}")
    found: Mapping[str, Any] = config
    return found


def read_spec(folder: Path, config: Mapping[str, Any], kind: type[S], key: str = "spec") -> S:
    """The spec that a run's configuration describes; RunError where it does not describe one."""
    try:
        return kind.from_json(config[key])
    except (UsageError, TypeError, AttributeError) as e:
        raise RunError(f"{folder / CONFIG} does not describe a {config['system']} run: {e}") from None


def output_path(out: str | Path) -> Path:
    """A folder to be written, with a name of its own."""
    return Path(out) if Path(out).name else Path(out).absolute()


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes it when all is written, and goes away if anything fails.

    RunError where it cannot be made there or written.
    """
    aside = out.with_name(f".{out.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        yield aside
        if out.exists():
            out.rmdir()
        aside.rename(out)
    except OSError as error:
        raise RunError(f"{out} cannot be written ({error.strerror or error}); name another folder") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_new(out: Path) -> None:
    """Refuse an output folder that already holds something, or that cannot be made where it is."""
    if (out / CONFIG).exists():
        goes_on = f"`mezzotint resume {out}` continues it, or " if (out / CHECKPOINTS).exists() else ""
        raise RunError(f"{out} already holds a run; {goes_on}choose another --out")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(
            f"{out} already exists, with nothing that `mezzotint resume {out}` could go on with; choose another --out"
        )
    above = next((p for p in out.absolute().parents if p.exists()), None)
    if above is not None and not (above.is_dir() and os.access(above, os.W_OK)):
        raise RunError(f"{out} cannot be made: {above} is no folder that can be written; choose another --out")


def steps_saved(folder: Path) -> list[int]:
    """The steps of the checkpoints in a run, rising."""
    names = [p.name for p in (folder / CHECKPOINTS).glob("*") if p.name.isdigit()]
    return sorted(int(n) for n in names)


def is_finished(folder: str | Path) -> bool:
    """Whether a run has reached its end."""
    folder = Path(folder)
    read_config(folder)
    for step in steps_saved(folder)[-1:]:
        with suppress(RunError):
            state = read_json(folder / CHECKPOINTS / str(step) / "state.json")
            return isinstance(state, dict) and bool(state.get("finished"))
    return False
