"""How evenly a latent space leads from one text to another: walks through it, measured and made ready to be drawn.

Interpolation smoothness: Zhang et al. 2024, arXiv:2305.01713, §5: the distance between the ends of a walk over the sum
of the distances of its steps.
Departure: their distance is the Word Mover's Distance of vectors of words, ours the words that have to be put in,
taken out or changed (Levenshtein), which asks for no vectors that all systems would have to share.
A walk that stands still and then jumps to its end is as short as can be, and so is smooth by that definition: its
longest step is told beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mezzotint.evaluate.table import Score
from mezzotint.evaluate.words import words


def edits(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words have to be put in, taken out or changed to make b of a (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, word in enumerate(a, 1):
        before, row = row, [i]
        for j, other in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != other)))
    return row[-1]


def smoothness(walks: Sequence[Sequence[str]]) -> Iterator[Score]:
    """Of walks, each the texts from one end to the other: how straight they are, and how long their longest step is.

    A walk whose ends are one text is left out: it has no length.
    """
    straight, longest = [], []
    for walk in walks:
        split = [words(text) for text in walk]
        steps = [edits(a, b) for a, b in pairwise(split)]
        if distance := edits(split[0], split[-1]):
            straight.append(distance / sum(steps))
            longest.append(max(steps) / sum(steps))
    points = len(walks[0]) if walks else 0
    exclusion = f"; {len(walks) - len(straight)} of {len(walks)} walks end where they began and are left out"
    excluded = exclusion if len(straight) < len(walks) else ""
    note = f"edits of words from end to end ÷ those of all steps, {points} points a walk; 1 is straight"
    yield Score.mean("interpolation_smoothness", straight, note + excluded)
    note = f"share of a walk's edits in its longest step; {1 / max(1, points - 1):.2f} if all are alike"
    yield Score.mean("longest_step", longest, note + excluded)


def with_distances(walk: Sequence[str]) -> list[dict[str, Any]]:
    """A walk as reports draw it: of each text its pieces, each with whether its word is in the first text and the last,
    and the edits of words from either."""
    split = [words(text) for text in walk]
    first, last = set(split[0]), set(split[-1])
    return [
        {
            "pieces": [{"text": p, "first": p.strip() in first, "last": p.strip() in last} for p in pieces(text)],
            "from_first": edits(split[0], text_words),
            "from_last": edits(text_words, split[-1]),
        }
        for text, text_words in zip(walk, split, strict=True)
    ]


def pieces(text: str) -> list[str]:
    """The words of a text, each with the white space before it; what is after the last belongs to the last."""
    starts, position = [], 0
    for word in words(text):
        position = text.index(word, position) + len(word)
        starts.append(position)
    ends = [*starts[:-1], len(text)] if starts else []
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def pairs(count: int, limit: int) -> list[tuple[int, int]]:
    """At most so many pairs of places in a list of `count`, none twice, by a fixed shuffle."""
    order = np.random.default_rng(1).permutation(count).tolist()
    return [(order[2 * i], order[2 * i + 1]) for i in range(min(limit, count // 2))]
