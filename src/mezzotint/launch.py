"""From files of text to a trained run: `train` and `resume`.

Where a launcher started several processes (training/team.py), each reads the data and computes its share of every
batch; the first one writes the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import nn

from mezzotint import hub
from mezzotint.backbone import Backbone, read_backbone
from mezzotint.checks import (
    AUTO,
    BISTRO,
    check_adapter,
    check_backbone,
    check_run,
    check_seed,
    check_sides,
    check_tokenizer,
    layout_named,
    located,
)
from mezzotint.controllers import train_control, unannotated
from mezzotint.course import Progress, rehearsal, run_to_end
from mezzotint.data.canvas import room
from mezzotint.data.corpus import Corpus, Source
from mezzotint.data.pairs import Columns
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import CapabilityError, DataError, RunError, UsageError
from mezzotint.plans import lesson, plan, tuning
from mezzotint.prepare import Prepared, corpus_of, prepare, tokenizer_named
from mezzotint.spec.recipe import Recipe
from mezzotint.spec.training import TrainingSpec
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.training.build import Start, build_trainer
from mezzotint.training.checkpoint import counts, named, read_tensors, read_weights
from mezzotint.training.create import Beginning, create
from mezzotint.training.device import pick_device
from mezzotint.training.loop import Trainer
from mezzotint.training.team import Team, join
from mezzotint.training.tuning import begin, plain, ready, tuned_spec
from mezzotint.types import Founded, System
from mezzotint.vectors import Vectors, kept_table, vectors_of

PART = 3
"""Of a training's minutes or steps its classifiers take one part in so many, after it."""


@dataclass(frozen=True)
class Base:
    """Networks that a system starts from."""

    fill: Callable[[Mapping[str, nn.Module]], None] | None
    """Puts their weights into the system's `frozen`."""
    record: Mapping[str, Any]
    """What a run's configuration says of them."""
    tuned: Callable[[Mapping[str, nn.Module]], None] | None = None
    """Puts them into what the system trains, with what is to be tuned."""


