"""The trivial baseline of reconstruction and transfer: the text of a corpus that is most like another."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import log

import numpy as np

from mezzotint.evaluate.words import words


def nearest(queries: Sequence[str], texts: Sequence[str]) -> list[str]:
    """For each query the text most like it: greatest cosine of word counts weighed by log(N / texts with the word)."""
    holds: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, text in enumerate(texts):
        for word, count in Counter(words(text)).items():
            holds[word].append((i, count))
    lists = {word: np.array(found).T for word, found in holds.items()}
    rarity = {word: log((1 + len(texts)) / len(found[0])) for word, found in lists.items()}
    norms = np.zeros(len(texts))
    for word, (where, count) in lists.items():
        norms[where] += (count * rarity[word]) ** 2
    norms = np.sqrt(np.maximum(norms, 1e-12))
    best = []
    for query in queries:
        likeness = np.zeros(len(texts))
        for word, count in Counter(words(query)).items():
            if word in lists:
                where, counts = lists[word]
                likeness[where] += count * counts * rarity[word] ** 2
        best.append(texts[int((likeness / norms).argmax())])
    return best
