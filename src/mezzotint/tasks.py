"""What a run is asked for, as canvases: free texts, texts with a beginning, templates with gaps; batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from mezzotint.checks import check_decoder, check_guide, check_length
from mezzotint.data.canvas import close_rows, free, prefix_canvas, room, stack_canvases, template_canvas
from mezzotint.data.lengths import Lengths
from mezzotint.data.template import Gap, Template, parse_template
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import CapabilityError, RunError, UsageError
from mezzotint.guidance.classifier import Classifiers
from mezzotint.guidance.constraint import Classified, Constraint, View
from mezzotint.guidance.control import Constraints
from mezzotint.guidance.lengths import tilted_lengths
from mezzotint.guidance.phrases import Contains
from mezzotint.guidance.wanted import constraints_of, least_tokens, roomy_gaps
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
    nfe_before: int = 0
    """Network evaluations that chose how long its texts are, without a template."""
    wanted: Wanted = field(default_factory=Wanted)
    """What every text is to be like."""
    classified: Sequence[Classified] = ()
    """Those of its constraints that classifiers judge."""
    end: int | None = None
    """The token behind which nothing counts, where a text ends by writing it."""

    def unmet(self, ids: Tensor, texts: Sequence[tuple[str, int]]) -> list[tuple[str, ...]]:
        """What does not hold of each finished row (B, L), of which a text and its number of tokens are given."""
        missed = [self.wanted.unmet_in(*text) for text in texts]
        for part in self.classified:
            holds_B = part.holds(ids, self._up_to_end(ids))
            for row, holds in enumerate([] if holds_B is None else holds_B.tolist()):
                is_long_enough = texts[row][1] >= part.min_tokens
                missed[row] += [] if holds and is_long_enough else [part.name]
        return [tuple(names) for names in missed]

    def chances(self, ids: Tensor, counts: Sequence[int]) -> list[float]:
        """Nats: for each finished row (B, L) of so many tokens, log p by the classifiers that it is as wanted; 0 where
        none is asked, minus infinity where it ends before what is wanted does."""
        total = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
        for part in self.classified:
            if part.chance is not None:
                total += part.weight * part.chance(ids, self._up_to_end(ids))
            total[torch.tensor(counts, device=ids.device) < part.min_tokens] = -inf
        return [float(nats) for nats in total]

    def _up_to_end(self, ids: Tensor) -> Canvas:
        """The canvas of finished rows; where they end by a token, without what stands behind the first."""
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
        return self.choices[row].nfe if self.choices else self.nfe_before

    def text(self, tokenizer: Tokenizer, row: int, ids: Sequence[int]) -> str:
        """The text of a row's ids, with what was given byte for byte, words that the tokenizer does not know too."""
        if self.template is not None:
            return self.template.text(tokenizer, ids, self.gaps(row))
        if not self.prefix:
            return tokenizer.decode(ids)
        written = ids[int(self.canvas.given[row].sum()) :]
        return self.prefix.removesuffix(" ") + tokenizer.decode(written, virtual_space=False)


def with_control(
    task: Task, constraints: Sequence[Constraint], settings: Settings, is_steerable: bool, end: int | None
) -> Task:
    """The task with what is wanted of its texts; UsageError where that cannot be.

    One that is not steerable keeps it all the same, for choosing. `end` closes its texts, where a token does.
    """
    if not constraints and not settings.wanted.is_anything:
        return task
    classified = [part for part in constraints if isinstance(part, Classified)]
    task = replace(task, wanted=settings.wanted, classified=classified, end=end)
    if not is_steerable:
        return task
    control = Constraints(constraints, settings.steering, settings.hard, settings.soft)
    return replace(task, request=replace(task.request, control=control))


