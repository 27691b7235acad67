"""Constituency trees in brackets, as spans of words."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from mezzotint.errors import UsageError
from mezzotint.spec.wanted import Span

UPOS = frozenset({
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM",
    "VERB", "X",
})  # fmt: skip
"""The universal parts of speech."""
ROOTS = ("ROOT", "TOP", "")
"""Labels of the bracket around everything, which says nothing."""


@dataclass(frozen=True)
class Tree:
    """What a bracketed tree comes to."""

    words: int
    spans: tuple[Span, ...]
    """Every phrase, outer ones first."""


def read_tree(text: str, tags: Container[str] = UPOS) -> Tree:
    """The phrases of a tree such as "(S (NP (DET the) (NOUN pub)) (VP (VERB stands)) .)".

    A leaf can be any word, also `*`. A bracket around one leaf whose label is among `tags` is a part of speech, not a
    phrase. UsageError where brackets do not match, or a bracket has no label or nothing in it.
    """
    spans: list[Span] = []
    path: list[tuple[str, int, int]] = []  # label, first word, where among the spans
    words = leaves = 0
    pieces = re.findall(r"\(\s*[^\s()]*|\)|[^\s()]+", text)
    if not pieces or not pieces[0].startswith("("):
        raise UsageError(f"a tree begins with a bracket and a label, as in '(S (NP *) (VP *))', not '{text}'")
    for number, piece in enumerate(pieces):
        if number and not path:
            raise UsageError(f"the tree '{text}' goes on behind its last bracket")
        if piece.startswith("("):
            path.append((piece[1:].strip(), words, len(spans)))
            spans.append((words, words, path[-1][0]))
            leaves = 0
        elif piece == ")":
            label, first, place = path.pop()
            if first == words:
                raise UsageError(f"there is nothing in the bracket '{label}' of the tree '{text}'")
            spans[place] = (first, words, label)
            if label in ROOTS or (leaves == 1 and words == first + 1 and place == len(spans) - 1 and label in tags):
                del spans[place]
            leaves = 0
        else:
            words, leaves = words + 1, leaves + 1
    if path:
        raise UsageError(f"the bracket '{path[-1][0]}' of the tree '{text}' is not closed")
    return Tree(words, tuple(spans))


def cells(spans: tuple[Span, ...]) -> dict[tuple[int, int], str]:
    """Spans by their first word and the word after the last; several labels of the same words joined by +, outer first.

    >>> cells(((0, 2, "S"), (0, 2, "VP")))
    {(0, 2): 'S+VP'}
    """
    found: dict[tuple[int, int], str] = {}
    for first, last, label in spans:
        found[first, last] = f"{found[first, last]}+{label}" if (first, last) in found else label
    return found
