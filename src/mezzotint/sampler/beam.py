"""Beam search: of all extensions by one token, the likeliest prefixes go on.

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
    """A text, finished or a prefix."""

    ids: list[int]
    """Its tokens, with the end symbol unless the room ended first."""
    log_p: list[float]
    """The log-probability of each token, in nats."""

    def score(self, penalty: float) -> float:
        """The length-normalised log-probability by which texts are ranked."""
        return sum(self.log_p) / float(len(self.ids) ** penalty)


@dataclass
class _RowSearch:
    """One row's search."""

    index: int
    prefixes: list[Hypothesis]
    """The unfinished hypotheses; fewer than the beam is wide where no more are possible."""
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
    """The best `width` hypotheses of each row, best first, and the number of calls of each row (rows,).

    `next_logits` (see `autoregressive`) is called with `width` prefixes a row, side by side; texts have at most `room`
    symbols. Fewer hypotheses come back only where fewer texts are possible at all.
    """
    all_rows = [_RowSearch(row, [Hypothesis([], [])], [0.0]) for row in range(rows)]
    live, calls = all_rows, torch.zeros(rows, dtype=torch.int64)
    kept_rows = torch.arange(rows * width, device=device)
    new_ids = torch.full((rows * width, 1), start, device=device)
    for position in range(room):
        log_p = next_logits(kept_rows, new_ids).log_softmax(-1).double().view(len(live), width, -1)
        totals = torch.full((len(live), width), -math.inf, dtype=torch.float64)
        for i, row in enumerate(live):
            calls[row.index] += 1
            totals[i, : len(row.totals)] = torch.tensor(row.totals, dtype=torch.float64)
        extended = (totals.to(device)[..., None] + log_p).flatten(1)
        # Each prefix can end in one way: among twice the width, at least `width` go on.
        best_totals, flat_ids = extended.topk(min(2 * width, extended.shape[1]))
        parents = [
            _advance(row, row_totals, row_flat_ids, log_p.shape[-1], end, width, last=position == room - 1)
            for row, row_totals, row_flat_ids in zip(live, best_totals.tolist(), flat_ids.tolist(), strict=True)
        ]
        active = [i for i, row in enumerate(live) if row.prefixes and len(row.finished) < width]
        if not active:
            break
        kept_rows = torch.tensor(
            [i * width + parent for i in active for parent in _padded(parents[i], width)], device=device
        )
        live = [live[i] for i in active]
        last_ids = [_padded([prefix.ids[-1] for prefix in row.prefixes], width) for row in live]
        new_ids = torch.tensor(last_ids, device=device).view(-1, 1)
    for row in all_rows:
        row.finished.sort(key=lambda hypothesis: -hypothesis.score(penalty))
    return [row.finished[:width] for row in all_rows], calls


def _advance(
    row: _RowSearch, totals: list[float], flat_ids: list[int], vocab: int, end: int, width: int, *, last: bool
) -> list[int]:
    """Replace a row's prefixes by the best extensions, collect finished ones, and return the parents."""
    parents, prefixes, new_totals = list[int](), list[Hypothesis](), list[float]()
    for rank, (total, flat_id) in enumerate(zip(totals, flat_ids, strict=True)):
        parent, token = divmod(flat_id, vocab)
        if total == -math.inf or len(prefixes) == width:
            break
        prefix = row.prefixes[parent]
        extended = Hypothesis([*prefix.ids, token], [*prefix.log_p, total - row.totals[parent]])
        if token != end and not last:
            parents.append(parent)
            prefixes.append(extended)
            new_totals.append(total)
        elif rank < width:
            row.finished.append(extended)
    row.prefixes, row.totals = prefixes, new_totals
    return parents


def _padded(values: list[int], width: int) -> list[int]:
    """The values padded to the beam's width; what fills it has probability zero and is never used."""
    return values + values[:1] * (width - len(values))