class TaskBuilder:
    """Makes the tasks of one trained system."""

    def __init__(
        self,
        config: Mapping[str, Any],
        system: System,
        tokenizer: Tokenizer,
        lengths: Lengths | None,
        device: torch.device,
        load_classifiers: Callable[[], Classifiers],
    ) -> None:
        """`load_classifiers` gives the run's classifiers of noisy texts; RunError says how to make some."""
        self.config = config
        self.load_classifiers = load_classifiers
        self.system = system
        self.tokenizer = tokenizer
        self.lengths = lengths
        self.device = device
        self.spec = system.spec

    def tasks(
        self, n: int, template: str | None, prefix: str | None, batch_size: int, options: Mapping[str, Any]
    ) -> Iterator[Task]:
        """n rows in batches; UsageError or CapabilityError for what cannot be served."""
        settings = Settings.checked(options)
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
        constraints, is_steerable = self._constraints(settings), Can.CONTROL in self.system.card.can
        end = self.tokenizer.end if self.spec.ending is Ending.SYMBOL else None
        batches = [range(first, min(first + batch_size, n)) for first in range(0, n, batch_size)]
        if template is not None:
            self._require(Can.INFILL)
            for task in self._template_tasks(batches, template, settings, constraints):
                yield with_control(task, constraints, settings, is_steerable, end)
            return
        if prefix:
            self._require(Can.CONTINUE)
        # A text of a length that was asked for does not end before it.
        allowed = () if settings.length else self._allowed_special
        forbidden = [i for i in self.tokenizer.special if i not in allowed]
        # The space before the next word is part of that word's token, as at a gap.
        has_space = prefix is not None and prefix.endswith(" ")
        given = self.tokenizer.encode(prefix.removesuffix(" ")) if prefix else []

        def make_canvas(lengths: Sequence[int], rows: Sequence[int]) -> Canvas:
            if not given:
                return free(lengths, rows, self.tokenizer.pad)
            return prefix_canvas(given, lengths, rows, self.tokenizer.pad, start=int(has_space))

        law, nfe = self._length_law(len(given), settings, least_tokens(settings.wanted, constraints, len(given))), 0
        classified = [part for part in constraints if isinstance(part, Classified)]
        if isinstance(law, Lengths) and classified and is_steerable and settings.soft:
            law, nfe = self._tilted_lengths(law, classified, settings, make_canvas)
        for rows in batches:
            canvas = make_canvas(_draw_lengths(law, rows, settings.seed), list(rows))
            task = Task(canvas, self._request(canvas, settings, forbidden), prefix=prefix or "", nfe_before=nfe)
            yield with_control(task, constraints, settings, is_steerable, end)

    def _constraints(self, settings: Settings) -> list[Constraint]:
        """What is wanted, as constraints; UsageError or CapabilityError where this run cannot serve it."""
        wanted = settings.wanted
        if not wanted.is_anything:
            return []
        if not settings.chosen:
            self._require(Can.CONTROL)
        if wanted.of_words and self.tokenizer.kind != "word":
            raise CapabilityError("parts of speech and phrases are of words, and this run writes pieces of words")
        if wanted.tokens is not None:
            if self.config["data"].get("layout") == Layout.WINDOWS.value:
                raise CapabilityError("this run writes windows of running text; only texts can be asked for a length")
            if wanted.tokens > self.room:
                most = f"this run's texts have at most {self.room}"
                raise UsageError(f"a text of {wanted.tokens} tokens is wanted; {most}")
        if wanted.has and not settings.chosen and Can.INFILL not in self.system.card.can:
            raise CapabilityError(
                f"{self.system.card.name} writes from left to right, and nothing tells it that '{wanted.has[0]}' will "
                "come; have the best of several texts chosen"
            )
        return constraints_of(
            wanted, self.tokenizer, self.spec.ending, self.load_classifiers, self._classifiers_tell_ends(settings)
        )

    def _classifiers_tell_ends(self, settings: Settings) -> bool:
        """Whether classifiers say where texts will end that close by a token: where they are asked anyway, or nothing
        else makes texts as long as wanted, or the run has some. Without, a text of a length is cut off at it."""
        if not settings.soft or settings.wanted.tokens is None or self.spec.ending is not Ending.SYMBOL:
            return False
        if settings.wanted.is_read or not settings.hard:
            return True
        try:
            self.load_classifiers()
        except RunError:
            return False
        return True

    def batch_key(self, task: Task) -> Hashable:
        """What tasks have to share to be written in one batch without a change to any text."""
        request, given = task.request, task.canvas.given
        # A writer from left to right goes on behind prefixes of one length only; guidance by what is given asks the
        # network a second time where there is something; blocks go over texts of one length.
        given_key = bool(given.any()) if Can.INFILL in self.system.card.can else int(given[0].sum())
        return (
            request.steps, request.temperature, request.top_p, request.decoder, request.threshold, request.strength,
            request.guidance, request.carry_guided, request.guide, request.block, request.reuse, request.forbidden,
            given_key, id(request.control),
            None if request.block is None else (given.shape[1], int(given[0].sum())),
        )  # fmt: skip

    def merge(self, tasks: Sequence[Task]) -> Request:
        """Tasks of one batch key as one request: their rows under one another, each with its own stream."""
        assert len({self.batch_key(task) for task in tasks}) == 1, "these tasks differ in what all rows share"
        first, *others = (task.request for task in tasks)
        if not others:
            return first
        streams = [(task.request.seed, index) for task in tasks for index in task.canvas.index.tolist()]
        return replace(
            first,
            canvas=stack_canvases([task.request.canvas for task in tasks], self.tokenizer.pad),
            seed=tuple((seed, index) for seed, index in streams if isinstance(seed, int)),
        )

    def _request(self, canvas: Canvas, settings: Settings, forbidden: Iterable[int]) -> Request:
        spaced = torch.from_numpy(self.tokenizer.spaced).to(self.device)
        request = Request(
            canvas.to(self.device), steps=settings.steps, seed=settings.seed, temperature=settings.temperature,
            top_p=settings.top_p, decoder=settings.decoder, guidance=settings.guidance,
            carry_guided=settings.carry_guided, guide=settings.guide, forbidden=tuple(sorted(forbidden)),
            spaced=spaced, reuse=settings.reuse,
            block=None if settings.length is None else settings.block or max(1, self.spec.canvas // 4),
        )  # fmt: skip
        if settings.threshold is not None:
            request = replace(request, threshold=settings.threshold)
        return request if settings.strength is None else replace(request, strength=settings.strength)

    def _require(self, ability: Can) -> None:
        card = self.system.card
        if ability not in card.can:
            can = ", ".join(sorted(c.value for c in card.can))
            raise CapabilityError(f"{card.name} cannot {ability.value}; it can {can}")

    # ------------------------------------------------------------ free texts

    @property
    def _allowed_special(self) -> tuple[int, ...]:
        """The special tokens that are part of what is written in a free text."""
        if self.spec.ending is Ending.FILL:
            return self.tokenizer.end, self.tokenizer.pad
        return () if self.lengths is not None else (self.tokenizer.end,)

    def _length_law(self, num_given: int, settings: Settings, needed: int) -> Lengths | int:
        """The length of texts, fixed or a law. `needed`: how many tokens have to be there, with the prefix."""
        most = self.room if self.lengths is not None else self.spec.canvas
        length = settings.length or settings.wanted.tokens
        if num_given >= (length or most):
            texts = "the text is to have" if length else "this run's texts have at most"
            raise UsageError(f"the prefix is {num_given} tokens long; {texts} {length or most}")
        # A text that ends by a token is as long as wanted where it cannot end before, nor go on.
        can_end_exactly = self.spec.ending is Ending.SYMBOL and settings.hard and Can.CONTROL in self.system.card.can
        if settings.wanted.tokens is not None and (can_end_exactly or self.spec.ending is Ending.LENGTH):
            return settings.wanted.tokens
        if self.lengths is None:
            return settings.length or self.spec.canvas
        return self.lengths.given(needed)

    def _tilted_lengths(
        self, law: Lengths, parts: Sequence[Classified], settings: Settings, make_canvas: Callable[..., Canvas]
    ) -> tuple[Lengths, int]:
        """The lengths of texts that are as wanted, by what classifiers say, and the network evaluations it took."""
        classifiers = self.load_classifiers()
        begin = classifiers.begin
        if begin is None:
            return law, 0

        def begin_texts(lengths: Sequence[int]) -> View:
            return begin(make_canvas(lengths, range(len(lengths))).to(self.device))

        law, nfe = tilted_lengths(law, parts, begin_texts, settings.steering.strength)
        # Vectors of noise are read as they are; of masks the network is asked what stands under them.
        return law, nfe if classifiers.clean is None else 0

    # ------------------------------------------------------------ templates

    @property
    def room(self) -> int:
        """The most tokens that a text can have."""
        return room(self.spec.canvas, self.spec.ending)

    def _template_tasks(
        self, batches: Sequence[range], text: str, settings: Settings, constraints: Sequence[Constraint]
    ) -> Iterator[Task]:
        template = parse_template(text)
        _, given, _ = template.fill(self.tokenizer, [1] * len(template.gaps))
        num_given = sum(given)
        shortest = template_canvas(template, self.tokenizer, [[gap.low for gap in template.gaps]], [0])
        gaps = roomy_gaps(template.gaps, self._tokens_to_add(shortest, constraints))
        least = num_given + sum(gap.low for gap in template.gaps)
        if (needed := max((last for _, last, _ in settings.wanted.spans), default=0)) > least:
            raise UsageError(
                f"what is wanted takes {needed} tokens, and the template can be as short as {least}; write longer gaps"
            )
        if least > self.room:
            raise UsageError(f"the template is {least} tokens long; this run's texts have at most {self.room}")
        if num_given + sum(gap.low for gap in gaps) > self.room:
            raise UsageError(
                f"with what it is to contain, the template is longer than the {self.room} tokens of a text"
            )
        choose = self._gap_sampler(template, gaps, num_given, settings.seed)
        for rows in batches:
            choices = choose(Rng(settings.seed, rows), settings.temperature, settings.top_p)
            canvas = template_canvas(template, self.tokenizer, [choice.lengths for choice in choices], rows)
            if self.spec.ending is Ending.FILL:
                canvas = close_rows(canvas, self.spec.canvas, self.tokenizer.end, self.tokenizer.pad)
            yield Task(canvas, self._request(canvas, settings, self.tokenizer.special), template, choices)

    @staticmethod
    def _tokens_to_add(canvas: Canvas, constraints: Sequence[Constraint]) -> int:
        """How many tokens a text needs for what it is to contain and what is not given on its canvas."""
        given = replace(canvas, real=canvas.given)
        phrases = [part for part in constraints if isinstance(part, Contains)]
        return sum(min(map(len, p.phrases)) for p in phrases if not bool(p.holds(canvas.ids, given).all()))

    def _gap_sampler(self, template: Template, gaps: Sequence[Gap], num_given: int, seed: int) -> GapLengthSampler:
        """What chooses the lengths of a template's gaps, within `gaps`, between `num_given` given tokens."""
        is_filled = self.spec.ending is Ending.FILL
        draws = DRAWS if num_given or is_filled else 1

        def weigh(lengths: tuple[int, ...]) -> float:
            canvas = template_canvas(template, self.tokenizer, [lengths], [0])
            if is_filled:
                # What is behind the end token is certain. Left unknown, it leaves all lengths as many given tokens.
                canvas = close_rows(canvas, self.spec.canvas, self.tokenizer.end, self.tokenizer.pad, known=False)
            if not isinstance(self.system, Infiller):
                name = self.system.card.name
                raise CapabilityError(f"{name} cannot choose the lengths of gaps; write [3] for a gap of three tokens")
            return log_evidence(self.system, canvas.to(self.device), seed, draws)

        return GapLengthSampler(gaps, self.room - num_given, weigh, draws)


def _draw_lengths(law: Lengths | int, rows: range, seed: int) -> list[int]:
    """The length of each row's text."""
    if isinstance(law, int):
        return [law] * len(rows)
    return [law.draw(float(u)) for u in Rng(seed, rows).at("length").uniform()]
