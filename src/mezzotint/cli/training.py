"""The commands that make runs: check without torch, train, say what is next.

Each returns the exit status. What is wrong with a call is found, and said, before anything heavy is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import mezzotint
from mezzotint import UsageError
from mezzotint.cli import flags
from mezzotint.cli.allocator import keep_memory
from mezzotint.cli.draw import closing, progress, say, stderr
from mezzotint.cli.output import after_training, card_of, demand, next_of, print_forecast, report_of

if TYPE_CHECKING:
    from mezzotint import Progress

MINUTES = 10.0
"""How long a training lasts where neither minutes nor steps are given."""


def train(given: flags.Train) -> int:
    """Train a system from scratch."""
    out = given.out or mezzotint.next_out(given.system, given.data)
    if given.quantize is not None:
        mezzotint.check_quantized(given.system)
        given = replace(given, set=(("kind", given.quantize), *given.set))
    return _train(given, out)


def train_embeddings(given: flags.TrainEmbeddings) -> int:
    """Learn vectors of tokens: a run of mdlm whose lookup is as narrow as they are to be."""
    out = given.out or mezzotint.next_out("embeddings", given.data)
    shared = {field.name: getattr(given, field.name) for field in fields(flags.Training)}
    narrow = (("factor", str(given.width)), ("tied", "true"))
    train_flags = flags.Train(**{**shared, "system": "mdlm", "set": (*narrow, *given.set)})
    data = " ".join(quote(str(path)) for path in given.data)
    return _train(train_flags, out, f"mezzotint train sed --data {data} --embeddings {quote(str(out))}")


def _train(given: flags.Train, out: Path, next_command: str | None = None) -> int:
    mezzotint.check_settings(given.system, given.size, dict(given.set), given.layout, given.embeddings is not None)
    if given.embeddings is not None:
        mezzotint.check_embeddings(given.embeddings)
    for paths in (given.data, given.valid):
        if paths:
            mezzotint.check_data(paths)
    mezzotint.check_sides(given.system, given.data, given.field, given.layout, given.source, given.target)
    mezzotint.check_tokenizer(given.tokenizer)
    mezzotint.check_backbone(given.system, given.backbone, given.tokenizer)
    if not given.dry_run:
        mezzotint.check_new(out)
    keep_memory()
    last = progress(_training(given, out), stderr())
    if last is not None and last.forecast is not None:
        print_forecast(last.forecast)
        return 0
    return after_training(last, out, next_command)


def _training(given: flags.Train, out: Path) -> Iterator[Progress]:
    """The records of a training; reading the data is part of it, so that the bar is seen meanwhile."""
    records = mezzotint.train(
        given.system, given.data, out=out, field=given.field, source=given.source, target=given.target,
        layout=given.layout, valid=given.valid or None, tokenizer=given.tokenizer, backbone=given.backbone,
        embeddings=given.embeddings, size=given.size, minutes=minutes_of(given), max_steps=given.max_steps,
        batch_size=given.batch_size, save_every=given.save_every, seed=given.seed, device=given.device,
        settings=dict(given.set), dry_run=given.dry_run,
    )  # fmt: skip
    if not given.dry_run:
        say(f"run folder: {out}")
    yield from records


def distill(given: flags.Distill) -> int:
    """Train a student of a run."""
    config, system = mezzotint.check_run(given.run), "didi-instruct"
    mezzotint.student_recipe(system, given.run, config, dict(given.set))
    for paths in (given.data, given.valid):
        if paths:
            mezzotint.check_data(paths)
    if (given.valid or given.field is not None) and not given.data:
        raise UsageError("--valid and --field are for texts that --data names; give --data too")
    out = given.out or mezzotint.next_out(system, [given.run])
    mezzotint.check_new(out)
    keep_memory()
    records = mezzotint.distill_run(
        given.run, out=out, system=system, data=given.data or None, field=given.field, valid=given.valid or None,
        minutes=minutes_of(given), max_steps=given.max_steps, batch_size=given.batch_size, save_every=given.save_every,
        seed=given.seed, device=given.device, settings=dict(given.set),
    )  # fmt: skip
    say(f"run folder: {out}")
    return after_training(progress(records, stderr()), out)


def finetune(given: flags.Finetune) -> int:
    """Tune a run to other texts."""
    config = mezzotint.check_run(given.run)
    mezzotint.finetune_recipe(given.run, config, dict(given.set))
    mezzotint.check_adapter(given.adapter)
    for paths in (given.data, given.valid):
        if paths:
            mezzotint.check_data(paths)
    out = given.out or mezzotint.next_out(config["system"], [given.run])
    mezzotint.check_new(out)
    keep_memory()
    records = mezzotint.finetune_run(
        given.run, out=out, data=given.data, adapter=given.adapter, field=given.field, valid=given.valid or None,
        minutes=minutes_of(given), max_steps=given.max_steps, batch_size=given.batch_size, save_every=given.save_every,
        seed=given.seed, device=given.device, settings=dict(given.set),
    )  # fmt: skip
    say(f"run folder: {out}")
    return after_training(progress(records, stderr()), out)


def minutes_of(given: flags.Train | flags.Distill | flags.Finetune | flags.TrainControl) -> float | None:
    """How long to train: as long as asked for; ten minutes where steps do not say when to stop either."""
    return MINUTES if given.minutes is None and given.max_steps is None else given.minutes


def resume(given: flags.Resume) -> int:
    """Continue a run; one that is finished is left as it is."""
    if given.run == flags.BUNDLED and not given.run.exists():
        tuned = f"`mezzotint finetune {given.run} --data FILE` tunes it to other texts"
        raise UsageError(f"{given.run} came with Mezzotint, trained to its end; {tuned}")
    is_finished = mezzotint.is_finished(given.run)  # of folders only, so that no hub is asked for checkpoints
    mezzotint.check_run(given.run)
    if is_finished:
        say(f"{given.run} is finished; nothing is left to train")
        closing(next_of(given.run), report_of(given.run))
        return 0
    keep_memory()
    return after_training(progress(mezzotint.resume(given.run, device=given.device), stderr()), given.run)


def train_control(given: flags.TrainControl) -> int:
    """Train classifiers for a run."""
    card = card_of(given.run)
    if mezzotint.Can.TRANSLATE in card.can:
        demand(card, mezzotint.Can.CONTROL)
    mezzotint.check_data(given.data)
    keep_memory()
    run = mezzotint.load(given.run, device=given.device)
    records = run.train_control(
        given.data, field=given.field, minutes=minutes_of(given), max_steps=given.max_steps,
        batch_size=given.batch_size, seed=given.seed,
    )  # fmt: skip
    progress(records, stderr())
    choice = "" if mezzotint.Can.CONTROL in card.can else " --choose best"
    name, values = next(iter(run.says.items()), ("FIELD", ("VALUE",)))
    wanted = quote(f"{name}={values[0]}")
    closing(f"mezzotint control {quote(str(given.run))} --says {wanted}{choice}", report_of(given.run))
    return 0
