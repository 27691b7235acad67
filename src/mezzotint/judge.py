"""An ar run as a judge of texts: how surprising they are, and what vectors it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mezzotint.data.canvas import pack
from mezzotint.errors import RunError
from mezzotint.run import Run
from mezzotint.types import Canvas, Ending

ROWS = 64


class Judge:
    """A judge tokenizes texts itself; one longer than its canvas is read in pieces, each without the one before it."""

    def __init__(self, run: Run) -> None:
        if not run.card.exact:
            raise RunError(f"{run.folder} is a run of {run.card.name}; a judge must be a run of ar")
        self.run = run
        self.name = run.name

    @property
    def sha8(self) -> str:
        return self.run.weights_sha256[:8]

    def token_nll(self, texts: Sequence[str]) -> list[NDArray[np.float64]]:
        """Nats of each token and, for a judge of whole texts, of the end symbol."""
        return [np.concatenate(found) for found in self._read(texts, self._token_nll)]

    def features(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, D): the vector from which a text's last symbol is predicted, its end for a judge of whole texts.

        Of a text longer than the judge's canvas only what fits is read, as in mauve-text (there: 1,024 tokens).
        """
        return np.array([found[0] for found in self._read(texts, self._last)])

    @torch.no_grad()
    def _read(
        self, texts: Sequence[str], read: Callable[[Canvas], list[list[float]]]
    ) -> list[list[NDArray[np.float64]]]:
        """What `read` says of each piece of each text, in reading order."""
        answers: list[list[NDArray[np.float64]]] = [[] for _ in texts]
        pieces = [(i, piece) for i, ids in enumerate(self.run.tokenizer.encode_all(texts)) for piece in self._cut(ids)]
        pieces.sort(key=lambda piece: -len(piece[1]))  # a text's last piece, the only short one, stays its last
        parts = [pieces[begin : begin + ROWS] for begin in range(0, len(pieces), ROWS)]
        dealt = self.run.team.map(parts, lambda part: read(self._packed([ids for _, ids in part])))
        for part, found in zip(parts, dealt, strict=True):
            for (i, _), answer in zip(part, found, strict=True):
                answers[i].append(np.array(answer))
        return answers

    def _cut(self, ids: list[int]) -> list[list[int]]:
        tokenizer, canvas = self.run.tokenizer, self.run.spec.canvas
        if self.run.spec.ending is Ending.SYMBOL or not ids:
            ids = [*ids, tokenizer.end]
        return [ids[i : i + canvas] for i in range(0, len(ids), canvas)]

    def _packed(self, pieces: list[list[int]]) -> Canvas:
        tokenizer, rows = self.run.tokenizer, [np.asarray(ids) for ids in pieces]
        batch = pack(rows, range(len(rows)), Ending.LENGTH, self.run.spec.canvas, tokenizer.end, tokenizer.pad)
        return batch.to(self.run.device)

    def _token_nll(self, batch: Canvas) -> list[list[float]]:
        system: Any = self.run.system
        nll = system.token_nll(batch).double().cpu()
        return [row[real].tolist() for row, real in zip(nll, batch.real.cpu(), strict=True)]

    def _last(self, batch: Canvas) -> list[list[float]]:
        system: Any = self.run.system
        last = torch.arange(len(batch.ids), device=batch.ids.device), batch.real.sum(1) - 1
        vectors: list[list[float]] = system.hidden(batch)[last].double().cpu().tolist()
        return vectors


def bundled_judge() -> Path:
    """The run folder of the judge of bistro texts that comes with the package."""
    return Path(__file__).parent / "evaluate" / "judges" / "bistro"
