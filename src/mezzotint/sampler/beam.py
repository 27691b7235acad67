"""Beam search: of all prefixes one token longer, the likeliest few go on.

Source: Sutskever et al. 2014, arXiv:1409.3215, §3.2. A text that ends within the beam is finished; a row is done once
it has as many finished texts as the beam is wide, as in fairseq (Ott et al. 2019, arXiv:1904.01038). Finished texts are
ranked by log p / symbols ^ penalty (Wu et al. 2016, arXiv:1609.08144, eq. 14, without its constants).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mezzotint.sampler.autoregressive import Next


@dataclass(frozen=True)
class Hypothesis:
    """A text that the search found."""

    ids: list[int]
    """Its tokens, the end symbol among them unless the room ended first."""
    log_p: list[float]
    """Nats, of each of them."""

    def score(self, penalty: float) -> float:
        """What it is ranked by."""
        return sum(self.log_p) / float(len(self.ids) ** penalty)


@dataclass
class _Row:
    """One row's search."""

    place: int
    prefixes: list[Hypothesis]
    """What its beams stand for; fewer than the beam is wide where no more have a chance."""
    totals: list[float]
    """Their log p."""
    finished: list[Hypothesis] = field(default_factory=list)


@torch.no_grad()
def beam_search(
    next_logits: Next,
    rows: int,
    room: int,
    *,
    start: int,
    end: int,
    width: int,
    penalty: float = 1.0,
    device: torch.device | str = "cpu",
) -> tuple[list[list[Hypothesis]], Tensor]:
    """The best `width` hypotheses of each row, best first, and how many symbols each row was asked for (rows,).

    `next_logits` (see `autoregressive`) is asked for `width` prefixes a row, side by side; texts have at most `room`
    symbols. Fewer hypotheses come back only where fewer texts have a chance at all.
    """
    all_rows = [_Row(row, [Hypothesis([], [])], [0.0]) for row in range(rows)]
    live, calls = all_rows, torch.zeros(rows, dtype=torch.int64)
    keep = torch.arange(rows * width, device=device)
    fresh = torch.full((rows * width, 1), start, device=device)
    for place in range(room):
        log_p = next_logits(keep, fresh).log_softmax(-1).double().view(len(live), width, -1)
        totals = torch.full((len(live), width), -math.inf, dtype=torch.float64)
        for i, row in enumerate(live):
            calls[row.place] += 1
            totals[i, : len(row.totals)] = torch.tensor(row.totals, dtype=torch.float64)
        grown = (totals.to(device)[..., None] + log_p).flatten(1)
        # Each prefix has one way to end: among twice the width, as many go on as the beam is wide.
        best, where = grown.topk(min(2 * width, grown.shape[1]))
        parents = [
            _advance(row, best_row, where_row, log_p.shape[-1], end, width, last=place == room - 1)
            for row, best_row, where_row in zip(live, best.tolist(), where.tolist(), strict=True)
        ]
        going = [i for i, row in enumerate(live) if row.prefixes and len(row.finished) < width]
        if not going:
            break
        keep = torch.tensor([i * width + parent for i in going for parent in _filled(parents[i], width)], device=device)
        live = [live[i] for i in going]
        last = [_filled([prefix.ids[-1] for prefix in row.prefixes], width) for row in live]
        fresh = torch.tensor(last, device=device).view(-1, 1)
    for row in all_rows:
        row.finished.sort(key=lambda hypothesis: -hypothesis.score(penalty))
    return [row.finished[:width] for row in all_rows], calls


def _advance(
    row: _Row, totals: list[float], where: list[int], vocab: int, end: int, width: int, *, last: bool
) -> list[int]:
    """Put the best continuations in the place of a row's prefixes, and aside what is finished; returns the parents."""
    parents, prefixes, kept = list[int](), list[Hypothesis](), list[float]()
    for rank, (total, place) in enumerate(zip(totals, where, strict=True)):
        parent, token = divmod(place, vocab)
        if total == -math.inf or len(prefixes) == width:
            break
        before = row.prefixes[parent]
        grown = Hypothesis([*before.ids, token], [*before.log_p, total - row.totals[parent]])
        if token != end and not last:
            parents.append(parent)
            prefixes.append(grown)
            kept.append(total)
        elif rank < width:
            row.finished.append(grown)
    row.prefixes, row.totals = prefixes, kept
    return parents


def _filled(values: list[int], width: int) -> list[int]:
    """As many as the beam is wide: those that are missing have no chance, and their content is never used."""
    return values + values[:1] * (width - len(values))
