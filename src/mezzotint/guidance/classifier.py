"""What a trained annotator reads in a noisy text, as constraints.

Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5 and App. D: the loss of a control is -log p of its labels given the
state. Departure: summed over words, or over pairs of words, where the code takes the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.data.trees import cells
from mezzotint.errors import CapabilityError, UsageError, unknown
from mezzotint.guidance.constraint import Classified, View
from mezzotint.net.classifier import ClassifierNet
from mezzotint.spec.classifier import Labels
from mezzotint.spec.wanted import Span
from mezzotint.types import Canvas, Noised

Clean = Callable[[Tensor], Tensor]
"""ids (B, L) -> states (B, L, W) without noise."""
Shown = Callable[[View, Tensor], Tensor]
"""view, table (V, S) -> (B, L, S): the rows of the tokens that a state shows, before any network has read it."""


class Classifiers:
    """An annotator at work; `clean` is None where it reads odds of tokens, and changes nothing where it reads ids."""

    def __init__(
        self,
        net: ClassifierNet,
        labels: Labels,
        clean: Clean | None,
        shown: Shown | None = None,
        begin: Callable[[Canvas], View] | None = None,
    ) -> None:
        """`shown` is for an annotator in which words have a say of their own; `begin` gives the states of texts of
        which nothing is written yet but their lengths, where lengths are drawn before."""
        self.net = net
        self.labels = labels
        self.clean = clean
        self.shown = shown
        self.begin = begin

    def hidden(self, view: View) -> Tensor:
        """(B, L, D), computed once for each view."""
        if self not in view.kept:
            embed = self.net.embed if self.clean is None else None
            states = view.noised.z if embed is None else view.weighted(embed.weight)
            view.kept[self] = self.net(states, view.noised.t, view.canvas.real)
        return view.kept[self]

    def summed(self, view: View) -> Tensor | None:
        """(B, S), computed once for each view; None where words have no say of their own."""
        if self.net.words is None or self.shown is None:
            return None
        if self.net not in view.kept:
            view.kept[self.net] = self.net.summed(self.shown(view, self.net.words.weight), view.canvas.real)
        return view.kept[self.net]

    # ---- what can be told ----

    def numbered(self, view: View, number: int) -> Tensor:
        """(B, values): log p of each value of the field of this number."""
        return self.net.field(self.hidden(view), view.canvas.real, number, self.summed(view))

    def field(self, view: View, name: str) -> Tensor:
        """(B, values): log p of each value of a field."""
        return self.numbered(view, list(self.labels.fields).index(name)).double()

    def tags(self, view: View) -> Tensor:
        """(B, L, tags)."""
        return self.net.tags(self.hidden(view)).double()

    def phrases(self, view: View) -> Tensor:
        """(B, L, L, phrases): from a word up to and with another."""
        return self.net.phrases(self.hidden(view)).double()

    def ends(self, view: View) -> Tensor:
        """(B, L, 2): that a text which is still being written goes on, or ends, at each place that it reaches."""
        return self.net.ends(self.hidden(view)).double()

    # ---- constraints ----

    def says(self, name: str, value: str, weight: float = 1.0) -> Classified:
        """A text whose field has a value; UsageError for fields or values that were not learned."""
        if name not in self.labels.fields:
            raise unknown("field", name, self.labels.fields or ["none: the annotation had no fields"])
        known = self.labels.fields[name]
        if value not in known[1:]:
            raise unknown(f"value of {name}", value, known[1:])
        place = known.index(value)
        return self._classified(
            f"saying {name}={value}", weight, lambda view: self.field(view, name)[:, place],
            lambda view: self.field(view, name).argmax(-1) == place,
        )  # fmt: skip

    def parts_of_speech(self, tags: Sequence[str], weight: float = 1.0) -> Classified:
        """A text whose words have these parts of speech, one after another."""
        self._demand(self.labels.tags, "parts of speech")
        for tag in tags:
            if tag not in self.labels.tags:
                raise unknown("part of speech", tag, self.labels.tags)
        wanted = torch.tensor([self.labels.tags.index(tag) for tag in tags])

        def read(view: View) -> Tensor:
            at = wanted.to(view.canvas.ids.device).expand(len(view.canvas.ids), -1)[..., None]
            return self.tags(view)[:, : len(tags)].gather(-1, at)[..., 0].sum(1)

        def judge(view: View) -> Tensor:
            found = self.tags(view)[:, : len(tags)].argmax(-1)
            return (found == wanted.to(found.device)).all(1)

        return self._classified(f"of the parts of speech {' '.join(tags)}", weight, read, judge, len(tags))

    def span(self, span: Span, weight: float = 1.0) -> Classified:
        """A text in which some words are a phrase, whatever else they are."""
        first, last, label = span
        held = self._holding(label)

        def cell(view: View) -> Tensor:
            return self.phrases(view)[:, first, last - 1]

        return self._classified(
            f"with {first}:{last}={label}", weight, lambda view: cell(view)[:, held].logsumexp(-1),
            lambda view: torch.isin(cell(view).argmax(-1), torch.tensor(held, device=view.canvas.ids.device)), last,
        )  # fmt: skip

    def tree(self, words: int, spans: tuple[Span, ...], weight: float = 1.0) -> Classified:
        """A text of so many words with exactly these phrases."""
        self._demand(self.labels.phrases[1:], "phrases")
        chart = torch.zeros(words, words, dtype=torch.int64)
        for (first, last), label in cells(spans).items():
            for one in label.split("+"):
                self._holding(one)
            if label not in self.labels.phrases:
                raise UsageError(f"no text has the phrases {label} over the same words; the tree cannot be wanted")
            chart[first, last - 1] = self.labels.phrases.index(label)
        above = torch.ones_like(chart, dtype=torch.bool).triu()

        def read(view: View) -> Tensor:
            said = self.phrases(view)[:, :words, :words]
            at = chart.to(said.device).expand(len(said), -1, -1)[..., None]
            return (said.gather(-1, at)[..., 0] * above.to(said.device)).sum((1, 2))

        def judge(view: View) -> Tensor:
            found = self.phrases(view)[:, :words, :words].argmax(-1)
            return ((found == chart.to(found.device)) | ~above.to(found.device)).flatten(1).all(1)

        return self._classified("of the tree", weight, read, judge, words)

    def _classified(
        self,
        name: str,
        weight: float,
        read: Callable[[View], Tensor],
        judge: Callable[[View], Tensor],
        words: int = 0,
    ) -> Classified:
        def finished(told: Callable[[View], Tensor]) -> Callable[[Tensor, Canvas], Tensor]:
            def of(ids: Tensor, canvas: Canvas) -> Tensor:
                with torch.no_grad():
                    return told(self._finished(ids, canvas))

            return of

        of_text = {"judge": finished(judge), "chance": finished(read)}
        return Classified(log_p=read, **of_text, name=name, weight=weight, words=words)

    def _finished(self, ids: Tensor, canvas: Canvas) -> View:
        """A finished text as it is read: without noise, at t = 0."""
        z, t = ids if self.clean is None else self.clean(ids), torch.zeros(len(ids), dtype=torch.float64)
        size = 1 if self.net.embed is None else self.net.embed.num_embeddings
        return View(Noised(z, t.to(ids.device)), canvas, lambda: F.one_hot(ids, size).double())

    def _holding(self, label: str) -> list[int]:
        """The labels of words that are such a phrase, among others of the same words or alone."""
        self._demand(self.labels.phrases[1:], "phrases")
        held = [k for k, joined in enumerate(self.labels.phrases) if label in joined.split("+")]
        if not held:
            raise unknown("phrase", label, {one for joined in self.labels.phrases[1:] for one in joined.split("+")})
        return held

    def _demand(self, known: Sequence[str], what: str) -> None:
        if not known:
            raise CapabilityError(f"this run's classifiers tell no {what}: there were none in what they learned from")