def train(
    system: str,
    data: Sequence[str | Path],
    *,
    out: str | Path,
    field: str | None = None,
    source: str | None = None,
    target: str | None = None,
    layout: str = "texts",
    valid: Sequence[str | Path] | None = None,
    tokenizer: str = "auto",
    backbone: str | Path | None = None,
    embeddings: str | Path | None = None,
    size: str = "tiny",
    minutes: float | None = None,
    max_steps: int | None = None,
    batch_size: int | None = None,
    save_every: int | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Mapping[str, str] | None = None,
    dry_run: bool = False,
) -> Iterator[Progress]:
    """Train a system on files of text and leave a run folder at `out`; yields how it stands.

    A system that writes from a source learns from pairs: records with the fields `source` and `target`, two .txt files
    whose lines are parallel, or bistro, where the source is what a text says.

    The run ends after `max_steps`, or after `minutes` (default 10) where only those are given. It can be cut off at any
    moment and continued with `resume`. `backbone` is the language model that a system such as adavae stands on: a run
    of ar, or GPT-2 by its name on the hub or its folder; it brings its tokenizer. `embeddings` names a run or a model
    whose vectors of tokens, and with them its tokenizer, the system is to use (vectors.py). With `dry_run` some steps
    are timed, the last record holds what the training would take, and nothing is written. Raises the errors of
    `mezzotint.errors`.
    """
    out = Path(out) if Path(out).name else Path(out).absolute()
    team = join()

    def read() -> tuple[Recipe, Prepared, dict[str, Any], Base | None]:
        if not dry_run:
            files.check_new(out)
        check_seed(seed)
        check_tokenizer(tokenizer)
        check_backbone(system, backbone, tokenizer)
        pick_device(device)
        recipe = plan(
            system, size, layout, settings or {}, embeddings is not None,
            minutes=minutes, max_steps=max_steps, batch=batch_size, save_every=save_every,
        )  # fmt: skip
        stands = None if backbone is None else read_backbone(backbone)
        vectors = None if embeddings is None else vectors_of(embeddings)
        columns = check_sides(system, data, field, layout, source, target)
        corpus = corpus_of(data, valid, field, layout_named(layout), columns)
        if stands is not None:
            recipe = stands.fitted(recipe, settings or {})
        words = _tokenizer(tokenizer, corpus, vectors, stands)
        recipe, prepared = prepare(recipe, corpus, layout_named(layout), words)
        told = _source(corpus, prepared, data, valid, field)
        if columns is not None:
            told["pair"] = asdict(columns)
        if vectors is not None:
            prepared = replace(prepared, table=vectors.of(recipe.spec))
            told["embeddings"] = vectors.origin(recipe.spec)
        base = None if stands is None else Base(stands.fill, {"backbone": stands.record})
        return recipe, prepared, told, base

    return _begun(None if dry_run else out, system, seed, device, team, *team.ahead(read))


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
    out = Path(out) if Path(out).name else Path(out).absolute()
    team = join()
    folder = team.ahead(lambda: located(teacher))

    def read() -> tuple[Recipe, Prepared, dict[str, Any], Base]:
        files.check_new(out)
        check_seed(seed)
        pick_device(device)
        config = check_run(folder)
        weights = _weights(folder)
        if config.get("packed"):
            raise CapabilityError(f"{teacher} was quantised; a student starts from weights in full")
        recipe = lesson(
            system, teacher, config, settings or {},
            minutes=minutes, max_steps=max_steps, batch=batch_size, save_every=save_every,
        )  # fmt: skip
        texts, held, named_field = data, valid, field
        if texts is None:
            if config.get("published") or not config["data"]["files"]:
                raise UsageError(f"{teacher} does not say which texts it was trained on; name some with --data")
            texts, held, named_field = (config["data"][key] for key in ("files", "valid", "field"))
        corpus = corpus_of(texts, held, named_field, layout_named(config["data"]["layout"]))
        words = Tokenizer.load(folder / files.TOKENIZER)
        recipe, prepared = prepare(recipe, corpus, layout_named(config["data"]["layout"]), words, folder)
        told = {"teacher": {"run": str(folder.absolute()), "sha256": files.digest(weights)}}
        base = Base(partial(read_weights, weights), told)
        return recipe, prepared, _source(corpus, prepared, texts, held, named_field), base

    return _begun(out, system, seed, device, team, *team.ahead(read))


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
    out = Path(out) if Path(out).name else Path(out).absolute()
    team = join()
    folder = team.ahead(lambda: located(run))

    def read() -> tuple[Recipe, Prepared, dict[str, Any], Base]:
        files.check_new(out)
        check_seed(seed)
        pick_device(device)
        adapt = check_adapter(adapter)
        config = check_run(folder)
        recipe = tuning(
            folder, config, settings or {},
            minutes=minutes, max_steps=max_steps, batch=batch_size, save_every=save_every,
        )  # fmt: skip
        weights = _weights(folder)
        layout = layout_named(config["data"]["layout"])
        corpus = corpus_of(data, valid, field, layout)
        words = Tokenizer.load(folder / files.TOKENIZER)
        recipe, prepared = prepare(recipe, corpus, layout, words, folder)
        recipe = replace(recipe, spec=tuned_spec(recipe.spec, adapt))
        spec: Any = recipe.spec
        prepared = prepared.tuned(room(spec.canvas, spec.ending))
        told = {"tuned": {"run": str(folder.absolute()), "sha256": files.digest(weights), "adapter": adapt.value}}
        tensors = read_tensors(weights)
        base = Base(None, told, partial(begin, tensors=tensors, source=str(weights), adapt=adapt, seed=seed))
        return recipe, prepared, _source(corpus, prepared, data, valid, field), base

    system = team.ahead(lambda: str(check_run(folder)["system"]))
    return _begun(out, system, seed, device, team, *team.ahead(read))


def _weights(folder: Path) -> Path:
    """The file of a run's weights; RunError where there is none."""
    weights = folder / files.MODEL
    if not weights.exists():
        raise RunError(f"{weights} is missing; a trained run has one")
    return weights


