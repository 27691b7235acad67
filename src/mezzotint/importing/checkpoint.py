"""From a published checkpoint to a run folder: `import_checkpoint`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import RunError, UsageError, unknown
from mezzotint.importing.inert import EmbeddedTokenizer, StandIn
from mezzotint.importing.pickled import entries, read_pickled
from mezzotint.importing.record import RECORD, Imported
from mezzotint.importing.settings import Settings, settings_of
from mezzotint.importing.source import LARGEST, Source, check_source, shown
from mezzotint.importing.tokenizer import tokenizer_from
from mezzotint.importing.weights import (
    SETS,
    Chosen,
    Shape,
    choose,
    heads_of,
    layout,
    never_predicts_mask,
    ours,
    shape_of,
)
from mezzotint.spec.mdlm import Bound, MDLMSpec
from mezzotint.spec.transformer import Gelu, TransformerSpec
from mezzotint.training import folder as files
from mezzotint.training.create import NewRun, create
from mezzotint.training.report import report
from mezzotint.types import Ending, Layout

HEAD = 64
"""The width of a head in every published network, where nothing says it."""
WINDOW = range(4, 1 << 20)
"""How many tokens a window can have."""


@dataclass(frozen=True)
class _Read:
    """What a source holds."""

    chosen: Chosen
    settings: Settings
    tokenizer: str | None
    """A tokenizer.json that came inside the file of weights."""


def import_checkpoint(
    source: str | Path,
    *,
    out: str | Path,
    tokenizer: str | Path | None = None,
    weights: str | None = None,
    heads: int | None = None,
    length: int | None = None,
) -> Imported:
    """Make a run folder at `out` from a published checkpoint of masked diffusion, and report what was taken.

    `source` is a Lightning .ckpt, a .safetensors, or a folder with config.json and model.safetensors. `tokenizer` is
    a tokenizer.json or its folder (default: the one beside the weights, or in the .ckpt); `weights` is "ema" (the
    default where there are averages) or "raw"; `heads` and `length`, the window's tokens, are taken from the
    configuration unless given. Nothing in the files is executed. Raises the errors of `mezzotint.errors`, and then
    leaves nothing at `out`.
    """
    out = files.output_path(out)
    files.check_new(out)
    if weights is not None and weights not in SETS:
        raise unknown("set of weights", weights, SETS)
    found = check_source(source, tokenizer)
    read = _read(found, weights)
    where = str(found.path)
    shape = shape_of(read.chosen.tensors, where)
    tensors = ours(read.chosen.tensors, shape, found.bytes, where)
    words = _tokenizer(found, read, shape)
    spec, notes = _spec(read, shape, words, heads, length, where)
    imported = Imported(
        out=out,
        source=found.path,
        weights=read.chosen.which,
        numbers=sum(t.numel() for t in tensors.values()),
        used={theirs: name for theirs, (name, _) in layout(shape).items()},
        ignored=read.chosen.ignored,
        spec=spec,
        notes=tuple(notes),
    )
    create(out, _new_run(found, spec, words, tensors, imported))
    report(out)
    return imported


def _new_run(
    found: Source, spec: MDLMSpec, words: Tokenizer, tensors: Mapping[str, Tensor], imported: Imported
) -> NewRun:
    paths = [{"path": str(p.absolute()), "sha256": files.digest(p)} for p in found.weights]
    data: dict[str, Any] = {
        "files": [],
        "valid": None,
        "field": None,
        "layout": Layout.WINDOWS.value,
        "sources": [],
        "notes": [],
    }
    return NewRun(
        system="mdlm",
        spec=spec,
        training=None,
        data=data,
        seed=0,
        tokenizer=words,
        weights={f"model.{name}": tensor for name, tensor in tensors.items()},
        more={"imported": {"files": paths, "weights": imported.weights}},
        records={RECORD: imported.to_json()},
    )


def _read(found: Source, weights: str | None) -> _Read:
    where = str(found.path)
    if not found.pickled:
        settings = settings_of(found.config, where)
        return _Read(choose(_safe(found), None, weights, where), settings, None)
    held = read_pickled(found.path)
    hyper = held.get("hyper_parameters")
    settings = settings_of(found.config if hyper is None else hyper, where)
    averages = entries(entries(held).get("ema")).get("shadow_params")
    tensors = entries(held["state_dict"]) if "state_dict" in held else held
    chosen = choose(tensors, averages if isinstance(averages, list) else None, weights, where)
    return _Read(chosen, settings, _embedded(entries(hyper).get("tokenizer")))


def _safe(found: Source) -> dict[str, Tensor]:
    """All tensors of some .safetensors files, each name in one of them only."""
    tensors: dict[str, Tensor] = {}
    for path in found.weights:
        try:
            held = load_file(path)
        except (SafetensorError, OSError) as e:
            raise RunError(f"{path} is damaged, or no file of weights ({shown(e)}); expected safetensors") from None
        if twice := sorted(held.keys() & tensors.keys()):
            raise RunError(f"{path} has {shown(twice[0])}, which another file of {found.path} has too")
        tensors |= held
    return tensors


def _embedded(tokenizer: object) -> str | None:
    """The tokenizer.json in a pickled tokenizer of transformers, if it is one of the fast ones."""
    inner = entries(tokenizer.state).get("_tokenizer") if isinstance(tokenizer, StandIn) else None
    if isinstance(inner, EmbeddedTokenizer) and isinstance(inner.state, bytes) and len(inner.state) <= LARGEST:
        return inner.state.decode("utf-8", "replace")
    return None


def _tokenizer(found: Source, read: _Read, shape: Shape) -> Tokenizer:
    size = shape.vocab - 1
    if found.tokenizer is not None:
        try:
            text = found.tokenizer.read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise RunError(f"{found.tokenizer} cannot be read as a tokenizer.json") from None
        return tokenizer_from(text, str(found.tokenizer), size)
    if read.tokenizer is not None:
        return tokenizer_from(read.tokenizer, f"the tokenizer in {found.path}", size)
    gpt2 = "; published models have that of gpt2" if size == 50257 else ""
    raise UsageError(f"{found.path} has no tokenizer with it: name a tokenizer.json with --tokenizer{gpt2}")


def _spec(
    read: _Read, shape: Shape, words: Tokenizer, heads: int | None, length: int | None, where: str
) -> tuple[MDLMSpec, list[str]]:
    settings = read.settings
    notes: list[str] = []
    for name, told, real in (
        ("width", settings.dim, shape.dim),
        ("depth", settings.depth, shape.depth),
        ("vocabulary", settings.vocab, shape.vocab),
    ):
        if told is not None and told != real:
            raise RunError(f"{where} has a configuration of {name} {told}, and weights of {name} {real}")
    length = length or settings.length
    if length is None:
        raise UsageError(f"{where} does not say how many tokens a window has; say it, as in --length 1024")
    if length not in WINDOW:
        raise UsageError(f"no window has {length} tokens; --length must be from {WINDOW[0]} to {WINDOW[-1]}")
    if not settings.told:
        notes.append("nothing says what process the weights are for; they are taken for masked diffusion")
        if not never_predicts_mask(read.chosen.tensors):
            notes.append("the output for the mask was trained, as masked diffusion never does: is it another process?")
    timed = bool(settings.time_conditioning)
    spec = MDLMSpec(
        vocab=shape.vocab - 1,
        canvas=length - 2 if words.is_foreign else length,
        ending=Ending.LENGTH,
        net=TransformerSpec(
            dim=shape.dim,
            depth=shape.depth,
            heads=_heads(read, shape, heads, where),
            condition=shape.condition,
            gelu=Gelu.TANH,
            tied=False,
            dropout=settings.dropout or 0.0,
        ),
        bound=Bound.TIMES if timed else Bound.COUNTS,
        time_conditioning=timed,
        mask_output=True,
        frame=words.end if words.is_foreign else -1,
    )
    return spec, notes


def _heads(read: _Read, shape: Shape, heads: int | None, where: str) -> int:
    told = heads_of(read.chosen.frequencies, shape.dim, where)
    chosen = heads or read.settings.heads or told
    if chosen is None and shape.dim % HEAD:
        raise UsageError(f"{where} does not say how many heads a network of width {shape.dim} has; say it with --heads")
    chosen = chosen or shape.dim // HEAD
    if told is not None and told != chosen:
        raise RunError(f"{where} has rotary positions for {told} heads, not {chosen}")
    return chosen
