"""What a run is asked for, as canvases: free texts, texts with a beginning, templates with gaps; batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mezzotint.checks import check_decoder, check_guide, check_length
from mezzotint.data.canvas import close_rows, free, prefix_canvas, room, stack_canvases, template_canvas
from mezzotint.data.lengths import Lengths
from mezzotint.data.template import Template, parse_template
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import CapabilityError, RunError, UsageError
from mezzotint.guidance.classifier import Classifiers
from mezzotint.guidance.constraint import Classified, Constraint, View
from mezzotint.guidance.control import Constraints
from mezzotint.guidance.lengths import tilted_lengths
from mezzotint.guidance.wanted import constraints_of, least_tokens
from mezzotint.rng import Rng
from mezzotint.sampler.lengths import DRAWS, GapLengths, GapLengthSampler, log_evidence
from mezzotint.settings import Settings
from mezzotint.spec.wanted import Wanted
from mezzotint.types import Can, Canvas, Ending, Infiller, Layout, Request, System, Towards


@dataclass(frozen=True)
class Task:
    """Some rows to be filled, and how their ids become text again."""

    canvas: Canvas
    request: Request
    template: Template | None = None
    choices: Sequence[GapLengths] = ()
    """How long each row's gaps are; empty without a template."""
    prefix: str = ""
    """The given beginning, as typed; a space at its end belongs to the next token."""
    asked: int = 0
    """Network evaluations that chose how long its texts are, without a template."""
    wanted: Wanted = field(default_factory=Wanted)
    """What every text is to be like."""
    judged: Sequence[Classified] = ()
    """What of that classifiers tell."""
    end: int | None = None
    """The token behind which nothing counts, where a text ends by writing it."""

    def unmet(self, ids: Tensor, texts: Sequence[tuple[str, int]]) -> list[tuple[str, ...]]:
        """What does not hold of each finished row (B, L), of which a text and its number of tokens are given."""
        missed = [self.wanted.unmet_in(*text) for text in texts]
        for part in self.judged:
            held = part.holds(ids, self._ended(ids))
            for row, holds in enumerate([] if held is None else held.tolist()):
                missed[row] += [] if holds else [part.name]
        return [tuple(each) for each in missed]

    def chances(self, ids: Tensor) -> list[float]:
        """Nats: for each finished row (B, L), log p by the classifiers that it is as wanted; 0 where none is asked."""
        total = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
        for part in self.judged:
            if part.chance is not None:
                total += part.weight * part.chance(ids, self._ended(ids))
        return [float(nats) for nats in total]

    def _ended(self, ids: Tensor) -> Canvas:
        """The canvas on which finished rows are read: where they end by a token, up to and with the first."""
        canvas = self.request.canvas
        if self.end is None:
            return canvas
        ends = (ids == self.end).long()
        return replace(canvas, real=canvas.real & (ends.cumsum(1) == ends))

    def gaps(self, row: int) -> tuple[int, ...]:
        """The lengths of a row's gaps."""
        return self.choices[row].lengths if self.choices else ()

    def nfe(self, row: int) -> int:
        """Network evaluations that were spent on a row before it is written."""
        return self.choices[row].nfe if self.choices else self.asked

    def text(self, tokenizer: Tokenizer, row: int, ids: Sequence[int]) -> str:
        """The text of a row's ids, with what was given byte for byte, words that the tokenizer does not know too."""
        if self.template is not None:
            return self.template.text(tokenizer, ids, self.gaps(row))
        if not self.prefix:
            return tokenizer.decode(ids)
        written = ids[int(self.canvas.given[row].sum()) :]
        return self.prefix.removesuffix(" ") + tokenizer.decode(written, virtual_space=False)


def controlled(task: Task, parts: Sequence[Constraint], how: Settings, led: bool, end: int | None) -> Task:
    """The task with what is wanted of its texts; UsageError where that cannot be.

    One that cannot be `led` is told of it all the same, for choosing. `end` closes its texts, where a token does.
    """
    if not parts and not how.wanted.is_anything:
        return task
    judged = [part for part in parts if isinstance(part, Classified)]
    task = replace(task, wanted=how.wanted, judged=judged, end=end)
    if not led:
        return task
    control = Constraints(parts, how.steering, how.hard, how.soft)
    return replace(task, request=replace(task.request, control=control))


