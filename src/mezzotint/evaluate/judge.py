"""The interface of a judge: an autoregressive run of ours that scores texts.

A judge is trained once on the train split of a corpus with another seed, and never scores itself. It reads text and
tokenizes it with its own tokenizer, so systems with different tokenizers can be compared. Numbers of two judges
cannot, so every score names its judge: the run's name and the first 8 digits of its weights' sha256.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mezzotint.evaluate.table import Numbers


class JudgeModel(Protocol):
    """What a score needs of a judge."""

    @property
    def name(self) -> str:
        """The run's name, as it stands in tables."""
        ...

    @property
    def sha8(self) -> str:
        """The first 8 hexadecimal digits of the sha256 of the weights' file."""
        ...

    def token_nll(self, texts: Sequence[str]) -> list[NDArray[np.float64]]:
        """For each text, (judge tokens + 1,) nats: -log p of each of its tokens and of the end symbol."""
        ...

    def features(self, texts: Sequence[str]) -> Numbers:
        """(n, D): for each text the judge's last hidden vector, from which its end is predicted."""
        ...


def tag(judge: JudgeModel) -> str:
    """The name of a judge in a score: its run's and its weights'."""
    return f"{judge.name} {judge.sha8}"


def nll_and_tokens(texts: Sequence[str], judge: JudgeModel) -> Numbers:
    """(n, 2): summed nats, and number of judge tokens with the end symbol, of each text."""
    costs = judge.token_nll(texts)
    assert len(costs) == len(texts), "a judge answers for every text"
    assert all(len(cost) for cost in costs), "every text has at least its end symbol"
    return np.array([(cost.sum(), len(cost)) for cost in costs], dtype=np.float64).reshape(-1, 2)
