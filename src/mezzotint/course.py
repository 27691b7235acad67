"""A training from its folder's state to its end: the loop of training/loop.py with files, signals and held-out texts.

Where a launcher started several processes (training/team.py), each computes its share of every batch; the first one
writes the files.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save as serialise

from mezzotint.data.batches import Batches
from mezzotint.errors import RunError
from mezzotint.prepare import Prepared, batch_canvas
from mezzotint.rng import Rng
from mezzotint.training import checkpoint as checkpoints
from mezzotint.training import folder as files
from mezzotint.training.best import Best
from mezzotint.training.checkpoint import fill, named
from mezzotint.training.forecast import Forecast, forecast
from mezzotint.training.loop import Batches as Batch
from mezzotint.training.loop import Tick, Trainer
from mezzotint.training.report import report
from mezzotint.training.signals import catch_signals
from mezzotint.training.tuning import merge_lora
from mezzotint.types import Canvas, Layout, Monitored

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
    """A sentence that is shown once."""
    forecast: Forecast | None = None
    """What the training would take, where only that was asked."""


def run_to_end(out: Path, trainer: Trainer, data: Prepared) -> Iterator[Progress]:
    """Train from the last checkpoint in the folder, if there is one; yields how it stands."""
    team, notes, warned = trainer.team, list(data.notes), set[str]()
    with team.fail_together():
        newest = checkpoints.newest(out)
    team.check_equal("checkpoints", None if newest is None else newest[0].counters)
    if newest is not None:
        checkpoint, skipped = newest
        with team.fail_together():
            trainer.restore(checkpoint, str(out / files.CHECKPOINTS / str(checkpoint.counters["step"])))
        notes += [f"{sentence}; going on from step {trainer.step}" for sentence in skipped]
    best = Best(out, trainer.spec.average_best)
    team.on_first(_forget_after, out / files.LOG, best, trainer.step)
    yield from (progress_note(trainer, note) for note in notes)
    advice = f"`mezzotint resume {out}` goes on from the last checkpoint"
    with catch_signals() as caught, team.connected(advice):
        for tick in trainer.run(_batches(trainer, data)):
            valid = validation_loss(trainer, data) if tick.validate else None
            signal_number = int(team.max([caught[0] if caught else 0])[0])
            state = trainer.checkpoint() if tick.save or signal_number else None
            candidate = trainer.averaged() if tick.validate and best.count else None
            stopped = None
            if signal_number and tick.fraction < 1:
                name = signal.Signals(signal_number).name
                stopped = f"stopped by {name} at step {tick.step}; `mezzotint resume {out}` goes on from there"
            if candidate is not None and valid is not None:
                team.on_first(best.add, tick.step, valid, candidate)
            team.on_first(_write, out, tick, valid, state, best, stopped is not None or tick.fraction >= 1)
            saved = out / files.CHECKPOINTS / str(tick.step) if state is not None else None
            yield from (progress_note(trainer, note) for note in _warnings(trainer, tick, warned))
            yield progress_at(tick, valid, saved, stopped)
            if stopped:
                return


def dry_run(trainer: Trainer, data: Prepared) -> Iterator[Progress]:
    """The notes on the data, and one record with a forecast of the training; nothing is written."""
    yield from (progress_note(trainer, note) for note in data.notes)
    batches = _batches(trainer, data)
    estimate = forecast(trainer, batches, data.train.sizes, lambda: validation_loss(trainer, data))
    yield replace(progress_note(trainer, None), forecast=estimate)


def _warnings(trainer: Trainer, tick: Tick, warned: set[str]) -> Iterator[str]:
    """A system's warnings of its own figures, each kind once; RunError where going on is of no use."""
    if not isinstance(trainer.system, Monitored):
        return
    try:
        warnings = trainer.system.warnings(tick.parts)
    except RunError as e:
        raise trainer.team.shared_error(e) from None
    yield from (f"at step {tick.step}, {sentence}" for kind, sentence in warnings.items() if kind not in warned)
    warned.update(warnings)


def _batches(trainer: Trainer, data: Prepared) -> Batch:
    order, spec = Batches(data.train.sizes, trainer.spec.batch, trainer.seed), trainer.system.spec

    def batch(step: int, first: int, count: int) -> Canvas:
        return batch_canvas(
            data.train, order.rows(step, first, count), range(first, first + count), spec, data.tokenizer
        )

    return batch


def validation_loss(trainer: Trainer, data: Prepared) -> float:
    """Nats per symbol of up to 512 held-out rows under the averaged weights, with the same noise every time."""
    system = trainer.system
    raw = {k: v.clone() for k, v in named(system.players).items()}
    fill(system.players, trainer.ema, "the averaged weights")
    for module in system.players.values():
        module.eval()
    size = trainer.spec.batch
    ends = int(data.layout is Layout.TEXTS)  # the end of a text is one more symbol
    order = sorted(range(min(len(data.valid), VALIDATION_ROWS)), key=lambda i: int(data.valid.lengths[i]))
    count = sum(int(data.valid.lengths[i]) + ends for i in order)

    def nats(begin: int) -> float:
        rows = order[begin : begin + size]
        batch = batch_canvas(data.valid, rows, rows, system.spec, data.tokenizer).to(trainer.device)
        return float(system.nll(batch, Rng(trainer.seed, range(len(rows)), f"valid/{begin}", len(rows))).sum())

    with torch.no_grad(), trainer.autocast(), trainer.weights.unsharded():
        total: float = sum(trainer.team.map(range(0, len(order), size), nats))
    fill(system.players, raw, "the raw weights")
    for module in system.players.values():
        module.train()
    return total / count


def _write(
    out: Path, tick: Tick, valid: float | None, state: checkpoints.Checkpoint | None, best: Best, last: bool
) -> None:
    """What a tick leaves in the run folder."""
    _log(out, tick, valid)
    if state is not None:
        # The model first: once a checkpoint says that the run is finished, nothing is left to be written.
        model = merge_lora(best.mean() or state.ema)
        files.put(out / files.MODEL, serialise({k: v.contiguous() for k, v in model.items()}))
        checkpoints.save(out, state)
        best.prune()
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


def _forget_after(log: Path, best: Best, step: int) -> None:
    """Drop what was logged, and which weights were kept, after the checkpoint that the run goes on from."""
    best.forget_after(step)
    if not log.exists():
        return
    lines = []
    for line in log.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if isinstance(record, dict) and record.get("step", step + 1) <= step:
                lines.append(line)
    files.put(log, "".join(line + "\n" for line in lines))


def progress_note(trainer: Trainer, note: str | None) -> Progress:
    """How a training stands between two ticks, with a sentence."""
    return Progress(trainer.step, trainer.fraction, float("nan"), 0.0, 0.0, trainer.elapsed, float("inf"), note=note)


def progress_at(
    tick: Tick, valid: float | None = None, saved: Path | None = None, stopped: str | None = None
) -> Progress:
    """How a training stands at a tick."""
    return Progress(
        tick.step, tick.fraction, tick.loss, tick.lr, tick.tokens_per_second,
        tick.elapsed, tick.remaining, valid, saved, stopped,
    )  # fmt: skip
