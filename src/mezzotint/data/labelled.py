"""Annotated texts as rows of labels: what each value is numbered, and batches of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.data.annotated import Annotated
from mezzotint.data.trees import cells
from mezzotint.spec.classifier import Labels
from mezzotint.types import Canvas

FEWEST = 3
"""Texts that a value of a field has to stand in to be learned."""
MOST = 2000
"""Values that a field can have; one with more is no field but a text."""
IGNORED = -1
"""The label of what nothing is known of."""


@dataclass(frozen=True)
class Labelled(Canvas):
    """A canvas with what is known of its rows: `fields` (B, F), `tags` (B, L), `phrases` (B, L, L) and `ends` (B, L),
    int64. The last says of each place up to that behind the last token whether the text ends there."""

    labels: Mapping[str, Tensor] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Labelled:
        moved = super().to(device)
        assert isinstance(moved, Labelled)
        return replace(moved, labels={name: tensor.to(device) for name, tensor in self.labels.items()})


def labels_of(texts: Sequence[Annotated]) -> Labels:
    """All that some texts tell apart."""
    counts: dict[str, Counter[str]] = {}
    for one in texts:
        for name, value in one.fields.items():
            counts.setdefault(name, Counter())[value] += 1
    kept = {name: sorted(v for v, n in found.items() if n >= FEWEST) for name, found in sorted(counts.items())}
    fields = {name: ("", *values) for name, values in kept.items() if 1 <= len(values) <= MOST}
    tags = {tag for one in texts for tag in one.tags or ()}
    phrases = {label for one in texts if one.spans is not None for label in cells(one.spans).values()}
    return Labels(fields, tuple(sorted(tags)), ("", *sorted(phrases)) if phrases else ())


def labelled(canvas: Canvas, texts: Sequence[Annotated], sizes: Sequence[int], labels: Labels) -> Labelled:
    """The labels of the rows of a canvas, whose texts have these numbers of tokens; a token is a word.

    What was not annotated, and values that are not learned, are IGNORED; so is padding.
    """
    B, L = canvas.ids.shape
    tables = {name: {value: k for k, value in enumerate(values)} for name, values in labels.fields.items()}
    told = [
        [table.get(one.fields.get(name, ""), IGNORED) if one.fields else IGNORED for name, table in tables.items()]
        for one in texts
    ]
    tags: NDArray[np.int64] = np.full((B, L), IGNORED, dtype=np.int64)
    phrases: NDArray[np.int64] = np.full((B, L, L), IGNORED, dtype=np.int64)
    numbers = [{label: k for k, label in enumerate(each)} for each in (labels.tags, labels.phrases)]
    for row, (one, size) in enumerate(zip(texts, sizes, strict=True)):
        if one.tags is not None and len(one.tags) == size:
            tags[row, :size] = [numbers[0].get(tag, IGNORED) for tag in one.tags]
        if one.spans is not None and all(last <= size for _, last, _ in one.spans):
            phrases[row, :size, :size] = np.where(np.triu(np.ones((size, size))) > 0, 0, IGNORED)
            for (first, last), label in cells(one.spans).items():
                phrases[row, first, last - 1] = numbers[1].get(label, IGNORED)
    found = {"tags": torch.from_numpy(tags), "phrases": torch.from_numpy(phrases)}
    place, behind = torch.arange(L), torch.tensor(sizes)[:, None]
    found["ends"] = torch.where(place <= behind, (place == behind).long(), IGNORED)
    found["fields"] = torch.tensor(told, dtype=torch.int64).view(B, len(tables))
    return Labelled(canvas.ids, canvas.given, canvas.real, canvas.index, labels=found)
