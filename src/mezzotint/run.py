"""A trained run, loaded: text in, text out.

run = mezzotint.load("runs/reviews")
run.generate(n=8, steps=16)[0].text
run.infill("The [3] pub near the river.")[0].text
for draft in run.stream(n=1): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, pairwise
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mezzotint import hub
from mezzotint.checks import check_run, located
from mezzotint.classifiers import read_control, train_control
from mezzotint.course import Progress
from mezzotint.data.lengths import Lengths
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.drafts import Detokenizer, Draft, Sample
from mezzotint.errors import CapabilityError, RunError, UsageError
from mezzotint.guidance.choose import ControlRanking, most_wanted
from mezzotint.guidance.classifier import Classifiers
from mezzotint.latent import LatentSpace
from mezzotint.prepare import lengths_of
from mezzotint.settings import CANDIDATES, check_choice
from mezzotint.spec.base import member
from mezzotint.spec.quantize import Few
from mezzotint.spec.training import Precision
from mezzotint.systems import entry
from mezzotint.tasks import Task, TaskBuilder
from mezzotint.training import export
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import networks, read_frozen, read_weights
from mezzotint.training.device import pick_device, pick_precision
from mezzotint.training.prior import read_prior
from mezzotint.training.quantized_file import quantised, read_packed
from mezzotint.training.small import write_quantized
from mezzotint.training.team import ALONE, Team
from mezzotint.types import Card, Latent, SourceSpec, System

ROWS = 64
"""Texts that are generated at once by default."""


class Run:
    """A trained system with its tokenizer. Made by `load`."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        system: System,
        device: torch.device,
        tokenizer: Tokenizer,
        lengths: Lengths | None,
        name: str = "",
        team: Team = ALONE,
    ) -> None:
        self.name = name or folder.name
        """What it is called: its folder's name, or owner/name where it came from a hub."""
        self.folder = folder
        self.config = config
        self.system = system
        self.device = device
        self.card: Card = system.card
        self.tokenizer = tokenizer
        self.detokenizer = Detokenizer(tokenizer, system.spec.pads_inside)
        self.lengths = lengths
        self.team = team
        self.spec = system.spec
        self.task_builder = TaskBuilder(config, system, tokenizer, lengths, device, lambda: self.reader)

    @cached_property
    def weights_sha256(self) -> str:
        """Of the file of weights, in hexadecimal; its first eight name a judge."""
        return files.digest(self.folder / files.MODEL)

    @property
    def has_latent(self) -> bool:
        """Whether its texts are points of a latent space, on which what it writes depends."""
        return isinstance(self.system, Latent) and self.system.has_latent

    @property
    def latent_size(self) -> int | None:
        """The dimensions of its latent space; None for a system that has none."""
        return self.system.spec.latent if isinstance(self.system, Latent) else None

    @property
    def source_canvas(self) -> int:
        """The most positions of a source; for a run that writes from one."""
        assert isinstance(self.spec, SourceSpec), "only a run that writes from a source has room for one"
        return self.spec.source_canvas

    @cached_property
    def latent(self) -> LatentSpace[Sample]:
        """The space in which its texts are points; CapabilityError for a system, or a run, that has none."""
        if not isinstance(self.system, Latent):
            raise CapabilityError(f"{self.card.name} has no latent space; its texts are no points of one")
        if not self.has_latent:
            raise CapabilityError(f"{self.name} was trained to write without a latent; its texts are no points of one")
        return LatentSpace(self.system, self.tokenizer, self.device, self._write_at, self.folder)

    @cached_property
    def reader(self) -> Classifiers:
        """Its classifiers of noisy texts; RunError, naming the command that trains some, where there are none."""
        return read_control(self.folder, self.system, self.device)

    @property
    def says(self) -> Mapping[str, tuple[str, ...]]:
        """Fields and their values that its texts can be wanted to say; none where no classifiers have learned any."""
        if not (self.folder / files.CONTROLLER).exists():
            return {}
        return {name: values[1:] for name, values in self.reader.labels.fields.items()}

    def train_control(self, data: Sequence[str | Path], **options: Any) -> Iterator[Progress]:
        """Train classifiers of its noisy texts on annotated ones, for `generate(wanted=...)`; yields how it stands.

        `data`: files of records with a text and what is known of it (data/annotated.py), or ["bistro"]. `options`:
        field (that of the run's own texts, or "text"), minutes (10), max_steps, batch_size (64), seed (0). They are
        kept in the run's folder.
        """
        if self.is_published:
            raise RunError(f"{self.name} was published for others; train classifiers for the run that it was made of")
        self.__dict__.pop("reader", None)
        options["field"] = options.get("field") or self.config["data"]["field"]
        return train_control(self.folder, self.system, self.tokenizer, self.device, data, **options)

    def quantize(self, weights: str, out: str | Path) -> None:
        """Write a copy of this run whose matrices have few values, "ternary", "pow2" or "int8", in codes of few bits.

        It is for use, not for training on: it has no checkpoints. UsageError for other weights, RunError where `out`
        holds something already, CapabilityError for a run that stands on networks of others or has few values already.
        """
        few = member(Few, "weights", weights)
        if self.config.get("packed") or (self.folder / files.FROZEN).exists():
            raise CapabilityError(
                f"{self.name} cannot be quantised: only a run with all of its own weights in full can"
            )
        write_quantized(self.folder, Path(out), self.config, self.system.players, few)

    @property
    def is_published(self) -> bool:
        """Whether it is a copy for others: nothing is written into its folder."""
        return bool(self.config.get("published"))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write what others need into a new folder: config, tokenizer, lengths, averaged weights and a card.

        No checkpoint, no log, no path of this machine. RunError where the folder holds something already.
        """
        export.publish(self.folder, Path(folder), self.card, Path(folder).absolute().name)

    def push_to_hub(self, name: str, *, private: bool = True) -> str:
        """Put what `save_pretrained` writes into the hub's repository `owner/name`; returns the commit's address.

        A repository that is not there yet is made, for nobody else to see unless `private` is False. HubError.
        """
        with TemporaryDirectory() as aside:
            export.publish(self.folder, Path(aside) / "run", self.card, name)
            return hub.push(Path(aside) / "run", name, private=private, message=f"A run of {self.card.name}")

    def generate(
        self,
        n: int = 8,
        *,
        prefix: str | None = None,
        batch_size: int = ROWS,
        choose: str | None = None,
        candidates: int = CANDIDATES,
        **options: Any,
    ) -> list[Sample]:
        """n texts, beginning with `prefix` if one is given.

        Where lengths are drawn first, that of a continuation is drawn from the training texts longer than the prefix,
        whatever the prefix says; `infill("The pub [1-40]")` weighs the lengths by it, at some evaluations for each.

        `options`: steps (32), seed (0), temperature (1.0; 0 takes the most likely), top_p (1.0); decoder ("exact": the
        law of ancestral sampling; the others of `Decoder` are approximate), threshold (0.9) for decoder "threshold",
        strength (0.04) for "remask". For sed, where something is given: guidance (1.0), how strongly it pulls, and
        carry_guided (True), whether the network is told the guided estimate next. For distilled runs: guide ("reward"),
        with guidance for its pull.
        For runs of windows: length, above the run's canvas, which is written `block` tokens at a time (a quarter of the
        canvas), with `steps` steps each; `reuse` is faster and approximate.
        wanted (a `Wanted`): what every text is to be like; what cannot be is refused, and a sample says what it misses.
        With it, steering (a `Steering`): how texts are moved there; hard, soft (True): what can be settled or excluded
        is, the rest is followed by its probability.
        choose, with wanted: each text is taken from `candidates` (8), from those that miss the least of it: the one of
        which classifiers are surest ("best"), or that agrees most with the others ("mbr"). Systems that cannot be
        controlled can be asked that way. Its nfe is that of all its candidates.
        A run loaded for a team of processes shares the texts among them, and gives all of them to each.
        """
        if choose is None:
            return self._write(n, None, prefix, batch_size, options)
        ranking = check_choice(choose, candidates, options.get("wanted"))
        if not isinstance(n, int) or n < 1:
            raise UsageError(f"n must be a whole number of at least 1, not {n!r}")
        samples = self._write(n * candidates, None, prefix, batch_size, {**options, "chosen": True})
        return [_choose(samples[i * candidates : (i + 1) * candidates], ranking) for i in range(n)]

    def infill(self, template: str, n: int = 1, **options: Any) -> list[Sample]:
        """n fillings of a template such as "The [3] pub near the river."; `options` as for `generate`.

        `[n]` is a gap of n tokens, `[a-b]` one of a to b and `[ ]` one of 1 to 8, where each sample draws its own
        lengths, as many as fit its canvas; `\\[` is a bracket. What is given comes back byte for byte.
        """
        return self._write(n, template, None, ROWS, options)

    def stream(
        self,
        n: int = 8,
        *,
        template: str | None = None,
        prefix: str | None = None,
        batch_size: int = ROWS,
        **options: Any,
    ) -> Iterator[Draft]:
        """The drafts on the way to n texts, batch after batch; those that are `done` carry the samples.

        In a team of processes each goes the whole way.
        """
        for task in self.task_builder.tasks(n, template, prefix, batch_size, options):
            yield from (draft for [draft] in self.together([task]))

    def task(self, n: int, *, template: str | None = None, prefix: str | None = None, **options: Any) -> Task:
        """What `stream` would write, for `together` to write. Raises what `stream` raises."""
        (task,) = self.task_builder.tasks(n, template, prefix, n, options)
        return task

    def together(self, tasks: Sequence[Task]) -> Iterator[list[Draft]]:
        """The drafts of tasks that are alike (`TaskBuilder.batch_key`), one each; network evaluations are shared.

        A text has the numbers that it has by itself. As those of any batch, its rounding can depend on the others.
        """
        firsts = list(accumulate((len(task.canvas.ids) for task in tasks), initial=0))
        spans = [slice(first, last) for first, last in pairwise(firsts)]
        for frame in self.system.sample(self.task_builder.merge(tasks)):
            yield [
                self.detokenizer.draft(task, frame.part(span, task.canvas.ids.shape[1]))
                for task, span in zip(tasks, spans, strict=True)
            ]

    def _write_at(self, points: Tensor, options: Mapping[str, Any]) -> list[Sample]:
        return self._write(len(points), None, None, ROWS, options, points)

    def _write(
        self,
        n: int,
        template: str | None,
        prefix: str | None,
        batch_size: int,
        options: Mapping[str, Any],
        points: Tensor | None = None,
    ) -> list[Sample]:
        """`points` (n, Z) are where in its latent space each text is, for a system that has one."""

        def write_task(task: Task) -> list[Sample]:
            request = task.request
            if points is not None:
                request = replace(request, latent=points[task.canvas.index])
            frames = self.system.sample(request)
            return [sample for frame in frames if frame.done for sample in self.detokenizer.samples(task, frame)]

        if self.team.size == 1:
            tasks = self.task_builder.tasks(n, template, prefix, batch_size, options)
            return [sample for task in tasks for sample in write_task(task)]
        tasks = self.task_builder.tasks(n, template, prefix, min(batch_size, ceil(n / self.team.size)), options)
        records = self.team.map(tasks, lambda task: [sample.to_json() for sample in write_task(task)])
        return [Sample.from_json(record) for batch in records for record in batch]


def _choose(candidates: Sequence[Sample], ranking: ControlRanking) -> Sample:
    """The best candidate by a ranking, with the evaluations of all."""
    missed, chances = [len(sample.unmet) for sample in candidates], [sample.chance for sample in candidates]
    best = candidates[most_wanted([sample.text for sample in candidates], missed, chances, ranking)]
    return replace(best, nfe=sum(sample.nfe for sample in candidates))


def from_pretrained(
    name: str | Path,
    revision: str | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    team: Team = ALONE,
) -> Run:
    """The run in a folder or, as `owner/name`, on the hub at a branch, tag or commit, ready to write.

    What exists here is a folder; all else is asked of the hub (checks.py `located`). RunError where what is found is
    damaged or made for something else, HubError where the hub does not give it. `team` is what `join()` gave, where the
    processes of a launch are to share the writing.
    """
    folder = located(name, revision)
    config = check_run(folder)
    where = pick_device(device)
    system_entry = entry(config["system"])
    spec = files.read_spec(folder, config, system_entry.load(system_entry.spec))
    tokenizer, lengths = Tokenizer.load(folder / files.TOKENIZER), lengths_of(folder, config)
    if tokenizer.size != spec.vocab:
        known = f"{tokenizer.size} tokens, and the run was trained with {spec.vocab}"
        raise RunError(f"{folder / files.TOKENIZER} is another run's: it knows {known}")
    system: System = system_entry.load(system_entry.system)(spec, lengths)
    read_frozen(folder, system)
    (read_packed if config.get("packed") else read_weights)(folder / files.MODEL, system.players)
    dtype = pick_precision(member(Precision, "precision", precision), where)
    if precision == "auto" and not config.get("packed") and quantised(system.players):
        # From weights in bf16 some would be rounded to other values than those the run was trained with.
        dtype = torch.float32
    for module in networks(system):
        module.to(device=where, dtype=dtype).eval()
    read_prior(folder, system, where)
    run_name = folder.name if folder == Path(name) else str(name)
    return Run(folder, config, system, where, tokenizer, lengths, run_name, team)


def load(path: str | Path, *, device: str = "auto", precision: str = "auto", team: Team = ALONE) -> Run:
    """`from_pretrained`, for a run of one's own."""
    return from_pretrained(path, device=device, precision=precision, team=team)
