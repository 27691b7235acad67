"""Runs that begin with the weights of another run: students, and runs tuned to other texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mezzotint.checks import check_adapter, check_run, check_seed, located
from mezzotint.course import Progress
from mezzotint.data.canvas import room
from mezzotint.data.corpus import Corpus
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import CapabilityError, RunError, UsageError
from mezzotint.launch import TrainingInputs, source_record, start_run
from mezzotint.plans import finetune_recipe, student_recipe
from mezzotint.prepare import Prepared, corpus_of, prepare
from mezzotint.spec.base import member
from mezzotint.spec.recipe import Recipe
from mezzotint.training import folder as files
from mezzotint.training.build import Start
from mezzotint.training.checkpoint import read_tensors, read_weights
from mezzotint.training.device import pick_device
from mezzotint.training.team import join
from mezzotint.training.tuning import load_with_adapters, tuned_spec
from mezzotint.types import Layout


def distill_run(
    teacher: str | Path,
    *,
    out: str | Path,
    system: str = "didi-instruct",
    data: Sequence[str | Path] | None = None,
    field: str | None = None,
    valid: Sequence[str | Path] | None = None,
    minutes: float | None = None,
    max_steps: int | None = None,
    batch_size: int | None = None,
    save_every: int | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Progress]:
    """Train a student of a run, which starts from its weights, tokenizer, canvas and lengths; yields as `train` does.

    The texts are those that the teacher was trained on, unless `data` names others; an imported run has none. The new
    run keeps a copy of the teacher's weights and needs the teacher's folder no more.
    """
    out, team = files.output_path(out), join()
    folder = team.first_then_rest(lambda: located(teacher))

    def read() -> TrainingInputs:
        _check_arguments(out, seed, device)
        config = check_run(folder)
        weights = _weights(folder)
        if config.get("packed"):
            raise CapabilityError(f"{teacher} was quantised; a student starts from weights in full")
        recipe = student_recipe(
            system, teacher, config, settings or {},
            minutes=minutes, max_steps=max_steps, batch=batch_size, save_every=save_every,
        )  # fmt: skip
        text_files, valid_files, text_field = data, valid, field
        if text_files is None:
            if config.get("published") or not config["data"]["files"]:
                raise UsageError(f"{teacher} does not say which texts it was trained on; name some with --data")
            text_files, valid_files, text_field = (config["data"][key] for key in ("files", "valid", "field"))
        corpus, recipe, prepared = _prepare_for(folder, config, recipe, text_files, valid_files, text_field)
        return TrainingInputs(
            recipe=recipe, data=prepared, source=source_record(corpus, prepared, text_files, valid_files, text_field),
            start=Start(frozen=partial(read_weights, weights)),
            more={"teacher": {"run": str(folder.absolute()), "sha256": files.digest(weights)}},
        )  # fmt: skip

    return start_run(out, system, seed, device, team, team.first_then_rest(read))


def finetune_run(
    run: str | Path,
    *,
    out: str | Path,
    data: Sequence[str | Path],
    adapter: str = "lora",
    field: str | None = None,
    valid: Sequence[str | Path] | None = None,
    minutes: float | None = None,
    max_steps: int | None = None,
    batch_size: int | None = None,
    save_every: int | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Progress]:
    """Tune a run to other texts and leave a run folder of its own at `out`; yields as `train` does.

    Tokenizer and canvas stay those of the run; lengths are those of the new texts. `adapter`: "lora" (factors of low
    rank beside attention, merged in what is written; takes the extra `lora`), "ina" (gates), "none" (all weights).
    """
    out, team = files.output_path(out), join()
    folder = team.first_then_rest(lambda: located(run))

    def read() -> TrainingInputs:
        _check_arguments(out, seed, device)
        adapt = check_adapter(adapter)
        config = check_run(folder)
        recipe = finetune_recipe(
            folder, config, settings or {},
            minutes=minutes, max_steps=max_steps, batch=batch_size, save_every=save_every,
        )  # fmt: skip
        weights = _weights(folder)
        corpus, recipe, prepared = _prepare_for(folder, config, recipe, data, valid, field)
        recipe = replace(recipe, spec=tuned_spec(recipe.spec, adapt))
        prepared = prepared.for_tuning(room(recipe.spec.canvas, recipe.spec.ending))
        tuned = partial(load_with_adapters, tensors=read_tensors(weights), source=str(weights), adapt=adapt, seed=seed)
        origin = {"run": str(folder.absolute()), "sha256": files.digest(weights), "adapter": adapt.value}
        return TrainingInputs(
            recipe=recipe, data=prepared, source=source_record(corpus, prepared, data, valid, field),
            start=Start(tuned=tuned), more={"tuned": origin},
        )  # fmt: skip

    system = team.first_then_rest(lambda: str(check_run(folder)["system"]))
    return start_run(out, system, seed, device, team, team.first_then_rest(read))


def _check_arguments(out: Path, seed: int, device: str) -> None:
    files.check_new(out)
    check_seed(seed)
    pick_device(device)


def _prepare_for(
    folder: Path,
    config: Mapping[str, Any],
    recipe: Recipe,
    data: Sequence[str | Path],
    valid: Sequence[str | Path] | None,
    field: str | None,
) -> tuple[Corpus, Recipe, Prepared]:
    """Texts as rows of tokens of a run, with its tokenizer, layout, canvas and lengths."""
    layout = member(Layout, "layout", config["data"]["layout"])
    corpus = corpus_of(data, valid, field, layout)
    return corpus, *prepare(recipe, corpus, layout, Tokenizer.load(folder / files.TOKENIZER), folder)


def _weights(folder: Path) -> Path:
    """The file of a run's weights; RunError where there is none."""
    weights = folder / files.MODEL
    if not weights.exists():
        raise RunError(f"{weights} is missing; a trained run has one")
    return weights
