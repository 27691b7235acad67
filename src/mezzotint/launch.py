"""From files of text to a trained run: `train` and `resume`.

Where a launcher started several processes (training/team.py), each reads the data and computes its share of every
batch; the first one writes the files.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialise

from mezzotint import hub
from mezzotint.checks import BISTRO, check_run, check_seed, check_sides, check_tokenizer, layout_named, plan
from mezzotint.data.batches import Batches
from mezzotint.data.corpus import Source
from mezzotint.data.lengths import Lengths
from mezzotint.data.pairs import Columns
from mezzotint.errors import DataError, RunError, UsageError
from mezzotint.prepare import Prepared, corpus_of, packed, prepare
from mezzotint.rng import Rng
from mezzotint.spec.recipe import Recipe
from mezzotint.spec.training import TrainingSpec
from mezzotint.systems import entry
from mezzotint.training import checkpoint as checkpoints
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import fill, named
from mezzotint.training.create import Beginning, create
from mezzotint.training.device import autocast, pick_device, pick_precision
from mezzotint.training.loop import Batches as Batch
from mezzotint.training.loop import Tick, Trainer
from mezzotint.training.report import report
from mezzotint.training.signals import asked_to_end
from mezzotint.training.team import ALONE, Team, join
from mezzotint.types import Canvas, Layout, System

VALIDATION_ROWS = 512


@dataclass(frozen=True)
class Progress:
    """How a training stands."""

    step: int
    fraction: float
    """0 to 1 of the run done."""
    loss: float
    """Nats per symbol, the mean since the last record."""
    lr: float
    tokens_per_second: float
    elapsed: float
    remaining: float
    """Both in seconds."""
    valid: float | None = None
    """Bound on held-out texts, nats per symbol, where it was just estimated."""
    saved: Path | None = None
    """The checkpoint just written."""
    stopped: str | None = None
    """A sentence, where a signal ended the run."""
    note: str | None = None
    """Something to be told once."""


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
    size: str = "tiny",
    minutes: float | None = None,
    max_steps: int | None = None,
    batch_size: int | None = None,
    save_every: int | None = None,
    seed: int = 0,
    device: str = "auto",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Progress]:
    """Train a system on files of text and leave a run folder at `out`; yields how it stands.

    A system that writes from a source learns from pairs: records with the fields `source` and `target`, two .txt files
    whose lines are parallel, or bistro, where the source is what a text says.

    The run ends after `max_steps`, or after `minutes` (default 10) where only those are given. It can be cut off at any
    moment and continued with `resume`. Raises the errors of `mezzotint.errors`.
    """
    out = Path(out) if Path(out).name else Path(out).absolute()
    team = join()

    def read() -> tuple[Recipe, Prepared, dict[str, Any]]:
        files.check_new(out)
        check_seed(seed)
        check_tokenizer(tokenizer)
        pick_device(device)
        recipe = plan(
            system, size, layout, settings or {},
            minutes=minutes, max_steps=max_steps, batch=batch_size, save_every=save_every,
        )  # fmt: skip
        columns = check_sides(system, data, field, layout, source, target)
        corpus = corpus_of(data, valid, field, layout_named(layout), columns)
        recipe, prepared = prepare(recipe, corpus, layout_named(layout), tokenizer)
        told: dict[str, Any] = {
            "files": _places([s.path for s in corpus.sources] or data),
            "valid": _places([s.path for s in corpus.valid_sources]) if valid else None,
            "field": field,
            "layout": layout,
            "sources": [_described(s) for s in (*corpus.sources, *corpus.valid_sources)],
            "rows": len(prepared.train),
            "valid_rows": len(prepared.valid),
            "notes": list(prepared.notes),
        }
        if columns is not None:
            told["pair"] = asdict(columns)
        return recipe, prepared, told

    recipe, prepared, told = team.ahead(read)
    team.same(
        "texts to train on",
        [[s["sha256"] for s in told["sources"]], prepared.tokenizer.fingerprint, len(prepared.train)],
    )
    with team.agreed():
        trainer = build_trainer(system, recipe, prepared.lengths, seed, device, team)
    beginning = Beginning(
        system=system, spec=recipe.spec, training=recipe.training, data=told, seed=seed,
        tokenizer=prepared.tokenizer, lengths=prepared.lengths, processes=team.size,
    )  # fmt: skip
    team.once(create, out, beginning)
    return _run(out, trainer, recipe, prepared, seed)


def resume(out: str | Path, *, device: str = "auto") -> Iterator[Progress]:
    """Go on with a run where its last checkpoint stands; yields nothing if it had reached its end."""
    out = Path(out)
    team = join()
    with team.agreed():
        finished = files.is_finished(out)
        config = check_run(out)
        if config["training"] is None:
            never = "there is no training of it to go on with; it can sample and be scored"
            raise RunError(f"{out} was imported, and {never}")
        if config.get("published"):
            raise RunError(f"{out} was published without its checkpoints; go on with the run that it was made of")
    team.same("run folders", [config["data"], config["training"], finished])
    if finished:
        return iter(())

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
        found = entry(config["system"])
        spec = files.read_spec(out, config, found.load(found.spec))
        recipe = Recipe(spec, files.read_spec(out, config, TrainingSpec, "training"))
        return prepare(recipe, corpus, layout, out / files.TOKENIZER)

    recipe, prepared = team.ahead(read)
    with team.agreed():
        trainer = build_trainer(config["system"], recipe, prepared.lengths, config["seed"], device, team)
    return _run(out, trainer, recipe, prepared, config["seed"])


def columns_of(data: Mapping[str, Any]) -> Columns | None:
    """The fields of both sides, of a run that writes from a source."""
    return Columns(**data["pair"]) if data.get("pair") is not None else None


def _places(paths: Sequence[str | Path]) -> list[str]:
    """Absolute, so that a run can be resumed from anywhere, where they are paths."""
    return [str(p) if str(p) == BISTRO or str(p).startswith(hub.SET) else str(Path(p).absolute()) for p in paths]


def _described(source: Source) -> dict[str, Any]:
    return {"path": source.path, "sha256": source.sha256, "texts": source.texts}


def _run(out: Path, trainer: Trainer, recipe: Recipe, data: Prepared, seed: int) -> Iterator[Progress]:
    """The loop of training/loop.py with files, signals and held-out texts around it."""
    team, notes = trainer.team, list(data.notes)
    with team.agreed():
        found = checkpoints.newest(out)
    team.same("checkpoints", None if found is None else found[0].counters)
    if found is not None:
        checkpoint, passed = found
        with team.agreed():
            trainer.restore(checkpoint, str(out / files.CHECKPOINTS / str(checkpoint.counters["step"])))
        notes += [f"{sentence}; going on from step {trainer.step}" for sentence in passed]
    team.once(_forget_after, out / files.LOG, trainer.step)
    yield from (_progress(trainer, note=note) for note in notes)
    advice = f"`mezzotint resume {out}` goes on from the last checkpoint"
    with asked_to_end() as caught, team.connected(advice):
        for tick in trainer.run(_batches(recipe, data, seed)):
            valid = held_out(trainer, recipe, data, seed) if tick.validate else None
            asked = int(team.most([caught[0] if caught else 0])[0])
            state = trainer.checkpoint() if tick.save or asked else None
            stopped = None
            if asked and tick.fraction < 1:
                name = signal.Signals(asked).name
                stopped = f"stopped by {name} at step {tick.step}; `mezzotint resume {out}` goes on from there"
            team.once(_write, out, tick, valid, state, stopped is not None or tick.fraction >= 1)
            saved = out / files.CHECKPOINTS / str(tick.step) if state is not None else None
            yield _progress_of(tick, valid, saved, stopped)
            if stopped:
                return


def build_trainer(
    system: str, recipe: Recipe, lengths: Lengths | None, seed: int, device: str, team: Team = ALONE
) -> Trainer:
    """A fresh system on its device, ready to be trained; UsageError if it does not fit the memory or the processes."""
    where = pick_device(device)
    rows = recipe.training.batch // recipe.training.accumulate
    if rows < team.size:
        raise UsageError(
            f"{rows} rows at once are too few for {team.size} processes; set a larger batch or fewer parts"
        )
    try:
        model: System = entry(system).load(entry(system).system)(recipe.spec, lengths)
        model.initialise(seed)
        for module in model.players.values():
            module.to(where)
        dtype = pick_precision(recipe.training.precision, where)
        trainer = Trainer(model, recipe.training, seed, where, autocast(where, dtype), team=team)
    except RuntimeError as e:
        if "memory" not in str(e):
            raise
        raise UsageError("a network of this size does not fit the memory; choose a smaller --size, dim or depth") from e
    if recipe.training.compile:
        for module in model.players.values():
            module.compile(dynamic=True)
    return trainer


def _batches(recipe: Recipe, data: Prepared, seed: int) -> Batch:
    order = Batches(data.train.sizes, recipe.training.batch, seed)

    def batch(step: int, first: int, count: int) -> Canvas:
        return packed(data.train, order.rows(step, first, count), range(first, first + count), recipe, data)

    return batch


def held_out(trainer: Trainer, recipe: Recipe, data: Prepared, seed: int) -> float:
    """Nats per symbol of up to 512 held-out rows under the averaged weights, with the same noise every time."""
    system = trainer.system
    raw = {k: v.clone() for k, v in named(system.players).items()}
    fill(system.players, trainer.ema, "the averaged weights")
    for module in system.players.values():
        module.eval()
    size = recipe.training.batch
    closing = int(data.layout is Layout.TEXTS)  # the end of a text is one more symbol
    order = sorted(range(min(len(data.valid), VALIDATION_ROWS)), key=lambda i: int(data.valid.lengths[i]))
    count = sum(int(data.valid.lengths[i]) + closing for i in order)

    def nats(begin: int) -> float:
        rows = order[begin : begin + size]
        batch = packed(data.valid, rows, rows, recipe, data).to(trainer.device)
        return float(system.nll(batch, Rng(seed, range(len(rows)), f"valid/{begin}", len(rows))).sum())

    with torch.no_grad(), trainer.autocast(), trainer.weights.whole():
        total: float = sum(trainer.team.deal(range(0, len(order), size), nats))
    fill(system.players, raw, "the raw weights")
    for module in system.players.values():
        module.train()
    return total / count


def _write(out: Path, tick: Tick, valid: float | None, state: checkpoints.Checkpoint | None, last: bool) -> None:
    """What a tick leaves in the run folder."""
    _log(out, tick, valid)
    if state is not None:
        # The model first: once a checkpoint says that the run is finished, nothing is left to be written.
        files.put(out / files.MODEL, serialise({k: v.contiguous() for k, v in state.ema.items()}))
        checkpoints.save(out, state)
    if last:
        report(out)


def _log(out: Path, tick: Tick, valid: float | None) -> None:
    record = {
        "step": tick.step, "elapsed": round(tick.elapsed, 3), "loss": tick.loss, **tick.parts,
        "lr": tick.lr, "tokens_per_second": round(tick.tokens_per_second, 1),
    }  # fmt: skip
    if valid is not None:
        record["valid"] = valid
    with (out / files.LOG).open("a") as log:
        log.write(json.dumps(record) + "\n")


def _forget_after(log: Path, step: int) -> None:
    """Drop what was logged after the checkpoint that the run goes on from."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if isinstance(record, dict) and record.get("step", step + 1) <= step:
                kept.append(line)
    files.put(log, "".join(line + "\n" for line in kept))


def _progress(trainer: Trainer, note: str) -> Progress:
    return Progress(trainer.step, trainer.fraction, float("nan"), 0.0, 0.0, trainer.elapsed, float("inf"), note=note)


def _progress_of(tick: Tick, valid: float | None, saved: Path | None, stopped: str | None) -> Progress:
    return Progress(
        tick.step, tick.fraction, tick.loss, tick.lr, tick.tokens_per_second,
        tick.elapsed, tick.remaining, valid, saved, stopped,
    )  # fmt: skip
