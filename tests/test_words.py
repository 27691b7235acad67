"""The one word splitter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.evaluate.words import SPLITTER, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, OK?", ["Don", "'", "t", "stop", ",", "OK", "?"]),
        ("café  au\tlait\n", ["café", "au", "lait"]),
        ("£20-25 (cheap)...", ["£", "20", "-", "25", "(", "cheap", ")", ".", ".", "."]),
        ("snake_case", ["snake_case"]),
        ("寿司!", ["寿司", "!"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_words_of_known_texts(text: str, expected: list[str]) -> None:
    """A change of these is a change of every word-level score, and needs a new name."""
    assert SPLITTER == "mezzotint-words-1"
    assert words(text) == expected


@given(st.text())
def test_nothing_but_white_space_is_lost(text: str) -> None:
    assert "".join(words(text)) == "".join(text.split())


@given(st.lists(st.sampled_from(["a", "b1", "é", ".", ",", "_"]), max_size=8))
def test_splitting_spaced_words_gives_them_back(found: list[str]) -> None:
    assert words(" ".join(found)) == found