def _begun(
    out: Path | None,
    system: str,
    seed: int,
    device: str,
    team: Team,
    recipe: Recipe,
    prepared: Prepared,
    told: Mapping[str, Any],
    base: Base | None = None,
) -> Iterator[Progress]:
    """A new run folder, and its training; without a folder, what the training would take."""
    team.same(
        "texts to train on",
        [[s["sha256"] for s in told["sources"]], prepared.tokenizer.fingerprint, len(prepared.train)],
    )
    team.same("vectors of tokens", prepared.table is not None and sha256(prepared.table.numpy().tobytes()).hexdigest())
    with team.agreed():
        start = Start(prepared.table) if base is None else Start(prepared.table, base.fill, base.tuned)
        trainer = build_trainer(system, recipe, prepared.lengths, seed, device, team, start)
    if out is None:
        return rehearsal(trainer, recipe, prepared, seed)
    model = trainer.system
    beginning = Beginning(
        system=system, spec=recipe.spec, training=recipe.training, data=told, seed=seed,
        tokenizer=prepared.tokenizer, lengths=prepared.lengths, table=prepared.table, processes=team.size,
        frozen=named(model.frozen) if base is not None and isinstance(model, Founded) else None,
        more={} if base is None else base.record,
    )  # fmt: skip
    team.once(create, out, beginning)
    if base is not None:
        prepared = replace(prepared, notes=(*prepared.notes, _shares(model)))
    return _to_the_end(out, trainer, recipe, prepared, seed, told)


def _to_the_end(
    out: Path, trainer: Trainer, recipe: Recipe, prepared: Prepared, seed: int, source: Mapping[str, Any]
) -> Iterator[Progress]:
    """The training, and that of the system's classifiers where it has some and the texts are annotated."""
    if not trainer.system.card.classifiers:
        return run_to_end(out, trainer, recipe, prepared, seed)
    why = (
        "one process trains them, and several were launched"
        if trainer.team.size > 1
        else unannotated(source["files"], source["field"])
    )
    sentence = f"no classifiers are trained for control ({why}); `mezzotint train-control {out} --data FILE` does it"
    if why is None:
        sentence = f"then its classifiers are trained, for 1/{PART} of this training"
        if prepared.tokenizer.kind != "word":
            sentence += "; of parts of speech and phrases with --tokenizer word only, since these are of words"
    prepared = replace(prepared, notes=(*prepared.notes, sentence))
    records = run_to_end(out, trainer, recipe, prepared, seed)
    return records if why is not None else _with_classifiers(records, out, trainer, prepared.tokenizer, source)


