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
from mezzotint.importing.source import MAX_BYTES, Source, check_source, printable
from mezzotint.importing.tokenizer import tokenizer_from
from mezzotint.importing.weights import (
    WEIGHT_SETS,
    Shape,
    WeightSet,
    convert,
    heads_of,
    layout,
    never_predicts_mask,
    select_weights,
    shape_of,
)
from mezzotint.spec.mdlm import Bound, MDLMSpec
from mezzotint.spec.transformer import Gelu, TransformerSpec
from mezzotint.training import folder as files
from mezzotint.training.create import NewRun, create
from mezzotint.training.report import report
from mezzotint.types import Ending, Layout

HEAD_WIDTH = 64
"""Width of a head in every published network; taken where nothing says it."""
WINDOW = range(4, 1 << 20)
"""Numbers of tokens that a window can have."""


@dataclass(frozen=True)
class _Checkpoint:
    """The content of a checkpoint."""

    selected: WeightSet
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
    if weights is not None and weights not in WEIGHT_SETS:
        raise unknown("set of weights", weights, WEIGHT_SETS)
    located = check_source(source, tokenizer)
    checkpoint = _read_checkpoint(located, weights)
    where = str(located.path)
    shape = shape_of(checkpoint.selected.tensors, where)
    tensors = convert(checkpoint.selected.tensors, shape, located.bytes, where)
    parsed = _load_tokenizer(located, checkpoint, shape)
    spec, notes = _spec(checkpoint, shape, parsed, heads, length, where)
    imported = Imported(
        out=out,
        source=located.path,
        weights=checkpoint.selected.label,
        numbers=sum(t.numel() for t in tensors.values()),
        used={theirs: name for theirs, (name, _) in layout(shape).items()},
        ignored=checkpoint.selected.ignored,
        spec=spec,
        notes=tuple(notes),
    )
    create(out, _new_run(located, spec, parsed, tensors, imported))
    report(out)
    return imported


def _new_run(
    located: Source, spec: MDLMSpec, tokenizer: Tokenizer, tensors: Mapping[str, Tensor], imported: Imported
) -> NewRun:
    paths = [{"path": str(p.absolute()), "sha256": files.digest(p)} for p in located.weights]
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
        tokenizer=tokenizer,
        weights={f"model.{name}": tensor for name, tensor in tensors.items()},
        more={"imported": {"files": paths, "weights": imported.weights}},
        records={RECORD: imported.to_json()},
    )


def _read_checkpoint(located: Source, weights: str | None) -> _Checkpoint:
    where = str(located.path)
    if not located.pickled:
        settings = settings_of(located.config, where)
        return _Checkpoint(select_weights(_load_safetensors(located), None, weights, where), settings, None)
    state = read_pickled(located.path)
    hyper_parameters = state.get("hyper_parameters")
    settings = settings_of(located.config if hyper_parameters is None else hyper_parameters, where)
    averages = entries(entries(state).get("ema")).get("shadow_params")
    tensors = entries(state["state_dict"]) if "state_dict" in state else state
    selected = select_weights(tensors, averages if isinstance(averages, list) else None, weights, where)
    return _Checkpoint(selected, settings, _embedded_tokenizer(entries(hyper_parameters).get("tokenizer")))


def _load_safetensors(located: Source) -> dict[str, Tensor]:
    """All tensors of the .safetensors files, no name in two of them."""
    tensors: dict[str, Tensor] = {}
    for path in located.weights:
        try:
            shard = load_file(path)
        except (SafetensorError, OSError) as error:
            raise RunError(
                f"{path} is damaged, or no file of weights ({printable(error)}); expected safetensors"
            ) from None
        if duplicates := sorted(shard.keys() & tensors.keys()):
            raise RunError(f"{path} has {printable(duplicates[0])}, which another file of {located.path} has too")
        tensors |= shard
    return tensors


def _embedded_tokenizer(tokenizer: object) -> str | None:
    """The tokenizer.json in a pickled fast tokenizer of transformers; None for any other object."""
    embedded = entries(tokenizer.state).get("_tokenizer") if isinstance(tokenizer, StandIn) else None
    if (
        isinstance(embedded, EmbeddedTokenizer)
        and isinstance(embedded.state, bytes)
        and len(embedded.state) <= MAX_BYTES
    ):
        return embedded.state.decode("utf-8", "replace")
    return None


def _load_tokenizer(located: Source, checkpoint: _Checkpoint, shape: Shape) -> Tokenizer:
    size = shape.vocab - 1
    if located.tokenizer is not None:
        try:
            text = located.tokenizer.read_text(encoding="utf-8")
        except (OSError, ValueError):
            raise RunError(f"{located.tokenizer} cannot be read as a tokenizer.json") from None
        return tokenizer_from(text, str(located.tokenizer), size)
    if checkpoint.tokenizer is not None:
        return tokenizer_from(checkpoint.tokenizer, f"the tokenizer in {located.path}", size)
    hint = "; published models have that of gpt2" if size == 50257 else ""
    raise UsageError(f"{located.path} has no tokenizer with it: name a tokenizer.json with --tokenizer{hint}")


def _spec(
    checkpoint: _Checkpoint, shape: Shape, tokenizer: Tokenizer, heads: int | None, length: int | None, where: str
) -> tuple[MDLMSpec, list[str]]:
    settings = checkpoint.settings
    notes: list[str] = []
    for name, configured, actual in (
        ("width", settings.dim, shape.dim),
        ("depth", settings.depth, shape.depth),
        ("vocabulary", settings.vocab, shape.vocab),
    ):
        if configured is not None and configured != actual:
            raise RunError(f"{where} has a configuration of {name} {configured}, and weights of {name} {actual}")
    length = length or settings.length
    if length is None:
        raise UsageError(f"{where} does not say how many tokens a window has; say it, as in --length 1024")
    if length not in WINDOW:
        raise UsageError(f"no window has {length} tokens; --length must be from {WINDOW[0]} to {WINDOW[-1]}")
    if not settings.names_process:
        notes.append("nothing says what process the weights are for; they are taken for masked diffusion")
        if not never_predicts_mask(checkpoint.selected.tensors):
            notes.append("the output for the mask was trained, as masked diffusion never does: is it another process?")
    time_conditioning = bool(settings.time_conditioning)
    spec = MDLMSpec(
        vocab=shape.vocab - 1,
        canvas=length - 2 if tokenizer.is_foreign else length,
        ending=Ending.LENGTH,
        net=TransformerSpec(
            dim=shape.dim,
            depth=shape.depth,
            heads=_heads(checkpoint, shape, heads, where),
            condition=shape.condition,
            gelu=Gelu.TANH,
            tied=False,
            dropout=settings.dropout or 0.0,
        ),
        bound=Bound.TIMES if time_conditioning else Bound.COUNTS,
        time_conditioning=time_conditioning,
        mask_output=True,
        frame=tokenizer.end if tokenizer.is_foreign else -1,
    )
    return spec, notes


def _heads(checkpoint: _Checkpoint, shape: Shape, heads: int | None, where: str) -> int:
    by_rotary = heads_of(checkpoint.selected.frequencies, shape.dim, where)
    count = heads or checkpoint.settings.heads or by_rotary
    if count is None and shape.dim % HEAD_WIDTH:
        raise UsageError(f"{where} does not say how many heads a network of width {shape.dim} has; say it with --heads")
    count = count or shape.dim // HEAD_WIDTH
    if by_rotary is not None and by_rotary != count:
        raise RunError(f"{where} has rotary positions for {by_rotary} heads, not {count}")
    return count