class TaskBuilder:
    """Where tasks are made for one trained system."""

    def __init__(
        self,
        config: Mapping[str, Any],
        system: System,
        tokenizer: Tokenizer,
        lengths: Lengths | None,
        device: torch.device,
        read: Callable[[], Classifiers],
    ) -> None:
        """`read` gives the run's classifiers of noisy texts, or says how to make some."""
        self.config = config
        self.read = read
        self.system = system
        self.tokenizer = tokenizer
        self.lengths = lengths
        self.device = device
        self.spec = system.spec

    def tasks(
        self, n: int, template: str | None, prefix: str | None, batch_size: int, how: Mapping[str, Any]
    ) -> Iterator[Task]:
        """n rows in batches; UsageError or CapabilityError for what cannot be served."""
        settings = Settings.checked(how)
        if Can.TRANSLATE in self.system.card.can:
            raise CapabilityError(
                f"{self.system.card.name} writes from a source; use `mezzotint.translate(run, texts)`"
            )
        if not isinstance(n, int) or not isinstance(batch_size, int):
            raise UsageError(f"n and batch_size must be whole numbers, not {n!r} and {batch_size!r}")
        if n < 1 or batch_size < 1:
            raise UsageError(f"n and batch_size must be at least 1, not {n} and {batch_size}")
        if template is not None and prefix is not None:
            raise UsageError("a template says what is given; leave prefix out")
        check_decoder(self.system.card, settings.decoder, settings.threshold, settings.strength)
        check_length(self.system.card, self.config, settings.length, settings.block, settings.reuse)
        check_guide(self.system.card, settings.guide, settings.decoder)
        if not settings.carry_guided or (settings.guidance != 1 and settings.guide is Towards.NOTHING):
            self._require(Can.GUIDE)
        if template is not None and (settings.length or settings.wanted.tokens) is not None:
            raise UsageError("a template says how long the text is; leave length out")
        parts, led = self._parts(settings), Can.CONTROL in self.system.card.can
        end = self.tokenizer.end if self.spec.ending is Ending.SYMBOL else None
        batches = [range(first, min(first + batch_size, n)) for first in range(0, n, batch_size)]
        if template is not None:
            self._require(Can.INFILL)
            for task in self._templates(batches, template, settings):
                yield controlled(task, parts, settings, led, end)
            return
        if prefix:
            self._require(Can.CONTINUE)
        # A text of a length that was asked for does not end before it.
        closing = () if settings.length else self._closing
        special = [i for i in self.tokenizer.special if i not in closing]
        # The space before the next word is part of that word's token, as at a gap.
        awaited = prefix is not None and prefix.endswith(" ")
        given = self.tokenizer.encode(prefix.removesuffix(" ")) if prefix else []

        def laid(lengths: Sequence[int], rows: Sequence[int]) -> Canvas:
            if not given:
                return free(lengths, rows, self.tokenizer.pad)
            return prefix_canvas(given, lengths, rows, self.tokenizer.pad, start=int(awaited))

        law, asked = self._law(len(given), settings, least_tokens(settings.wanted, parts)), 0
        judged = [part for part in parts if isinstance(part, Classified)]
        if isinstance(law, Lengths) and judged and led and settings.soft:
            law, asked = self._leaned(law, judged, settings, laid)
        for rows in batches:
            canvas = laid(_drawn(law, rows, settings.seed), list(rows))
            task = Task(canvas, self._request(canvas, settings, special), prefix=prefix or "", asked=asked)
            yield controlled(task, parts, settings, led, end)

    def _parts(self, how: Settings) -> list[Constraint]:
        """What is wanted, as constraints; UsageError or CapabilityError where this run cannot serve it."""
        wanted = how.wanted
        if not wanted.is_anything:
            return []
        if not how.chosen:
            self._require(Can.CONTROL)
        if wanted.of_words and self.tokenizer.kind != "word":
            raise CapabilityError("parts of speech and phrases are of words, and this run writes pieces of words")
        if wanted.tokens is not None:
            if self.config["data"].get("layout") == Layout.WINDOWS.value:
                raise CapabilityError("this run writes windows of running text; only texts can be asked for a length")
            if wanted.tokens > self.room:
                most = f"this run's texts have at most {self.room}"
                raise UsageError(f"a text of {wanted.tokens} tokens is wanted; {most}")
        if wanted.has and not how.chosen and Can.INFILL not in self.system.card.can:
            raise CapabilityError(
                f"{self.system.card.name} writes from left to right, and nothing tells it that '{wanted.has[0]}' will "
                "come; have the best of several texts chosen"
            )
        return constraints_of(wanted, self.tokenizer, self.spec.ending, self.read, self._foresees(how))

    def _foresees(self, how: Settings) -> bool:
        """Whether classifiers say where texts will end that close by a token: where they are asked anyway, or nothing
        else makes texts as long as wanted, or the run has some. Without, a text of a length is cut off at it."""
        if not how.soft or how.wanted.tokens is None or self.spec.ending is not Ending.SYMBOL:
            return False
        if how.wanted.is_read or not how.hard:
            return True
        try:
            self.read()
        except RunError:
            return False
        return True

    def likeness(self, task: Task) -> Hashable:
        """What tasks have to have in common to be written together without a change to any text."""
        asked, given = task.request, task.canvas.given
        # A writer from left to right goes on behind prefixes of one length only; guidance by what is given asks the
        # network a second time where there is something; blocks go over texts of one length.
        placed = bool(given.any()) if Can.INFILL in self.system.card.can else int(given[0].sum())
        return (
            asked.steps, asked.temperature, asked.top_p, asked.decoder, asked.threshold, asked.strength, asked.guidance,
            asked.carry_guided, asked.guide, asked.block, asked.reuse, asked.forbidden, placed, id(asked.control),
            None if asked.block is None else (given.shape[1], int(given[0].sum())),
        )  # fmt: skip

    def joined(self, tasks: Sequence[Task]) -> Request:
        """Tasks of one likeness as one request: their rows under one another, each with its own stream."""
        assert len({self.likeness(task) for task in tasks}) == 1, "these tasks differ in what all rows share"
        first, *others = (task.request for task in tasks)
        if not others:
            return first
        streams = [(task.request.seed, index) for task in tasks for index in task.canvas.index.tolist()]
        return replace(
            first,
            canvas=stack_canvases([task.request.canvas for task in tasks], self.tokenizer.pad),
            seed=tuple((seed, index) for seed, index in streams if isinstance(seed, int)),
        )

    def _request(self, canvas: Canvas, how: Settings, forbidden: Iterable[int]) -> Request:
        spaced = torch.from_numpy(self.tokenizer.spaced).to(self.device)
        request = Request(
            canvas.to(self.device), steps=how.steps, seed=how.seed, temperature=how.temperature, top_p=how.top_p,
            decoder=how.decoder, guidance=how.guidance, carry_guided=how.carry_guided, guide=how.guide,
            forbidden=tuple(sorted(forbidden)), spaced=spaced, reuse=how.reuse,
            block=None if how.length is None else how.block or max(1, self.spec.canvas // 4),
        )  # fmt: skip
        if how.threshold is not None:
            request = replace(request, threshold=how.threshold)
        return request if how.strength is None else replace(request, strength=how.strength)

    def _require(self, what: Can) -> None:
        card = self.system.card
        if what not in card.can:
            can = ", ".join(sorted(c.value for c in card.can))
            raise CapabilityError(f"{card.name} cannot {what.value}; it can {can}")

    # ------------------------------------------------------------ free texts

    @property
    def _closing(self) -> tuple[int, ...]:
        """The special tokens that are part of what is written in a free text."""
        if self.spec.ending is Ending.FILL:
            return self.tokenizer.end, self.tokenizer.pad
        whole = self.lengths is not None
        return () if whole else (self.tokenizer.end,)

    def _law(self, given: int, how: Settings, needed: int) -> Lengths | int:
        """How long texts are, all alike or by chance. `needed`: how many tokens have to be there beside the prefix."""
        most = self.room if self.lengths is not None else self.spec.canvas
        asked = how.length or how.wanted.tokens
        if given >= (asked or most):
            texts = "the text is to have" if asked else "this run's texts have at most"
            raise UsageError(f"the prefix is {given} tokens long; {texts} {asked or most}")
        # A text that ends by a token is as long as wanted where it cannot end before, nor go on.
        settled = self.spec.ending is Ending.SYMBOL and how.hard and Can.CONTROL in self.system.card.can
        if how.wanted.tokens is not None and (settled or self.spec.ending is Ending.LENGTH):
            return how.wanted.tokens
        if self.lengths is None:
            return how.length or self.spec.canvas
        return self.lengths.given(given + max(1, needed))

    def _leaned(
        self, law: Lengths, judged: Sequence[Classified], how: Settings, laid: Callable[..., Canvas]
    ) -> tuple[Lengths, int]:
        """The lengths of texts that are as wanted, as far as classifiers can say, and evaluations that it took."""
        reader = self.read()
        begin = reader.begin
        if begin is None:
            return law, 0

        def begun(lengths: Sequence[int]) -> View:
            return begin(laid(lengths, range(len(lengths))).to(self.device))

        law, asked = tilted_lengths(law, judged, begun, how.steering.strength)
        # Vectors of noise are read as they are; of masks the network is asked what stands under them.
        return law, asked if reader.clean is None else 0

    # ------------------------------------------------------------ templates

    @property
    def room(self) -> int:
        """The most tokens that a text can have."""
        return room(self.spec.canvas, self.spec.ending)

    def _templates(self, batches: Sequence[range], text: str, how: Settings) -> Iterator[Task]:
        template = parse_template(text)
        _, given, _ = template.fill(self.tokenizer, [1] * len(template.gaps))
        least = sum(given) + sum(gap.low for gap in template.gaps)
        if (needed := max((last for _, last, _ in how.wanted.spans), default=0)) > least:
            raise UsageError(
                f"what is wanted takes {needed} tokens, and the template can be as short as {least}; write longer gaps"
            )
        choose = self._chooser(template, how.seed)
        for rows in batches:
            choices = choose(Rng(how.seed, rows), how.temperature, how.top_p)
            canvas = template_canvas(template, self.tokenizer, [choice.lengths for choice in choices], rows)
            if self.spec.ending is Ending.FILL:
                canvas = close_rows(canvas, self.spec.canvas, self.tokenizer.end, self.tokenizer.pad)
            yield Task(canvas, self._request(canvas, how, self.tokenizer.special), template, choices)

    def _chooser(self, template: Template, seed: int) -> GapLengthSampler:
        """What chooses the lengths of the gaps; UsageError where they do not fit even at their shortest."""
        _, given, _ = template.fill(self.tokenizer, [1] * len(template.gaps))
        least = sum(given) + sum(gap.low for gap in template.gaps)
        if least > self.room:
            raise UsageError(f"the template is {least} tokens long; this run's texts have at most {self.room}")
        is_filled = self.spec.ending is Ending.FILL
        draws = DRAWS if any(given) or is_filled else 1

        def weigh(lengths: tuple[int, ...]) -> float:
            canvas = template_canvas(template, self.tokenizer, [lengths], [0])
            if is_filled:
                # What is behind the end token is certain. Left unknown, it leaves all lengths as many given tokens.
                canvas = close_rows(canvas, self.spec.canvas, self.tokenizer.end, self.tokenizer.pad, known=False)
            if not isinstance(self.system, Infiller):
                name = self.system.card.name
                raise CapabilityError(f"{name} cannot choose the lengths of gaps; write [3] for a gap of three tokens")
            return log_evidence(self.system, canvas.to(self.device), seed, draws)

        return GapLengthSampler(template.gaps, self.room - sum(given), weigh, draws)


def _drawn(law: Lengths | int, rows: range, seed: int) -> list[int]:
    """How long the text of each row is."""
    if isinstance(law, int):
        return [law] * len(rows)
    return [law.draw(float(u)) for u in Rng(seed, rows).at("length").uniform()]
