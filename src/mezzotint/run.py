"""A trained run, loaded: text in, text out.

run = mezzotint.load("runs/reviews")
run.generate(n=8, steps=16)[0].text
run.infill("The [3] pub near the river.")[0].text
for draft in run.stream(n=1): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil, inf
from pathlib import Path
from typing import Any

import torch

from mezzotint.checks import check_run
from mezzotint.data.canvas import free, prefixed, room, template_canvas
from mezzotint.data.lengths import Lengths
from mezzotint.data.template import Template, parse_template
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import CapabilityError, RunError, UsageError, unknown
from mezzotint.rng import Rng
from mezzotint.spec.training import Precision
from mezzotint.systems import entry
from mezzotint.training import folder as files
from mezzotint.training.checkpoint import read_weights
from mezzotint.training.device import pick_device, pick_precision
from mezzotint.training.team import ALONE, Team
from mezzotint.types import Can, Canvas, Card, Ending, Frame, Layout, Request, System

ROWS = 64
"""Texts that are generated at once by default."""


@dataclass(frozen=True)
class Sample:
    """One generated text."""

    text: str
    ids: list[int]
    nfe: int
    """Network evaluations spent on it."""
    steps: int
    """Grid steps asked for."""
    seed: int
    index: int
    """Its stream of random numbers: the same seed and index give the same text in any batch."""


@dataclass(frozen=True)
class Piece:
    """One position of a draft."""

    text: str
    """Its surface, the space before it included; empty where it is not known yet."""
    known: bool
    given: bool
    confidence: float
    """The probability with which it was chosen."""


@dataclass(frozen=True)
class Draft:
    """One moment of a generation, in text."""

    step: int
    steps: int
    t: list[float]
    rows: list[list[Piece]]
    nfe: list[int]
    done: bool
    samples: list[Sample]
    """The finished texts, where `done`."""


@dataclass(frozen=True)
class _Task:
    """Some rows to be filled, and how their ids become text again."""

    canvas: Canvas
    request: Request
    template: Template | None = None
    gaps: Sequence[int] = ()
    prefix: str = ""
    """The given beginning, as typed; a space at its end belongs to the next token."""

    def text(self, tokenizer: Tokenizer, ids: Sequence[int]) -> str:
        """The text of a row's ids, with what was given byte for byte, words that the tokenizer does not know too."""
        if self.template is not None:
            return self.template.text(tokenizer, ids, self.gaps)
        if not self.prefix:
            return tokenizer.decode(ids)
        written = ids[int(self.canvas.given[0].sum()) :]
        return self.prefix.removesuffix(" ") + tokenizer.decode(written, virtual_space=False)


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
        team: Team = ALONE,
    ) -> None:
        self.folder = folder
        self.config = config
        self.system = system
        self.device = device
        self.card: Card = system.card
        self.tokenizer = tokenizer
        self.lengths = lengths
        self.team = team
        self.spec: Any = system.spec

    @cached_property
    def weights_sha256(self) -> str:
        """Of the file of weights, in hexadecimal; its first eight name a judge."""
        return files.digest(self.folder / files.MODEL)

    def generate(self, n: int = 8, *, prefix: str | None = None, batch_size: int = ROWS, **how: Any) -> list[Sample]:
        """n texts, beginning with `prefix` if one is given.

        `how`: steps (32), seed (0), temperature (1.0; 0 takes the most likely), top_p (1.0), legacy_float32 (False).
        A run loaded for a team of processes shares the texts among them, and gives all of them to each.
        """
        return self._written(n, None, prefix, batch_size, how)

    def infill(self, template: str, n: int = 1, **how: Any) -> list[Sample]:
        """n fillings of a template such as "The [3] pub near the river."; `how` as for `generate`.

        `[n]` is a gap of n tokens; `\\[` a bracket. What is given comes back byte for byte.
        """
        return self._written(n, template, None, ROWS, how)

    def stream(
        self,
        n: int = 8,
        *,
        template: str | None = None,
        prefix: str | None = None,
        batch_size: int = ROWS,
        **how: Any,
    ) -> Iterator[Draft]:
        """The drafts on the way to n texts, batch after batch; those that are `done` carry the samples.

        In a team of processes each goes the whole way.
        """
        for task in self._tasks(n, template, prefix, batch_size, how):
            yield from self._drafts(task)

    def _written(
        self, n: int, template: str | None, prefix: str | None, batch_size: int, how: Mapping[str, Any]
    ) -> list[Sample]:
        def written(task: _Task) -> list[dict[str, Any]]:
            frames = self.system.sample(task.request)
            return [asdict(sample) for frame in frames if frame.done for sample in self._samples(task, frame)]

        tasks = self._tasks(n, template, prefix, batch_size, how)
        return [Sample(**sample) for samples in self.team.deal(tasks, written) for sample in samples]

    # ------------------------------------------------------------ canvases

    def _tasks(
        self, n: int, template: str | None, prefix: str | None, batch_size: int, how: Mapping[str, Any]
    ) -> Iterator[_Task]:
        settings = Settings.checked(how)
        if not isinstance(n, int) or not isinstance(batch_size, int):
            raise UsageError(f"n and batch_size must be whole numbers, not {n!r} and {batch_size!r}")
        if n < 1 or batch_size < 1:
            raise UsageError(f"n and batch_size must be at least 1, not {n} and {batch_size}")
        if template is not None and prefix is not None:
            raise UsageError("a template says what is given; leave prefix out")
        if template is not None:
            self._require(Can.INFILL)
        elif prefix:
            self._require(Can.CONTINUE)
        size = min(batch_size, ceil(n / self.team.size))
        for first in range(0, n, size):
            yield self._task(range(first, min(first + size, n)), template, prefix, settings)

    def _task(self, rows: range, template: str | None, prefix: str | None, how: Settings) -> _Task:
        special = tuple(sorted(self.tokenizer.special))
        parsed, gaps = None, []
        if template is not None:
            parsed = parse_template(template)
            gaps = [self._fixed(gap.low, gap.high) for gap in parsed.gaps]
            self._fits(sum(gaps), "the template")
            canvas = self._closed(template_canvas(parsed, self.tokenizer, gaps, len(rows), rows.start))
        else:
            canvas = self._free(rows, prefix, how.seed)
            special = tuple(i for i in special if i not in self._closing)
        self._fits(int(canvas.real.sum(1).max()), "the template")
        spaced = torch.from_numpy(self.tokenizer.spaced).to(self.device)
        request = Request(
            canvas.to(self.device), how.steps, how.seed, how.temperature, how.top_p, how.legacy_float32, special, spaced
        )
        return _Task(canvas, request, parsed, gaps, prefix or "")

    @staticmethod
    def _fixed(low: int, high: int) -> int:
        if low != high:
            raise CapabilityError("gaps of unknown length are not there yet; write [3] for a gap of three tokens")
        return low

    def _closed(self, canvas: Canvas) -> Canvas:
        """For models that fill whole canvases: the end token and padding follow the template, given."""
        if self.spec.ending is not Ending.FILL:
            return canvas
        B, L = canvas.ids.shape
        ids = torch.full((B, self.spec.canvas), self.tokenizer.pad)
        given = torch.ones_like(ids, dtype=torch.bool)
        if self.spec.canvas <= L:
            raise UsageError(f"the template is {L} tokens long; this run's texts have at most {self.spec.canvas - 1}")
        ids[:, :L], ids[:, L], given[:, :L] = canvas.ids, self.tokenizer.end, canvas.given
        start = torch.zeros_like(ids, dtype=torch.int8)
        start[:, :L] = canvas.start if canvas.start is not None else 0
        return Canvas(ids, given, torch.ones_like(given), canvas.index, start)

    @property
    def _closing(self) -> tuple[int, ...]:
        """The special tokens that are part of what is written in a free text."""
        if self.spec.ending is Ending.FILL:
            return self.tokenizer.end, self.tokenizer.pad
        whole = self.lengths is not None
        return () if whole else (self.tokenizer.end,)

    def _free(self, rows: range, prefix: str | None, seed: int) -> Canvas:
        # The space before the next word is part of that word's token, as at a gap.
        awaited = prefix is not None and prefix.endswith(" ")
        given = self.tokenizer.encode(prefix.removesuffix(" ")) if prefix else []
        lengths = self._lengths_of(rows, len(given), seed)
        if not given:
            return free(lengths, list(rows), self.tokenizer.pad)
        return prefixed(given, lengths, list(rows), self.tokenizer.pad, start=int(awaited))

    def _lengths_of(self, rows: range, least: int, seed: int) -> list[int]:
        most = room(self.spec.canvas, self.spec.ending) if self.lengths is not None else self.spec.canvas
        if least >= most:
            raise UsageError(f"the prefix is {least} tokens long; this run's texts have at most {most}")
        if self.lengths is None:
            return [self.spec.canvas] * len(rows)
        law = self.lengths.given(least + 1)
        return [law.draw(float(u)) for u in Rng(seed, rows).at("length").uniform()]

    def _fits(self, tokens: int, what: str) -> None:
        if tokens > self.spec.canvas:
            raise UsageError(f"{what} is {tokens} tokens long; this run's texts have at most {self.spec.canvas}")

    # ------------------------------------------------------------ from frames to text

    def _drafts(self, task: _Task) -> Iterator[Draft]:
        for frame in self.system.sample(task.request):
            samples = self._samples(task, frame) if frame.done else []
            rows = self._pieces(task.canvas, frame)
            yield Draft(frame.step, frame.steps, frame.t.tolist(), rows, frame.nfe.tolist(), frame.done, samples)

    def _samples(self, task: _Task, frame: Frame) -> list[Sample]:
        ids_BL = frame.ids.cpu()
        shown = task.canvas.real & frame.known.cpu()
        samples = []
        for b, index in enumerate(task.canvas.index.tolist()):
            ids = ids_BL[b][shown[b]].tolist()
            text = task.text(self.tokenizer, ids)
            ids = ids[: _cut(ids, self.tokenizer)]
            samples.append(Sample(text, ids, int(frame.nfe[b]), task.request.steps, task.request.seed, index))
        return samples

    def _pieces(self, canvas: Canvas, frame: Frame) -> list[list[Piece]]:
        rows = []
        for ids, known, given, real, confidence in zip(
            frame.ids.tolist(), frame.known.tolist(), canvas.given.tolist(), canvas.real.tolist(),
            frame.confidence.tolist(), strict=True,
        ):  # fmt: skip
            surfaces = self.tokenizer.surfaces(
                [i if k else self.tokenizer.pad for i, k in zip(ids, known, strict=True)]
            )
            stop = _cut(ids, self.tokenizer, known)
            rows.append(
                [
                    Piece(text if k else "", k, g, c)
                    for text, k, g, c, r in list(zip(surfaces, known, given, confidence, real, strict=True))[:stop]
                    if r
                ]
            )
        return rows

    def _require(self, what: Can) -> None:
        if what not in self.card.can:
            can = ", ".join(sorted(c.value for c in self.card.can))
            raise CapabilityError(f"{self.card.name} cannot {what.value}; it can {can}")


