"""Templates: text with gaps, as a person types it. `[3]` is a gap of three tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mezzotint.errors import UsageError

if TYPE_CHECKING:
    from mezzotint.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class Given:
    """Text of a template that comes back byte for byte."""

    text: str


@dataclass(frozen=True)
class Gap:
    """A gap of `low` to `high` tokens."""

    low: int
    high: int


@dataclass(frozen=True)
class Template:
    """A text with gaps; given pieces and gaps alternate."""

    pieces: tuple[Given | Gap, ...]

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The gaps, in reading order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Gap))

    @property
    def given(self) -> tuple[str, ...]:
        """The texts between the gaps, in reading order."""
        return tuple(piece.text for piece in self.pieces if isinstance(piece, Given))

    def fill(self, tokenizer: Tokenizer, lengths: Sequence[int]) -> tuple[list[int], list[bool], list[int]]:
        """ids, given and start of a row whose gaps have these lengths; padding stands in the gaps.

        One space before a gap is left out of the given tokens and asked of the gap's first token instead (start 1;
        -1 if there is none), because both kinds of tokenizer keep a space with the word after it.
        """
        ids: list[int] = []
        given: list[bool] = []
        start: list[int] = []
        for text, demand, length in self._sections(lengths, tokenizer.lead):
            known = tokenizer.encode(text, virtual_space=False) if text else []
            ids += known + [tokenizer.pad] * length
            given += [True] * len(known) + [False] * length
            start += [0] * len(known) + [demand][:length] + [0] * (length - 1)
        return ids, given, start

    def text(self, tokenizer: Tokenizer, ids: Sequence[int], lengths: Sequence[int] | None = None) -> str:
        """The given pieces byte for byte, with the texts of the gaps from a filled row between them.

        `lengths` of the gaps may be left out where none of them is open.
        """
        chosen = self._fixed() if lengths is None else lengths
        done, place = "", 0
        for text, demand, length in self._sections(chosen, tokenizer.lead):
            place += len(tokenizer.encode(text, virtual_space=False)) if text else 0
            gap = tokenizer.decode(ids[place : place + length], virtual_space=False)
            done += text + (" " + gap.removeprefix(" ") if demand > 0 else gap)
            place += length
        return done.removeprefix(tokenizer.lead)

    def unknown_words(self, tokenizer: Tokenizer) -> list[str]:
        """The words of what is given that a tokenizer does not know, each once."""
        words = (
            tokenizer.unknown_words(text, virtual_space=False)
            for text, _, _ in self._sections([gap.low for gap in self.gaps], tokenizer.lead)
        )
        return list(dict.fromkeys(word for each in words for word in each))

    def _fixed(self) -> list[int]:
        assert all(gap.low == gap.high for gap in self.gaps), "the lengths of open gaps are needed"
        return [gap.low for gap in self.gaps]

    def _sections(self, lengths: Sequence[int], lead: str) -> Iterator[tuple[str, int, int]]:
        """(given text, demand on the gap after it, length of that gap), with `lead`, a virtual space or not, in front.

        Where there is none, the first word of a text begins with a space or not, as it likes: nothing is demanded.
        """
        assert len(lengths) == len(self.gaps)
        text, rest = lead, iter(lengths)
        for piece in self.pieces:
            if isinstance(piece, Given):
                text += piece.text
            else:
                opens = piece is self.pieces[0] and not lead
                yield text.removesuffix(" "), 0 if opens else 1 if text.endswith(" ") else -1, next(rest)
                text = ""
        if text:
            yield text, 0, 0


_MARK = re.compile(r"(?P<slashes>\\*)\[(?P<body>(?P<low>[0-9]{1,9})(?:-(?P<high>[0-9]{1,9}))?\]| ?\])?")


def parse_template(text: str) -> Template:
    r"""A template from text: `[n]` is a gap of n tokens, `[a-b]` of a to b, `[ ]` of 1 to 8.

    `\[` is a bracket and `\\` before a bracket a backslash; a bracket followed by anything else is text. Neighbouring
    gaps are one. UsageError for an empty gap, for a range that runs backwards and for a text without any gap.
    """
    pieces: list[Given | Gap] = []
    after = 0
    for mark in _MARK.finditer(text):
        escapes, escaped = divmod(len(mark["slashes"]), 2)
        gap = mark["body"] is not None and not escaped
        _add(pieces, Given(text[after : mark.start()] + "\\" * escapes + ("" if gap else mark[0].lstrip("\\"))))
        if gap:
            _add(pieces, _gap(mark))
        after = mark.end()
    _add(pieces, Given(text[after:]))
    if not any(isinstance(piece, Gap) for piece in pieces):
        raise UsageError(f"there is no gap in '{text}'; write [3] for three tokens")
    return Template(tuple(pieces))


def literal(text: str, before: str = "") -> str:
    """A text as it is written in a template, its brackets and backslashes for themselves, in front of `before`."""
    brackets = r"(\\*)(\[|$)" if before.lstrip("\\").startswith("[") else r"(\\*)(\[)"
    return re.sub(brackets, lambda m: m[1] * 2 + m[2].replace("[", r"\["), text)


def _gap(mark: re.Match[str]) -> Gap:
    if mark["low"] is None:
        return Gap(1, 8)
    low, high = int(mark["low"]), int(mark["high"] or mark["low"])
    if not 1 <= low <= high:
        shown = mark[0].lstrip("\\")
        wrong = "it ends before it begins" if low > high else "it has a token at least"
        raise UsageError(f"the gap {shown} cannot be filled: {wrong}; write [3] for three tokens")
    return Gap(low, high)


def _add(pieces: list[Given | Gap], piece: Given | Gap) -> None:
    """Append a piece, merged with the one before it if that is of its kind."""
    last = pieces[-1] if pieces else None
    if isinstance(piece, Gap) and isinstance(last, Gap):
        pieces[-1] = Gap(last.low + piece.low, last.high + piece.high)
    elif isinstance(piece, Given) and isinstance(last, Given):
        pieces[-1] = Given(last.text + piece.text)
    elif piece != Given(""):
        pieces.append(piece)
