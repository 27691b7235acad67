"""Classifiers of a run's own texts, noisy or finished: how they are trained, kept in its folder, and read from there.

Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5 and App. D: they see the states that writing goes through, at all
times (training/classifier.py). From left to right those are prefixes (Yang and Klein 2021, FUDGE, arXiv:2104.05218).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save as serialise

from mezzotint.checks import BISTRO, BUNDLED, check_data
from mezzotint.course import Progress, run_to_end
from mezzotint.data.annotated import Annotated, bistro_annotated, read_annotated
from mezzotint.data.batches import Batches
from mezzotint.data.canvas import pack, room, widened
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
from mezzotint.training.classifier import ClassifierTask, told_right
from mezzotint.training.device import autocast, pick_precision
from mezzotint.training.loop import Trainer
from mezzotint.training.tuning import plain
from mezzotint.types import Can, Ending, System

PART = 3
"""Of a training's minutes or steps its classifiers take one part in so many, after it."""
DEPTH = 3
"""Blocks, where the run has as many: with updates after every step, classifiers are asked most often of all."""
TABLE = 32
"""Numbers of a token's vector, where odds are read."""
LOOKED_AT = 512
"""Held-out texts that are read in the end."""


@dataclass(frozen=True)
class Rows:
    """Annotated texts as token ids."""

    texts: Sequence[Annotated]
    ids: Sequence[Any]

    def batch(self, rows: Sequence[int], index: Sequence[int], spec: Any, words: Tokenizer, labels: Labels) -> Labelled:
        canvas = pack([self.ids[i] for i in rows], index, spec.ending, spec.canvas, words.end, words.pad)
        if spec.ending is Ending.SYMBOL:  # where a text that is begun may go on to, whatever the others of its batch
            canvas = widened(canvas, spec.canvas, words.pad)
        return labelled(canvas, [self.texts[i] for i in rows], [len(self.ids[i]) for i in rows], labels)