@dataclass(frozen=True)
class Settings:
    """How texts are to be generated."""

    steps: int = 32
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    legacy_float32: bool = False

    @classmethod
    def checked(cls, how: Mapping[str, Any]) -> Settings:
        """From keyword arguments; unknown names and values out of range are refused."""
        for name in how:
            if name not in cls.__dataclass_fields__:
                raise unknown("argument", name, cls.__dataclass_fields__)
        settings = cls(**how)
        for name, kinds, word in (
            ("steps", int, "a whole number"),
            ("seed", int, "a whole number"),
            ("temperature", (int, float), "a number"),
            ("top_p", (int, float), "a number"),
            ("legacy_float32", bool, "True or False"),
        ):
            value = getattr(settings, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
                raise UsageError(f"{name} must be {word}, not {value!r}")
        for holds, sentence in (
            (settings.steps >= 1, f"steps must be at least 1, not {settings.steps}"),
            (0 <= settings.temperature < inf, f"temperature must be at least 0, not {settings.temperature}"),
            (1 >= settings.top_p > 0, f"top_p must be above 0 and at most 1, not {settings.top_p}"),
        ):
            if not holds:
                raise UsageError(sentence)
        return settings


def load(path: str | Path, *, device: str = "auto", precision: str = "auto", team: Team = ALONE) -> Run:
    """The run in a folder, ready to write; RunError where the folder is damaged or made for something else.

    `team` is what `join()` gave, where the processes of a launch are to share the writing.
    """
    folder = Path(path)
    config = check_run(folder)
    where = pick_device(device)
    found = entry(config["system"])
    spec = files.read_spec(folder, config, found.load(found.spec))
    tokenizer, lengths = Tokenizer.load(folder / files.TOKENIZER), _lengths(folder, config)
    if tokenizer.size != spec.vocab:
        known = f"{tokenizer.size} tokens, and the run was trained with {spec.vocab}"
        raise RunError(f"{folder / files.TOKENIZER} is another run's: it knows {known}")
    system: System = found.load(found.system)(spec, lengths)
    read_weights(folder / files.MODEL, system.players)
    dtype = pick_precision(_precision(precision), where)
    for module in system.players.values():
        module.to(device=where, dtype=dtype).eval()
    return Run(folder, config, system, where, tokenizer, lengths, team)


def _precision(name: str) -> Precision:
    try:
        return Precision(name)
    except ValueError:
        raise unknown("precision", name, [p.value for p in Precision]) from None


def _lengths(folder: Path, config: Mapping[str, Any]) -> Lengths | None:
    """The lengths that a run draws from; RunError where it draws from some and they are not there."""
    texts = config["data"].get("layout") == Layout.TEXTS.value
    drawn = texts and config["spec"].get("ending") == Ending.LENGTH.value
    return Lengths.from_json(files.read_json(folder / files.LENGTHS)) if drawn else None


def _cut(ids: Sequence[int], tokenizer: Tokenizer, known: Sequence[bool] | None = None) -> int:
    """Where the text stops: at the first known end or padding token."""
    for place, i in enumerate(ids):
        if i in (tokenizer.end, tokenizer.pad) and (known is None or known[place]):
            return place
    return len(ids)
