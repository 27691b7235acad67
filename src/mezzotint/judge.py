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
        return [np.concatenate(pieces) for pieces in self._map_pieces(texts, self._token_nll)]

    def features(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(n, D): the vector from which a text's last symbol is predicted, its end for a judge of whole texts.

        Of a text longer than the judge's canvas only what fits is read, as in mauve-text (there: 1,024 tokens).
        """
        return np.array([pieces[0] for pieces in self._map_pieces(texts, self._last_vectors)])

    @torch.no_grad()
    def _map_pieces(
        self, texts: Sequence[str], score: Callable[[Canvas], list[list[float]]]
    ) -> list[list[NDArray[np.float64]]]:
        """What `score` gives for each piece of each text, in reading order."""
        values: list[list[NDArray[np.float64]]] = [[] for _ in texts]
        ids_of = self.run.tokenizer.encode_all(texts)
        pieces = [(i, piece) for i, ids in enumerate(ids_of) for piece in self._split(ids)]
        pieces.sort(key=lambda piece: -len(piece[1]))  # a text's last piece, the only short one, stays its last
        parts = [pieces[begin : begin + ROWS] for begin in range(0, len(pieces), ROWS)]
        scored = self.run.team.map(parts, lambda part: score(self._pack([ids for _, ids in part])))
        for part, rows in zip(parts, scored, strict=True):
            for (i, _), row in zip(part, rows, strict=True):
                values[i].append(np.array(row))
        return values

    def _split(self, ids: list[int]) -> list[list[int]]:
        tokenizer, canvas = self.run.tokenizer, self.run.spec.canvas
        if self.run.spec.ending is Ending.SYMBOL or not ids:
            ids = [*ids, tokenizer.end]
        return [ids[i : i + canvas] for i in range(0, len(ids), canvas)]

    def _pack(self, pieces: list[list[int]]) -> Canvas:
        tokenizer, rows = self.run.tokenizer, [np.asarray(ids) for ids in pieces]
        batch = pack(rows, range(len(rows)), Ending.LENGTH, self.run.spec.canvas, tokenizer.end, tokenizer.pad)
        return batch.to(self.run.device)

    def _token_nll(self, batch: Canvas) -> list[list[float]]:
        system: Any = self.run.system
        nll = system.token_nll(batch).double().cpu()
        return [row[real].tolist() for row, real in zip(nll, batch.real.cpu(), strict=True)]

    def _last_vectors(self, batch: Canvas) -> list[list[float]]:
        system: Any = self.run.system
        last = torch.arange(len(batch.ids), device=batch.ids.device), batch.real.sum(1) - 1
        vectors: list[list[float]] = system.hidden(batch)[last].double().cpu().tolist()
        return vectors


def bundled_judge() -> Path:
    """The run folder of the judge of bistro texts that comes with the package."""
    return Path(__file__).parent / "evaluate" / "judges" / "bistro"
