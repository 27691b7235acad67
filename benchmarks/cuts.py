"""Texts with gaps cut into them: what the benchmarks of filling gaps have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SEED = 0
SENTENCE_END = re.compile(r"[.!?]+[\"')]*(?= |$)")

Spans = Callable[[Any, str], list[tuple[int, int]]]
"""(tokenizer, text) to the first token of each gap and the first one behind it; nothing where none is like that."""


@dataclass(frozen=True)
class Cut:
    """A text with gaps cut into it."""

    text: str
    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    """The first token of each gap, and the first one behind it."""
    parts: tuple[str, ...]
    """What is left, one part more than there are gaps, the space before each gap with the part before it."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many tokens are in each gap."""
        return tuple(end - begin for begin, end in self.spans)

    def template(self, gaps: Sequence[str] = ()) -> str:
        """The text as it is asked for, its gaps written so; by default each says how long it is."""
        gaps = gaps or [f"[{n}]" for n in self.lengths]
        return self.parts[0] + "".join(gap + part for gap, part in zip(gaps, self.parts[1:], strict=True))


def is_writable(tokenizer: Any, text: str, ids: Sequence[int]) -> bool:
    """Whether a text is its ids' own, and can stand in a template as it is."""
    return tokenizer.decode(ids) == text and "[" not in text and "\\" not in text


def cut_out(tokenizer: Any, text: str, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> Cut:
    """A text with these tokens cut out."""
    parts, end_before = [], 0
    for begin, end in spans:
        space = " " if begin and tokenizer.spaced[ids[begin]] else ""
        parts.append(tokenizer.decode(ids[end_before:begin], virtual_space=not end_before) + space)
        end_before = end
    return Cut(text, tuple(ids), tuple(spans), (*parts, tokenizer.decode(ids[end_before:], virtual_space=False)))


def portions(places: Sequence[int], of: int, tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """Some of `of` equal portions of the tokens, counted from 0."""
    n = len(tokenizer.encode(text))
    return [(k * n // of, (k + 1) * n // of) for k in places] if n >= of else []


def sentence(k: int, of: int, tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """The sentence k, counted from 0, of a text of `of` sentences, with the space before it."""
    ends = [0, *(match.end() for match in SENTENCE_END.finditer(text))]
    if len(ends) != of + 1 or ends[-1] != len(text):
        return []
    begin, end = (len(tokenizer.encode(text[:place])) if place else 0 for place in ends[k : k + 2])
    return [(begin, end)]


def cuts(tokenizer: Any, texts: Sequence[str], spans: Spans, longest: int) -> Iterator[Cut]:
    """The texts that can be cut so, in a fixed random order."""
    for i in np.random.default_rng(SEED).permutation(len(texts)):
        text, ids, places = texts[i], tokenizer.encode(texts[i]), spans(tokenizer, texts[i])
        if places and len(ids) <= longest and is_writable(tokenizer, text, ids):
            cut = cut_out(tokenizer, text, ids, places)
            if keeps_tokens(tokenizer, cut):
                yield cut


def keeps_tokens(tokenizer: Any, cut: Cut) -> bool:
    """Whether what is left of a text has the tokens that it had in the whole."""
    from mezzotint.data.template import parse_template

    ids, given, _ = parse_template(cut.template()).fill(tokenizer, cut.lengths)
    return len(ids) == len(cut.ids) and all(i == j for i, j, k in zip(ids, cut.ids, given, strict=True) if k)
