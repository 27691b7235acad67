"""What can be checked, named or refused before torch is loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mezzotint import hub
from mezzotint.data.corpus import check
from mezzotint.data.pairs import Columns, check_columns
from mezzotint.errors import CapabilityError, RunError, UsageError, unknown
from mezzotint.spec.base import Size
from mezzotint.spec.recipe import Corpus, Recipe
from mezzotint.spec.transformer import SHAPES
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.types import Can, Card, Decoder, Ending, Layout

BISTRO = "bistro"
"""As --data, the bundled corpus."""
KINDS = ("auto", "word", "bpe")
"""As --tokenizer, what is trained on the text."""


def check_data(data: Sequence[str | Path]) -> None:
    """DataError or UsageError unless everything named is a readable file of a known kind or a data set of a hub."""
    if list(map(str, data)) != [BISTRO]:
        check(data)


def check_sides(
    system: str, data: Sequence[str | Path], field: str | None, layout: str, source: str | None, target: str | None
) -> Columns | None:
    """The fields of both sides for a system that writes from a source; None for one that does not.

    UsageError unless what is said of fields is what such a system learns from.
    """
    found = entry(system)
    card: Card = found.load(found.card)
    if Can.TRANSLATE not in card.can:
        if source is not None or target is not None:
            able = f"{card.name} writes texts by themselves"
            raise UsageError(f"{able}; leave --source and --target out, and name the text with --field")
        return None
    if field is not None:
        raise UsageError(f"{card.name} writes from a source: name both fields, with --source and --target")
    if layout_named(layout) is Layout.WINDOWS:
        raise UsageError(f"{card.name} writes a text from its source; leave --layout windows out")
    if list(map(str, data)) == [BISTRO]:
        if source is not None or target is not None:
            raise UsageError("in bistro the source is the fields of a text; leave --source and --target out")
        return Columns()
    columns = Columns(source, target)
    check_columns(data, columns)
    return columns


def located(run: str | Path, revision: str | None = None) -> Path:
    """The folder of a run: a path as it is, `owner/name` or `owner/name@revision` as fetched from the hub.

    What exists here is a path, and so is what has its first part here: a slip in `runs/reviews` asks nobody. Raises
    HubError, RunError where the repository holds no run, UsageError for the revision of a folder.
    """
    asked = hub.parse(str(run))
    if asked is None or Path(run).exists() or Path(Path(run).parts[0]).exists():
        if revision is not None:
            raise UsageError(f"{run} is a folder here, and folders have no revisions; leave revision out")
        return Path(run)
    name, named = asked
    folder = hub.fetch(name, files.PUBLISHED, revision or named)
    try:
        files.read_config(folder)
    except RunError as e:
        raise RunError(f"{name} on the hub is no run of Mezzotint: {e}") from None
    return folder


def check_tokenizer(name: str) -> None:
    """UsageError unless it is a kind that can be trained, a path that is there, or could be a name on a hub."""
    if name in KINDS or (name and Path(name).exists()) or hub.parse(name) is not None:
        return
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII) or get_close_matches(name, KINDS, n=1):
        raise unknown("tokenizer", name, KINDS)


def check_run(path: str | Path) -> Mapping[str, Any]:
    """The configuration of a run, found as `located` finds it; RunError unless there is one of a known system there."""
    config = files.read_config(located(path))
    try:
        entry(config["system"])
    except UsageError as e:
        raise RunError(f"{path} is a run of '{config['system']}': {e}") from None
    return config


def decoder_named(name: Decoder | str) -> Decoder:
    """The decoder of that name; UsageError with the nearest spelling."""
    try:
        return Decoder(name)
    except ValueError:
        raise unknown("decoder", str(name), [decoder.value for decoder in Decoder]) from None


def check_decoder(card: Card, decoder: Decoder, threshold: float | None, strength: float | None) -> None:
    """CapabilityError unless a system can write by this rule, UsageError unless its options are this rule's."""
    if decoder not in card.decoders:
        able = ", ".join(sorted(other.value for other in card.decoders))
        raise CapabilityError(f"{card.name} has no decoder '{decoder.value}'; it has {able}")
    if threshold is not None and decoder is not Decoder.THRESHOLD:
        raise UsageError(f"threshold is for decoder 'threshold', not for '{decoder.value}'")
    if strength is not None and decoder not in (Decoder.REMASK, Decoder.REMASK_RESCALED):
        raise UsageError(f"strength is for decoders 'remask' and 'remask-rescaled', not for '{decoder.value}'")


def check_length(card: Card, config: Mapping[str, Any], length: int | None, block: int | None, reuse: bool) -> None:
    """CapabilityError or UsageError unless a run can write texts of `length` tokens; None asks for nothing."""
    if length is None:
        if block is not None or reuse:
            raise UsageError("block and reuse are for texts of a length that was asked for; give length too")
        return
    if Can.LONG not in card.can:
        raise CapabilityError(f"{card.name} cannot write texts longer than its canvas; leave length out")
    if config["data"].get("layout") != Layout.WINDOWS.value:
        raise CapabilityError(
            "this run has learned how long its texts are; only a run of --layout windows can be asked for a length"
        )
    canvas = config["spec"]["canvas"]
    if length <= canvas:
        raise UsageError(f"length must be more than the {canvas} tokens that this run writes at once, not {length}")
    if block is not None and not 1 <= block <= canvas:
        raise UsageError(f"block must be from 1 to the {canvas} tokens that this run writes at once, not {block}")


def next_out(system: str, data: Sequence[str | Path]) -> Path:
    """runs/<system>-<data>-<n> with the first free n."""
    stem = re.split(r"[.@#:\[]", Path(data[0]).name)[0]
    n = 1
    while (out := Path("runs") / f"{system}-{stem}-{n}").exists():
        n += 1
    return out


def size_named(name: str) -> Size:
    """The size of that name; UsageError with the nearest spelling."""
    try:
        return Size(name)
    except ValueError:
        raise unknown("size", name, [s.value for s in Size]) from None


def layout_named(name: str) -> Layout:
    """The layout of that name; UsageError with the nearest spelling."""
    try:
        return Layout(name)
    except ValueError:
        raise unknown("layout", name, [layout.value for layout in Layout]) from None


def plan(system: str, size: str, layout: str, settings: Mapping[str, str], **training: Any) -> Recipe:
    """The recipe with everything set that does not depend on the data: for refusing bad settings early.

    `training` takes fields of TrainingSpec; those that are None are left to the recipe.
    """
    shape = SHAPES[size_named(size)]
    make = entry(system).load(entry(system).recipe)
    recipe: Recipe = make(size_named(size), Corpus(vocab=1, canvas=shape.canvas, layout=layout_named(layout)))
    recipe = recipe.with_settings(settings)
    spec: Any = recipe.spec
    if layout_named(layout) is Layout.WINDOWS and spec.ending is not Ending.LENGTH:
        raise UsageError(f"ending '{spec.ending.value}' is for texts; windows are all of one length")
    chosen = {k: v for k, v in training.items() if v is not None}
    return Recipe(recipe.spec, replace(recipe.training, **chosen))


def check_seed(seed: int) -> None:
    """UsageError unless torch and numpy can both be seeded with it."""
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UsageError(f"seed must be a whole number from 0 to {2**31 - 1}, not {seed!r}")


def check_settings(
    system: str, size: str = "tiny", settings: Mapping[str, str] | None = None, layout: str = "texts"
) -> None:
    """UsageError unless the system, the size, the layout and every setting exist and fit together."""
    plan(system, size, layout, settings or {})
