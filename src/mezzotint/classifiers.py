"""Classifiers of a run's own texts, noisy or finished: how they are trained, kept in its folder, and read from there.

Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5 and App. D: they see the states that writing goes through, at all
times (training/classifier.py). From left to right those are prefixes (Yang and Klein 2021, FUDGE, arXiv:2104.05218).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save as serialise

from mezzotint.checks import BUNDLED, check_data, names_bistro
from mezzotint.course import Progress, progress_at, progress_note, run_to_end
from mezzotint.data.annotated import Annotated, bistro_annotated, read_annotated
from mezzotint.data.batches import Batches
from mezzotint.data.canvas import pack, pad_canvas, room
from mezzotint.data.corpus import withheld
from mezzotint.data.labelled import Labelled, labelled, labels_of
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import CapabilityError, DataError, MezzotintError, RunError
from mezzotint.guidance.classifier import Classifiers
from mezzotint.net.classifier import ClassifierNet
from mezzotint.prepare import BISTRO_TEXTS, Prepared
from mezzotint.process.gaussian import Gaussian
from mezzotint.process.truncated import Truncated
from mezzotint.spec.classifier import ClassifierSpec, Labels
from mezzotint.spec.training import Precision, TrainingSpec
from mezzotint.spec.transformer import NEIGHBOURS, Positions, TransformerSpec
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import fill, named, read_weights
from mezzotint.training.classifier import ClassifierTask, held_out_accuracy
from mezzotint.training.device import autocast, pick_precision
from mezzotint.training.loop import Trainer
from mezzotint.training.tuning import remove_lora
from mezzotint.types import Can, Ending, System, SystemSpec

PART = 3
"""Of a training's minutes or steps its classifiers take one part in so many, after it."""
DEPTH = 3
"""Blocks, where the run has as many: with updates after every step, classifiers are asked most often of all."""
TABLE = 32
"""Numbers of a token's vector, where odds are read."""
TEST_ROWS = 512
"""Held-out texts on which trained classifiers are scored."""


@dataclass(frozen=True)
class Rows:
    """Annotated texts as token ids."""

    texts: Sequence[Annotated]
    ids: Sequence[NDArray[np.int64]]

    def batch(
        self, rows: Sequence[int], index: Sequence[int], spec: SystemSpec, tokenizer: Tokenizer, labels: Labels
    ) -> Labelled:
        """The labelled canvas of some rows, with the random streams `index`."""
        canvas = pack([self.ids[i] for i in rows], index, spec.ending, spec.canvas, tokenizer.end, tokenizer.pad)
        if spec.ending is Ending.SYMBOL:  # where a text that is begun may go on to, whatever the others of its batch
            canvas = pad_canvas(canvas, spec.canvas, tokenizer.pad)
        return labelled(canvas, [self.texts[i] for i in rows], [len(self.ids[i]) for i in rows], labels)


