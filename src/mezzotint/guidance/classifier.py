"""Constraints on what trained classifiers read in a noisy text.

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
"""Ids (B, L) -> states (B, L, W) without noise."""
TokenRows = Callable[[View, Tensor], Tensor]
"""(view, table (V, S)) -> (B, L, S): the rows of the tokens that a state shows, before any network has read it."""


class Classifiers:
    """A trained network with its labels; `clean` is None where it reads odds of tokens, the identity where ids."""

    def __init__(
        self,
        net: ClassifierNet,
        labels: Labels,
        clean: Clean | None,
        token_rows: TokenRows | None = None,
        begin: Callable[[Canvas], View] | None = None,
    ) -> None:
        """`token_rows` serves a network with a table of single words; `begin` gives the states of texts of which
        nothing is known but their lengths, where lengths are drawn first."""
        self.net = net
        self.labels = labels
        self.clean = clean
        self.token_rows = token_rows
        self.begin = begin

    def hidden(self, view: View) -> Tensor:
        """(B, L, D), computed once for each view."""
        if self not in view.cache:
            embed = self.net.embed if self.clean is None else None
            states = view.noised.z if embed is None else view.weighted(embed.weight)
            view.cache[self] = self.net(states, view.noised.t, view.canvas.real)
        return view.cache[self]

    def word_sum(self, view: View) -> Tensor | None:
        """(B, S), computed once for each view; None without a table of single words."""
        if self.net.words is None or self.token_rows is None:
            return None
        if self.net not in view.cache:
            rows = self.token_rows(view, self.net.words.weight)
            view.cache[self.net] = self.net.word_sum(rows, view.canvas.real)
        return view.cache[self.net]

    # ---- log-probabilities ----

    def numbered_field(self, view: View, number: int) -> Tensor:
        """(B, values): log p of each value of the field of this number."""
        return self.net.field(self.hidden(view), view.canvas.real, number, self.word_sum(view))

    def field(self, view: View, name: str) -> Tensor:
        """(B, values): log p of each value of a field."""
        return self.numbered_field(view, list(self.labels.fields).index(name)).double()

    def tags(self, view: View) -> Tensor:
        """(B, L, tags): log p of each part of speech."""
        return self.net.tags(self.hidden(view)).double()

    def phrases(self, view: View) -> Tensor:
        """(B, L, L, phrases): log p of each label of the words from one up to and with another."""
        return self.net.phrases(self.hidden(view)).double()

    def ends(self, view: View) -> Tensor:
        """(B, L, 2): log p that an unfinished text goes on, and that it ends, at each place that it reaches."""
        return self.net.ends(self.hidden(view)).double()

    # ---- constraints ----

    def says(self, name: str, value: str) -> Classified:
        """A text whose field has a value; UsageError for fields or values that were not learned."""
        if name not in self.labels.fields:
            raise unknown("field", name, self.labels.fields or ["none: the annotation had no fields"])
        values = self.labels.fields[name]
        if value not in values[1:]:
            raise unknown(f"value of {name}", value, values[1:])
        number = values.index(value)
        return self._classified(
            f"saying {name}={value}", lambda view: self.field(view, name)[:, number],
            lambda view: self.field(view, name).argmax(-1) == number,
        )  # fmt: skip

    def parts_of_speech(self, tags: Sequence[str]) -> Classified:
        """A text whose words have these parts of speech, one after another."""
        self._require(self.labels.tags, "parts of speech")
        for tag in tags:
            if tag not in self.labels.tags:
                raise unknown("part of speech", tag, self.labels.tags)
        target = torch.tensor([self.labels.tags.index(tag) for tag in tags])

        def log_p(view: View) -> Tensor:
            index = target.to(view.canvas.ids.device).expand(len(view.canvas.ids), -1)[..., None]
            return self.tags(view)[:, : len(tags)].gather(-1, index)[..., 0].sum(1)

        def judge(view: View) -> Tensor:
            likeliest = self.tags(view)[:, : len(tags)].argmax(-1)
            return (likeliest == target.to(likeliest.device)).all(1)

        return self._classified(f"of the parts of speech {' '.join(tags)}", log_p, judge, len(tags))

    def span(self, span: Span) -> Classified:
        """A text in which some words are a phrase, whatever else they are."""
        first, last, label = span
        numbers = self._labels_with(label)

        def cell(view: View) -> Tensor:
            return self.phrases(view)[:, first, last - 1]

        return self._classified(
            f"with {first}:{last}={label}", lambda view: cell(view)[:, numbers].logsumexp(-1),
            lambda view: torch.isin(cell(view).argmax(-1), torch.tensor(numbers, device=view.canvas.ids.device)), last,
        )  # fmt: skip

    def tree(self, words: int, spans: tuple[Span, ...]) -> Classified:
        """A text of so many words with exactly these phrases."""
        self._require(self.labels.phrases[1:], "phrases")
        chart = torch.zeros(words, words, dtype=torch.int64)
        for (first, last), label in cells(spans).items():
            for phrase in label.split("+"):
                self._labels_with(phrase)
            if label not in self.labels.phrases:
                raise UsageError(f"no text has the phrases {label} over the same words; the tree cannot be wanted")
            chart[first, last - 1] = self.labels.phrases.index(label)
        upper = torch.ones_like(chart, dtype=torch.bool).triu()

        def log_p(view: View) -> Tensor:
            cells_log_p = self.phrases(view)[:, :words, :words]
            index = chart.to(cells_log_p.device).expand(len(cells_log_p), -1, -1)[..., None]
            return (cells_log_p.gather(-1, index)[..., 0] * upper.to(cells_log_p.device)).sum((1, 2))

        def judge(view: View) -> Tensor:
            likeliest = self.phrases(view)[:, :words, :words].argmax(-1)
            return ((likeliest == chart.to(likeliest.device)) | ~upper.to(likeliest.device)).flatten(1).all(1)

        return self._classified("of the tree", log_p, judge, words)

    def _classified(
        self, name: str, log_p: Callable[[View], Tensor], judge: Callable[[View], Tensor], words: int = 0
    ) -> Classified:
        def of_finished(read: Callable[[View], Tensor]) -> Callable[[Tensor, Canvas], Tensor]:
            return torch.no_grad()(lambda ids, canvas: read(self._finished_view(ids, canvas)))

        return Classified(log_p=log_p, judge=of_finished(judge), chance=of_finished(log_p), name=name, words=words)

    def _finished_view(self, ids: Tensor, canvas: Canvas) -> View:
        """The view of a finished text: without noise, at t = 0."""
        z, t = ids if self.clean is None else self.clean(ids), torch.zeros(len(ids), dtype=torch.float64)
        vocab = 1 if self.net.embed is None else self.net.embed.num_embeddings
        return View(Noised(z, t.to(ids.device)), canvas, lambda: F.one_hot(ids, vocab).double())

    def _labels_with(self, phrase: str) -> list[int]:
        """The numbers of the labels of a span that name this phrase, alone or among others; a label joins by '+' all
        phrases over the same words."""
        self._require(self.labels.phrases[1:], "phrases")
        numbers = [number for number, label in enumerate(self.labels.phrases) if phrase in label.split("+")]
        if not numbers:
            raise unknown("phrase", phrase, {one for label in self.labels.phrases[1:] for one in label.split("+")})
        return numbers

    def _require(self, labels: Sequence[str], what: str) -> None:
        if not labels:
            raise CapabilityError(f"this run's classifiers tell no {what}: there were none in what they learned from")
