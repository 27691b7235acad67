"""From files of text to a trained run: `train` and `resume`.

Where a launcher started several processes (training/team.py), each reads the data and computes its share of every
batch; the first one writes the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
)
from mezzotint.classifiers import train_to_end
from mezzotint.course import Progress, dry_run
from mezzotint.data.corpus import Corpus
from mezzotint.data.pairs import Columns
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import DataError, RunError
from mezzotint.plans import plan
from mezzotint.prepare import Prepared, corpus_of, prepare, tokenizer_named
from mezzotint.spec.base import member
from mezzotint.spec.recipe import Recipe
from mezzotint.spec.training import TrainingSpec
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.training.build import Start, build_trainer
from mezzotint.training.checkpoint import named, parameter_counts, read_weights
from mezzotint.training.create import NewRun, create
from mezzotint.training.device import pick_device
from mezzotint.training.team import Team, join
from mezzotint.training.tuning import add_adapters
from mezzotint.types import HasFrozen, Layout, System
from mezzotint.vectors import Vectors, kept_table, vectors_of


@dataclass(frozen=True, kw_only=True)
class TrainingInputs:
    """All that a new run is trained from."""

    recipe: Recipe
    data: Prepared
    source: Mapping[str, Any]
    """Where the text came from, as the run's configuration has it."""
    start: Start = field(default_factory=Start)
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the configuration: what the run starts from."""


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
    out, team = files.output_path(out), join()

    def read() -> TrainingInputs:
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
        base = None if backbone is None else read_backbone(backbone)
        vectors = None if embeddings is None else vectors_of(embeddings)
        columns = check_sides(system, data, field, layout, source, target)
        corpus = corpus_of(data, valid, field, member(Layout, "layout", layout), columns)
        if base is not None:
            recipe = base.fit_recipe(recipe, settings or {})
        chosen = _tokenizer(tokenizer, corpus, vectors, base)
        recipe, prepared = prepare(recipe, corpus, member(Layout, "layout", layout), chosen)
        text_source = source_record(corpus, prepared, data, valid, field)
        if columns is not None:
            text_source["pair"] = asdict(columns)
        table = None
        if vectors is not None:
            table = vectors.table_for(recipe.spec)
            text_source["embeddings"] = vectors.record(recipe.spec)
        more = {} if base is None else {"backbone": base.record}
        start = Start(table, None if base is None else base.fill)
        return TrainingInputs(recipe=recipe, data=prepared, source=text_source, start=start, more=more)

    return start_run(None if dry_run else out, system, seed, device, team, team.first_then_rest(read))


def start_run(
    out: Path | None, system: str, seed: int, device: str, team: Team, inputs: TrainingInputs
) -> Iterator[Progress]:
    """A new run folder, and its training; without a folder, what the training would take."""
    recipe, data, start = inputs.recipe, inputs.data, inputs.start
    texts = [[source["sha256"] for source in inputs.source["sources"]], data.tokenizer.fingerprint, len(data.train)]
    team.check_equal("texts to train on", texts)
    table = start.table
    team.check_equal("vectors of tokens", table is not None and sha256(table.numpy().tobytes()).hexdigest())
    with team.fail_together():
        trainer = build_trainer(system, recipe, data.lengths, seed, device, team, start)
    if out is None:
        return dry_run(trainer, data)
    model = trainer.system
    run = NewRun(
        system=system, spec=recipe.spec, training=recipe.training, data=inputs.source, seed=seed,
        tokenizer=data.tokenizer, lengths=data.lengths, table=table, processes=team.size,
        frozen=named(model.frozen) if isinstance(model, HasFrozen) else None, more=inputs.more,
    )  # fmt: skip
    team.on_first(create, out, run)
    if start.frozen is not None or start.tuned is not None:
        data = replace(data, notes=(*data.notes, _parameter_note(model)))
    return train_to_end(out, trainer, data, inputs.source)


def source_record(
    corpus: Corpus,
    prepared: Prepared,
    data: Sequence[str | Path],
    valid: Sequence[str | Path] | None,
    field: str | None,
) -> dict[str, Any]:
    """Where the text came from, as a run's configuration has it."""
    return {
        "files": _absolute([s.path for s in corpus.sources] or data),
        "valid": _absolute([s.path for s in corpus.valid_sources]) if valid else None,
        "field": field,
        "layout": prepared.layout.value,
        "sources": [asdict(s) for s in (*corpus.sources, *corpus.valid_sources)],
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
    with team.fail_together():
        finished = files.is_finished(out)
        config = check_run(out)
        if config["training"] is None:
            origin = "quantised" if config.get("packed") else "imported"
            raise RunError(
                f"{out} was {origin}, and there is no training of it to go on with; it can sample and be scored"
            )
        if config.get("published"):
            raise RunError(f"{out} was published without its checkpoints; go on with the run that it was made of")
        if not files.steps_saved(out) and (out / files.MODEL).exists():
            raise RunError(f"{out} has weights but no checkpoint to go on from; they stay as they are")
    team.check_equal("run folders", [config["data"], config["training"], finished])
    if finished:
        return iter(())
    system = entry(config["system"])

    def read() -> tuple[Recipe, Prepared]:
        source = config["data"]
        layout = member(Layout, "layout", source["layout"])
        try:
            corpus = corpus_of(source["files"], source["valid"], source["field"], layout, columns_of(source))
        except DataError as e:
            raise DataError(f"{out} cannot go on without the text that it was trained on: {e}") from None
        for recorded, file in zip(source["sources"], (*corpus.sources, *corpus.valid_sources), strict=True):
            if recorded["sha256"] != file.sha256:
                raise DataError(f"{file.path} has changed since the run began; put the old file back, or train anew")
        spec = files.read_spec(out, config, system.load(system.spec))
        recipe = Recipe(spec, files.read_spec(out, config, TrainingSpec, "training"))
        return prepare(recipe, corpus, layout, Tokenizer.load(out / files.TOKENIZER), out)

    recipe, prepared = team.first_then_rest(read)
    with team.fail_together():
        card = system.load(system.card)
        frozen = partial(read_weights, out / files.FROZEN) if card.teachers or card.backbone else None
        table = kept_table(out) if config["data"].get("embeddings") else None
        start = Start(table, frozen, _adapter_setup(config))
        trainer = build_trainer(config["system"], recipe, prepared.lengths, config["seed"], device, team, start)
    return train_to_end(out, trainer, prepared, config["data"])


def _adapter_setup(config: Mapping[str, Any]) -> Callable[[Mapping[str, nn.Module]], None] | None:
    """What adds adapters to fresh networks, as the checkpoint of a run that is being tuned has them."""
    if "tuned" not in config:
        return None
    return partial(add_adapters, adapt=check_adapter(config["tuned"]["adapter"]), seed=config["seed"])


def _tokenizer(name: str, corpus: Corpus, vectors: Vectors | None, base: Backbone | None) -> Tokenizer:
    """The backbone's own, else that of the given vectors, else the one that --tokenizer names.

    UsageError if another is named than that of the vectors.
    """
    if base is not None:
        return base.tokenizer if isinstance(base.tokenizer, Tokenizer) else tokenizer_named(base.tokenizer, corpus)
    if vectors is None:
        return tokenizer_named(name, corpus)
    return vectors.check_tokenizer(None if name == AUTO else tokenizer_named(name, corpus))


def columns_of(data: Mapping[str, Any]) -> Columns | None:
    """The fields of both sides, of a run that writes from a source."""
    return Columns(**data["pair"]) if data.get("pair") is not None else None


def _absolute(paths: Sequence[str | Path]) -> list[str]:
    """Absolute, so that a run can be resumed from anywhere, where they are paths."""
    return [str(p) if str(p) == BISTRO or str(p).startswith(hub.SET) else str(Path(p).absolute()) for p in paths]


def _parameter_note(system: System) -> str:
    trained, frozen = parameter_counts(system)
    share = f" ({trained / frozen:.2%})" if trained < frozen else ""  # of a student it says nothing
    return f"{trained:,} numbers are trained, beside {frozen:,} that stay as they are{share}"