def train_control(
    folder: Path,
    system: System,
    tokenizer: Tokenizer,
    device: torch.device,
    data: Sequence[str | Path],
    *,
    field: str | None = None,
    minutes: float | None = None,
    max_steps: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> Iterator[Progress]:
    """Train classifiers for a run on annotated texts and leave them in its folder; yields how it stands.

    `data` are files of records (data/annotated.py), or bistro. Nothing is written before the end.
    """
    check_control(system)
    system_spec = system.spec
    train, held_out, notes = _rows(data, field, tokenizer, system_spec)
    labels = labels_of(train.texts)
    if not (labels.fields or labels.tags or labels.phrases):
        raise DataError(f"{data[0]} has nothing to learn: no field whose values come back, no tags, tree or spans")
    spec = _spec(system)
    net = ClassifierNet(spec, labels)
    net.initialise(torch.Generator().manual_seed(seed))
    net.to(device)
    task = ClassifierTask(system, net, is_steerable(system))
    training = TrainingSpec(
        batch=batch_size, lr=2e-3 * 128 / spec.net.dim, max_steps=max_steps or 0, validations=0,
        minutes=10.0 if minutes is None else minutes,
    )  # fmt: skip
    dtype = pick_precision(Precision.AUTO, device)
    trainer = Trainer(cast(System, task), training, seed, device, autocast(device, dtype))
    order = Batches([len(ids) for ids in train.ids], training.batch, seed)

    def batch(step: int, first: int, count: int) -> Labelled:
        rows = order.rows(step, first, count)
        return train.batch(rows, range(first, first + count), system_spec, tokenizer, labels)

    for note in notes:
        yield progress_note(trainer, note)
    length = sum(map(len, train.ids)) / len(train.ids)  # the loss counts texts
    for tick in trainer.run(batch):
        yield replace(progress_at(tick), tokens_per_second=tick.tokens_per_second * length)
    fill(task.players, trainer.ema, "the averaged weights")
    net.eval()
    rows = range(min(TEST_ROWS, len(held_out.texts)))
    parts = [rows[begin : begin + training.batch] for begin in range(0, len(rows), training.batch)]
    batches = [held_out.batch(part, part, system_spec, tokenizer, labels).to(device) for part in parts]
    accuracies = held_out_accuracy(task, labels, batches, seed)
    files.put(folder / files.CONTROL, serialise({k: v.contiguous() for k, v in named(task.players).items()}))
    card = {
        "format": files.FORMAT, "spec": spec.to_json(), "labels": labels.to_json(), "training": training.to_json(),
        "run": files.digest(folder / files.MODEL), "sha256": files.digest(folder / files.CONTROL),
        "data": [Path(path).name for path in data], "held_out": accuracies,
    }  # fmt: skip
    files.put_json(folder / files.CONTROLLER, card)
    for name, by_time in accuracies.items():
        figures = ", ".join(f"{share:.1%} at t={t:g}" for t, share in zip(task.times, by_time, strict=True))
        yield progress_note(trainer, f"{name} of held-out texts told right: {figures}")


def train_to_end(out: Path, trainer: Trainer, data: Prepared, source: Mapping[str, Any]) -> Iterator[Progress]:
    """A run's training, and then that of its classifiers where its system has some and the texts are annotated.

    `source` says where the texts came from, as the run's configuration has it.
    """
    if not trainer.system.card.classifiers:
        return run_to_end(out, trainer, data)
    obstacle = (
        "one process trains them, and several were launched"
        if trainer.team.size > 1
        else no_annotation(source["files"], source["field"])
    )
    note = f"no classifiers are trained for control ({obstacle}); `mezzotint train-control {out} --data FILE` does it"
    if obstacle is None:
        note = f"then its classifiers are trained, for 1/{PART} of this training"
        if data.tokenizer.kind != "word":
            note += "; of parts of speech and phrases with --tokenizer word only, since these are of words"
    data = replace(data, notes=(*data.notes, note))
    records = run_to_end(out, trainer, data)
    return records if obstacle is not None else _with_classifiers(records, out, trainer, data.tokenizer, source)


def _with_classifiers(
    records: Iterator[Progress], out: Path, trainer: Trainer, tokenizer: Tokenizer, source: Mapping[str, Any]
) -> Iterator[Progress]:
    """The records of a training and, unless it was stopped, those of its classifiers'."""
    for record in records:
        yield record
        if record.stopped is not None:
            return
    remove_lora(trainer.system.players)
    read_weights(out / files.MODEL, trainer.system.players)
    for module in trainer.system.players.values():
        module.eval().requires_grad_(False)
    training = trainer.spec
    yield from train_control(
        out, trainer.system, tokenizer, trainer.device, source["files"], field=source["field"], seed=trainer.seed,
        minutes=training.minutes / PART, max_steps=max(1, training.max_steps // PART) if training.max_steps else None,
    )  # fmt: skip


def no_annotation(data: Sequence[str | Path], field: str | None) -> str | None:
    """Why no classifiers can be learned from some files; None where they can."""
    try:
        if not names_bistro(data):
            read_annotated(data, field)
    except MezzotintError as error:
        return str(error)
    return None


def read_control(folder: Path, system: System, device: torch.device) -> Classifiers:
    """The classifiers in a run's folder; RunError, naming the command that makes them, where there are none of its."""
    run = "RUN" if folder.parent == BUNDLED else folder  # which is not for anybody to write into
    remedy = f"`mezzotint train-control {run} --data FILE` trains some"
    if not (folder / files.CONTROLLER).exists():
        raise RunError(f"{folder.name if run == 'RUN' else folder} has no classifiers that could tell; {remedy}")
    card = files.read_json(folder / files.CONTROLLER)
    if not isinstance(card, dict) or not {"spec", "labels", "run", "sha256"} <= card.keys():
        raise RunError(f"{folder / files.CONTROLLER} is damaged; {remedy} anew")
    if card["run"] != files.digest(folder / files.MODEL):
        raise RunError(f"the classifiers in {folder} were trained for other weights than it has now; {remedy} anew")
    if not (folder / files.CONTROL).exists() or card["sha256"] != files.digest(folder / files.CONTROL):
        raise RunError(f"{folder / files.CONTROL} is not what {files.CONTROLLER} beside it describes; {remedy} anew")
    labels = Labels.from_json(card["labels"])
    spec = files.read_spec(folder, {**card, "system": "control"}, ClassifierSpec)
    if spec.prefixes != reads_prefixes(system):
        raise RunError(
            f"the classifiers in {folder} were not trained on texts that are still being written; {remedy} anew"
        )
    net = ClassifierNet(spec, labels)
    read_weights(folder / files.CONTROL, {"control": net})
    net.to(device).eval().requires_grad_(False)
    return ClassifierTask(system, net, is_steerable(system)).reader(labels)


def check_control(system: System) -> None:
    """CapabilityError unless classifiers can read a system's states, or at least its finished texts."""
    if Can.TRANSLATE in system.card.can or not isinstance(getattr(system.spec, "net", None), TransformerSpec):
        raise CapabilityError(
            f"{system.card.name} has no use for classifiers; they are for texts that stand by themselves"
        )


def is_steerable(system: System) -> bool:
    """Whether classifiers can steer the states that the system writes through; else they choose among its texts."""
    return Can.CONTROL in system.card.can


def steered_process(system: System) -> object:
    """The noise process whose states classifiers steer; None where they choose among finished texts."""
    internals: Any = system
    return internals.process if is_steerable(system) else None


def reads_prefixes(system: System) -> bool:
    """Whether the states that it writes through are prefixes of texts."""
    return isinstance(steered_process(system), Truncated)


def _spec(system: System) -> ClassifierSpec:
    """The spec of the classifiers of a system that `check_control` passed."""
    spec: Any = system.spec
    on_vectors, prefixes = isinstance(steered_process(system), Gaussian), reads_prefixes(system)
    net = TransformerSpec(
        dim=spec.net.dim, depth=min(DEPTH, spec.net.depth), heads=spec.net.heads, neighbours=NEIGHBOURS,
        positions=Positions.START if prefixes else Positions.EDGES,
    )  # fmt: skip
    width = spec.width if on_vectors else TABLE
    vocab = 0 if on_vectors else spec.vocab
    return ClassifierSpec(width=width, canvas=spec.canvas, vocab=vocab, net=net, words=spec.vocab, prefixes=prefixes)


def _rows(
    data: Sequence[str | Path], field: str | None, tokenizer: Tokenizer, spec: SystemSpec
) -> tuple[Rows, Rows, list[str]]:
    """Texts to learn from, texts held out, and notes on what was left out."""
    check_data(data)
    if names_bistro(data):
        train, held_out = (bistro_annotated(split, BISTRO_TEXTS[split]) for split in ("train", "valid"))
    else:
        texts = read_annotated(data, field)
        distinct = {one.text for one in texts}
        apart = withheld(one.text for one in texts) if len(distinct) > 1 else frozenset()
        train, held_out = ([one for one in texts if (one.text in apart) is is_apart] for is_apart in (False, True))
    notes: list[str] = []
    writes_words = tokenizer.kind == "word"
    if not writes_words and any(one.tags or one.spans for one in train):
        notes.append("parts of speech and phrases are left out: they are of words, and this run writes pieces of words")
    splits = []
    for texts in (train, held_out):
        ids = tokenizer.encode_all([one.text for one in texts])
        fitting = [i for i, row in enumerate(ids) if 1 <= len(row) <= room(spec.canvas, spec.ending)]
        annotated = [texts[i] if writes_words else Annotated(texts[i].text, texts[i].fields) for i in fitting]
        splits.append(Rows(annotated, [torch.tensor(ids[i]).numpy() for i in fitting]))
    rows, held_out_rows = splits
    if not rows.texts or not held_out_rows.texts:
        raise DataError(f"{data[0]} has too few texts that are short enough for this run's {spec.canvas} tokens")
    pairs = zip(rows.texts, rows.ids, strict=True)
    mismatched = sum(one.tags is not None and len(one.tags) != len(ids) for one, ids in pairs)
    if mismatched:
        notes.append(f"{mismatched:,} of {len(rows.texts):,} texts have not as many parts of speech as words")
    return rows, held_out_rows, notes
