"""The recipe of a training, made before its data is read: bad settings are refused early, and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mezzotint.errors import CapabilityError, UsageError
from mezzotint.spec.base import Size, member
from mezzotint.spec.recipe import Corpus, Recipe
from mezzotint.spec.sed import Table
from mezzotint.spec.transformer import SHAPES
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.types import Can, Card, Ending, Layout, NetSpec


def plan(
    system: str, size: str, layout: str, settings: Mapping[str, str], embeddings: bool = False, **training: Any
) -> Recipe:
    """The recipe as far as it does not depend on the data; bad settings are refused here, early.

    `embeddings`: whether vectors of tokens are given, which then are the spec's pretrained table. `training` takes
    fields of TrainingSpec; those that are None are left to the recipe.
    """
    known_size, known_layout = member(Size, "size", size), member(Layout, "layout", layout)
    shape = SHAPES[known_size]
    if entry(system).load(entry(system).card).teachers:
        raise UsageError(f"{system} starts from a trained run, not from texts alone; use `mezzotint distill RUN`")
    make_recipe = entry(system).load(entry(system).recipe)
    recipe: Recipe = make_recipe(known_size, Corpus(vocab=1, canvas=shape.canvas, layout=known_layout))
    recipe = _with_table(system, recipe, settings, embeddings)
    ending = recipe.spec.ending
    if known_layout is Layout.WINDOWS and ending is not Ending.LENGTH:
        raise UsageError(f"ending '{ending.value}' is for texts; windows are all of one length")
    return _with_training(recipe, training)


def student_recipe(
    system: str, teacher: str | Path, config: Mapping[str, Any], settings: Mapping[str, str], **training: Any
) -> Recipe:
    """The recipe of a student of a run: what both their specs name is the teacher's, the rest the system's own.

    `training` as for `plan`. CapabilityError or UsageError where the run can be no teacher of that system, or a setting
    is the teacher's.
    """
    student = entry(system)
    card: Card = student.load(student.card)
    if config["system"] not in card.teachers:
        able = ", ".join(sorted(card.teachers)) or "nobody; it is trained with `mezzotint train`"
        raise CapabilityError(f"{teacher} is a run of {config['system']}, and {card.name} learns from {able}")
    spec = _spec_of(teacher, config, settings, "the student starts from")
    own = _recipe_like(system, spec, config)
    fields = own.spec.to_json()
    shared = {name: value for name, value in spec.to_json().items() if name in fields}
    recipe = Recipe(type(own.spec).from_json({**fields, **shared}), own.training)
    return _with_training(recipe.with_settings(settings), training)


def finetune_recipe(run: str | Path, config: Mapping[str, Any], settings: Mapping[str, str], **training: Any) -> Recipe:
    """The recipe by which a trained run is tuned to other texts: its spec, and a training of its size.

    `training` as for `plan`. CapabilityError where it cannot be tuned, UsageError for a setting that is the run's.
    """
    run_entry = entry(config["system"])
    card: Card = run_entry.load(run_entry.card)
    if config.get("packed"):
        raise CapabilityError(f"{run} was quantised; only weights in full can be tuned")
    if card.teachers or card.backbone or Can.TRANSLATE in card.can:
        raise CapabilityError(f"{card.name} cannot be tuned; runs of systems that stand by themselves can")
    spec = _spec_of(run, config, settings, "is tuned")
    training_spec = _recipe_like(card.name, spec, config).training
    return _with_training(Recipe(spec, training_spec).with_settings(settings), training)


def check_settings(
    system: str,
    size: str = "tiny",
    settings: Mapping[str, str] | None = None,
    layout: str = "texts",
    embeddings: bool = False,
) -> None:
    """UsageError unless the system, the size, the layout and every setting exist and fit together."""
    plan(system, size, layout, settings or {}, embeddings)


def check_quantized(system: str) -> None:
    """CapabilityError for a system that cannot be trained with quantised weights."""
    if "quantize" not in entry(system).load(entry(system).spec).settings():
        raise CapabilityError(
            f"{system} is trained with weights in full; qe-cdlm takes --quantize, and `mezzotint quantize` any run"
        )


def _spec_of(run: str | Path, config: Mapping[str, Any], settings: Mapping[str, str], role: str) -> NetSpec:
    """The spec of a run; UsageError where one of the settings is a field of it. `role`: what the run is, for that."""
    run_entry = entry(config["system"])
    spec: NetSpec = files.read_spec(Path(run), config, run_entry.load(run_entry.spec))
    for name in settings:
        if name in spec.settings():
            raise UsageError(f"{name} is as in {run}, which {role}; it cannot be set")
    return spec


def _recipe_like(system: str, spec: NetSpec, config: Mapping[str, Any]) -> Recipe:
    """A system's own recipe for the data and the width of a run."""
    corpus = Corpus(spec.vocab, spec.canvas, member(Layout, "layout", config["data"]["layout"]))
    recipe: Recipe = entry(system).load(entry(system).recipe)(_size_of(spec.net.dim), corpus)
    return recipe


def _size_of(width: int) -> Size:
    """The largest size whose networks are no wider; the smallest where all are."""
    return max((s for s in Size if SHAPES[s].dim <= width), key=lambda s: SHAPES[s].dim, default=Size.TINY)


def _with_training(recipe: Recipe, training: Mapping[str, Any]) -> Recipe:
    given = {name: value for name, value in training.items() if value is not None}
    return Recipe(recipe.spec, replace(recipe.training, **given))


def _with_table(system: str, recipe: Recipe, settings: Mapping[str, str], embeddings: bool) -> Recipe:
    """The recipe with these settings, its table pretrained exactly where vectors are given."""
    takes_vectors = {"table", "width"} <= set(recipe.spec.settings())
    if not embeddings:
        recipe = recipe.with_settings(settings)
        spec: Any = recipe.spec
        if takes_vectors and spec.table is Table.PRETRAINED:
            raise UsageError("table=pretrained needs vectors: name a run or a model with --embeddings")
        return recipe
    if not takes_vectors:
        raise UsageError(f"{system} takes no vectors of others; leave embeddings out")
    pretrained = Table.PRETRAINED.value
    if settings.get("table", pretrained) != pretrained:
        raise UsageError(f"embeddings are a pretrained table, not a {settings['table']} one; leave one of them out")
    return recipe.with_settings({**settings, "table": pretrained})