def train_control(
    folder: Path,
    system: System,
    words: Tokenizer,
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
    spec: Any = system.spec
    train, held, notes = _rows(data, field, words, spec)
    labels = labels_of(train.texts)
    if not (labels.fields or labels.tags or labels.phrases):
        raise DataError(f"{data[0]} has nothing to learn: no field whose values come back, no tags, tree or spans")
    made = _spec(system)
    net = ClassifierNet(made, labels)
    net.initialise(torch.Generator().manual_seed(seed))
    net.to(device)
    lesson = ClassifierTask(system, net, is_steerable(system))
    asked = TrainingSpec(
        batch=batch_size, lr=2e-3 * 128 / made.net.dim, max_steps=max_steps or 0, validations=0,
        minutes=10.0 if minutes is None else minutes,
    )  # fmt: skip
    dtype = pick_precision(Precision.AUTO, device)
    trainer = Trainer(cast(System, lesson), asked, seed, device, autocast(device, dtype))
    order = Batches([len(ids) for ids in train.ids], asked.batch, seed)

    def batch(step: int, first: int, count: int) -> Labelled:
        return train.batch(order.rows(step, first, count), range(first, first + count), spec, words, labels)

    for note in notes:
        yield _noted(trainer, note)
    for tick in trainer.run(batch):
        yield Progress(
            tick.step, tick.fraction, tick.loss, tick.lr, tick.tokens_per_second, tick.elapsed, tick.remaining
        )
    fill(lesson.players, trainer.ema, "the averaged weights")
    net.eval()
    some = range(min(LOOKED_AT, len(held.texts)))
    parts = [some[begin : begin + asked.batch] for begin in range(0, len(some), asked.batch)]
    right = told_right(lesson, labels, [held.batch(part, part, spec, words, labels).to(device) for part in parts], seed)
    files.put(folder / files.CONTROL, serialise({k: v.contiguous() for k, v in named(lesson.players).items()}))
    card = {
        "format": files.FORMAT, "spec": made.to_json(), "labels": labels.to_json(), "training": asked.to_json(),
        "run": files.digest(folder / files.MODEL), "sha256": files.digest(folder / files.CONTROL),
        "data": [Path(path).name for path in data], "held_out": right,
    }  # fmt: skip
    files.put_json(folder / files.CONTROLLER, card)
    for name, shares in right.items():
        said = ", ".join(f"{share:.1%} at t={t:g}" for t, share in zip(lesson.times, shares, strict=True))
        yield _noted(trainer, f"{name} of held-out texts told right: {said}")


def train_to_end(out: Path, trainer: Trainer, data: Prepared, source: Mapping[str, Any]) -> Iterator[Progress]:
    """A run's training, and then that of its classifiers where its system has some and the texts are annotated.

    `source` says where the texts came from, as the run's configuration has it.
    """
    if not trainer.system.card.classifiers:
        return run_to_end(out, trainer, data)
    why = (
        "one process trains them, and several were launched"
        if trainer.team.size > 1
        else unannotated(source["files"], source["field"])
    )
    sentence = f"no classifiers are trained for control ({why}); `mezzotint train-control {out} --data FILE` does it"
    if why is None:
        sentence = f"then its classifiers are trained, for 1/{PART} of this training"
        if data.tokenizer.kind != "word":
            sentence += "; of parts of speech and phrases with --tokenizer word only, since these are of words"
    data = replace(data, notes=(*data.notes, sentence))
    records = run_to_end(out, trainer, data)
    return records if why is not None else _with_classifiers(records, out, trainer, data.tokenizer, source)


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


def unannotated(data: Sequence[str | Path], field: str | None) -> str | None:
    """Why no classifiers can be learned from some files; None where they can."""
    try:
        if [str(path) for path in data] != [BISTRO]:
            read_annotated(data, field)
    except MezzotintError as error:
        return str(error)
    return None


def read_control(folder: Path, system: System, device: torch.device) -> Classifiers:
    """The classifiers in a run's folder; RunError, naming the command that makes them, where there are none of its."""
    run = "RUN" if folder.parent == BUNDLED else folder  # which is not for anybody to write into
    how = f"`mezzotint train-control {run} --data FILE` trains some"
    if not (folder / files.CONTROLLER).exists():
        raise RunError(f"{folder.name if run == 'RUN' else folder} has no classifiers that could tell; {how}")
    card = files.read_json(folder / files.CONTROLLER)
    if not isinstance(card, dict) or not {"spec", "labels", "run", "sha256"} <= card.keys():
        raise RunError(f"{folder / files.CONTROLLER} is damaged; {how} anew")
    if card["run"] != files.digest(folder / files.MODEL):
        raise RunError(f"the classifiers in {folder} were trained for other weights than it has now; {how} anew")
    if not (folder / files.CONTROL).exists() or card["sha256"] != files.digest(folder / files.CONTROL):
        raise RunError(f"{folder / files.CONTROL} is not what {files.CONTROLLER} beside it describes; {how} anew")
    labels = Labels.from_json(card["labels"])
    made = files.read_spec(folder, {**card, "system": "control"}, ClassifierSpec)
    if made.prefixes != reads_prefixes(system):
        raise RunError(
            f"the classifiers in {folder} were not trained on texts that are still being written; {how} anew"
        )
    net = ClassifierNet(made, labels)
    read_weights(folder / files.CONTROL, {"control": net})
    net.to(device).eval().requires_grad_(False)
    return ClassifierTask(system, net, is_steerable(system)).reader(labels)


def check_control(system: System) -> None:
    """CapabilityError unless classifiers can read a system's states, or at least its finished texts."""
    whole: Any = system
    if Can.TRANSLATE in system.card.can or not isinstance(getattr(whole.spec, "net", None), TransformerSpec):
        raise CapabilityError(
            f"{system.card.name} has no use for classifiers; they are for texts that stand by themselves"
        )


def is_steerable(system: System) -> bool:
    """Whether the system writes through states that can be moved; else classifiers choose among finished texts."""
    return Can.CONTROL in system.card.can


def reads_prefixes(system: System) -> bool:
    """Whether the states that it writes through are the beginnings of texts."""
    whole: Any = system
    return is_steerable(system) and isinstance(whole.process, Truncated)


def _spec(system: System) -> ClassifierSpec:
    spec: Any = system.spec
    whole: Any = system
    on_vectors = is_steerable(system) and isinstance(whole.process, Gaussian)
    begun = reads_prefixes(system)
    shape = TransformerSpec(
        dim=spec.net.dim, depth=min(DEPTH, spec.net.depth), heads=spec.net.heads, neighbours=NEIGHBOURS,
        positions=Positions.START if begun else Positions.EDGES,
    )  # fmt: skip
    width = spec.width if on_vectors else TABLE
    vocab = 0 if on_vectors else spec.vocab
    return ClassifierSpec(width=width, canvas=spec.canvas, vocab=vocab, net=shape, words=spec.vocab, prefixes=begun)


def _rows(data: Sequence[str | Path], field: str | None, words: Tokenizer, spec: Any) -> tuple[Rows, Rows, list[str]]:
    """Texts to learn from, texts held out, and sentences about what was left out."""
    check_data(data)
    if [str(path) for path in data] == [BISTRO]:
        train, held = (bistro_annotated(split, BISTRO_TEXTS[split]) for split in ("train", "valid"))
    else:
        every = read_annotated(data, field)
        apart = withheld(one.text for one in every) if len({one.text for one in every}) > 1 else frozenset()
        train, held = ([one for one in every if (one.text in apart) is out] for out in (False, True))
    notes: list[str] = []
    whole = words.kind == "word"
    if not whole and any(one.tags or one.spans for one in train):
        notes.append("parts of speech and phrases are left out: they are of words, and this run writes pieces of words")
    found = []
    for texts in (train, held):
        ids = words.encode_all([one.text for one in texts])
        fits = [i for i, row in enumerate(ids) if 1 <= len(row) <= room(spec.canvas, spec.ending)]
        kept = [texts[i] if whole else Annotated(texts[i].text, texts[i].fields) for i in fits]
        found.append(Rows(kept, [torch.tensor(ids[i]).numpy() for i in fits]))
    if not found[0].texts or not found[1].texts:
        raise DataError(f"{data[0]} has too few texts that are short enough for this run's {spec.canvas} tokens")
    unlike = sum(one.tags is not None and len(one.tags) != len(ids) for one, ids in zip(*_both(found[0]), strict=True))
    if unlike:
        notes.append(f"{unlike:,} of {len(found[0].texts):,} texts have not as many parts of speech as words")
    return found[0], found[1], notes


def _both(rows: Rows) -> tuple[Sequence[Annotated], Sequence[Any]]:
    return rows.texts, rows.ids


def _noted(trainer: Trainer, note: str) -> Progress:
    return Progress(trainer.step, trainer.fraction, float("nan"), 0.0, 0.0, trainer.elapsed, float("inf"), note=note)