def _with_classifiers(
    records: Iterator[Progress], out: Path, trainer: Trainer, words: Tokenizer, source: Mapping[str, Any]
) -> Iterator[Progress]:
    """The records of a training and, unless it was stopped, those of its classifiers'."""
    for record in records:
        yield record
        if record.stopped is not None:
            return
    plain(trainer.system.players)
    read_weights(out / files.MODEL, trainer.system.players)
    for module in trainer.system.players.values():
        module.eval().requires_grad_(False)
    asked = trainer.spec
    yield from train_control(
        out, trainer.system, words, trainer.device, source["files"], field=source["field"], seed=trainer.seed,
        minutes=asked.minutes / PART, max_steps=max(1, asked.max_steps // PART) if asked.max_steps else None,
    )  # fmt: skip


def _source(
    corpus: Corpus,
    prepared: Prepared,
    data: Sequence[str | Path],
    valid: Sequence[str | Path] | None,
    field: str | None,
) -> dict[str, Any]:
    """Where the text came from, as a run's configuration has it."""
    return {
        "files": _places([s.path for s in corpus.sources] or data),
        "valid": _places([s.path for s in corpus.valid_sources]) if valid else None,
        "field": field,
        "layout": prepared.layout.value,
        "sources": [_described(s) for s in (*corpus.sources, *corpus.valid_sources)],
        "rows": len(prepared.train),
        "valid_rows": len(prepared.valid),
        "notes": list(prepared.notes),
    }


def resume(out: str | Path, *, device: str = "auto") -> Iterator[Progress]:
    """Go on with a run where its last checkpoint stands; yields nothing if it had reached its end.

    RunError where there is nothing to go on from: weights are never trained over.
    """
    out = Path(out)
    team = join()
    with team.agreed():
        finished = files.is_finished(out)
        config = check_run(out)
        if config["training"] is None:
            never = "there is no training of it to go on with; it can sample and be scored"
            raise RunError(f"{out} was {'quantised' if config.get('packed') else 'imported'}, and {never}")
        if config.get("published"):
            raise RunError(f"{out} was published without its checkpoints; go on with the run that it was made of")
        if not files.steps_saved(out) and (out / files.MODEL).exists():
            raise RunError(f"{out} has weights but no checkpoint to go on from; they stay as they are")
    team.same("run folders", [config["data"], config["training"], finished])
    if finished:
        return iter(())
    found = entry(config["system"])

    def read() -> tuple[Recipe, Prepared]:
        source = config["data"]
        layout = layout_named(source["layout"])
        try:
            corpus = corpus_of(source["files"], source["valid"], source["field"], layout, columns_of(source))
        except DataError as e:
            raise DataError(f"{out} cannot go on without the text that it was trained on: {e}") from None
        for then, now in zip(source["sources"], (*corpus.sources, *corpus.valid_sources), strict=True):
            if then["sha256"] != now.sha256:
                raise DataError(f"{now.path} has changed since the run began; put the old file back, or train anew")
        spec = files.read_spec(out, config, found.load(found.spec))
        recipe = Recipe(spec, files.read_spec(out, config, TrainingSpec, "training"))
        recipe, prepared = prepare(recipe, corpus, layout, Tokenizer.load(out / files.TOKENIZER), out)
        return recipe, replace(prepared, table=kept_table(out) if source.get("embeddings") else None)

    recipe, prepared = team.ahead(read)
    with team.agreed():
        card = found.load(found.card)
        starts = card.teachers or card.backbone
        start = Start(prepared.table, partial(read_weights, out / files.FROZEN) if starts else None, _again(config))
        trainer = build_trainer(config["system"], recipe, prepared.lengths, config["seed"], device, team, start)
    return _to_the_end(out, trainer, recipe, prepared, config["seed"], config["data"])


def _again(config: Mapping[str, Any]) -> Callable[[Mapping[str, nn.Module]], None] | None:
    """What makes fresh networks ready for the checkpoint of a run that is being tuned."""
    if "tuned" not in config:
        return None
    return partial(ready, adapt=check_adapter(config["tuned"]["adapter"]), seed=config["seed"])


def _tokenizer(name: str, corpus: Corpus, vectors: Vectors | None, base: Backbone | None) -> Tokenizer:
    """The tokenizer that --tokenizer names; a backbone's own; where vectors are given theirs, unless another is asked
    for."""
    if base is not None:
        return base.tokenizer if isinstance(base.tokenizer, Tokenizer) else tokenizer_named(base.tokenizer, corpus)
    if vectors is None:
        return tokenizer_named(name, corpus)
    return vectors.tokens(None if name == AUTO else tokenizer_named(name, corpus))


def columns_of(data: Mapping[str, Any]) -> Columns | None:
    """The fields of both sides, of a run that writes from a source."""
    return Columns(**data["pair"]) if data.get("pair") is not None else None


def _places(paths: Sequence[str | Path]) -> list[str]:
    """Absolute, so that a run can be resumed from anywhere, where they are paths."""
    return [str(p) if str(p) == BISTRO or str(p).startswith(hub.SET) else str(Path(p).absolute()) for p in paths]


def _described(source: Source) -> dict[str, Any]:
    return {"path": source.path, "sha256": source.sha256, "texts": source.texts}


def _shares(system: System) -> str:
    trained, frozen = counts(system)
    share = f" ({trained / frozen:.2%})" if frozen else ""
    return f"{trained:,} numbers are trained, beside {frozen:,} that stay as they are{share}"
