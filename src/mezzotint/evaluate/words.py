"""The one word splitter: every count of words in a score goes through it, whatever tokenizer a system has.

A word is a run of Unicode letters, digits and underscores; any other character that is not white space is a word by
itself. Case is kept, no normal form is applied, white space only separates. So "Don't stop, OK?" has the seven words
``Don ' t stop , OK ?``. Scores counted with different splitters cannot be compared: `SPLITTER` names this one.
"""

from __future__ import annotations

import re

SPLITTER = "mezzotint-words-1"
"""Changes whenever the pattern does."""

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words of a text, in reading order; none for an empty text.

    >>> words("Don't stop, OK?")
    ['Don', "'", 't', 'stop', ',', 'OK', '?']
    """
    return _WORD.findall(text)
