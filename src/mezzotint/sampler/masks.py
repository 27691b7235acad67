"""What the step rules for masked positions share: a row's own steps, asking for some logits, writing tokens.

The rules themselves: `reveal` (exact), `ordered`, `remask`, all for the absorbing process of Sahoo et al. 2024 (MDLM),
arXiv:2406.07524.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.process.absorbing import Absorbing
from mezzotint.sampler.drive import Grid, State
from mezzotint.types import Canvas, Denoiser, Noised


def visits(slot: Tensor, times: Tensor, device: torch.device) -> Grid:
    """Each row's own non-empty grid steps in order: (N, B), N the most that any row has; a row that is done rests.

    slot (B, L) is the number of the grid step at which each position is revealed, 0 where there is nothing to reveal.
    """
    late = len(times)
    ordered = slot.sort(dim=1).values
    again = torch.nn.functional.pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
    visits = ordered.masked_fill(again | (ordered == 0), late).sort(dim=1).values
    visits = visits[:, : int((visits < late).sum(1).max())]
    resting = visits == late
    last = visits.masked_fill(resting, 0).amax(1, keepdim=True) if visits.shape[1] else visits
    s = times[torch.where(resting, last, visits)]
    t = torch.where(resting, s, times[torch.where(resting, 1, visits) - 1])
    return Grid(t.T.contiguous().to(device), s.T.contiguous().to(device))


def together(process: Absorbing, canvas: Canvas, times: Tensor) -> tuple[Grid, State]:
    """All rows at the same times (N + 1,), from masks everywhere; no step where nothing is to be written."""
    grid = times.to(canvas.ids.device)[:, None].expand(-1, len(canvas.ids))
    moves = len(times) - 1 if bool(canvas.free.any()) else 0
    state = State(process.prior(canvas), canvas.given, canvas.given.float())
    return Grid(grid[:moves], grid[1 : moves + 1]), state


def ask(denoise: Denoiser, noised: Noised, cond: Canvas, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs (rows (K,), positions (K,)) where wanted (B, L) is true, and their logits (K, V), in one call.

    Rows without such a position are left out of the call, and cost nothing.
    """
    asked = wanted.any(1).nonzero()[:, 0]
    rows, positions = wanted[asked].nonzero(as_tuple=True)
    if len(asked) < len(wanted):
        noised, cond = Noised(noised.z[asked], noised.t[asked]), cond.rows(asked)
    logits = denoise(noised, cond, None, (rows, positions)).logits
    return asked[rows], positions, logits


def write(state: State, at: tuple[Tensor, Tensor], ids: Tensor, p_KV: Tensor, t: Tensor) -> State:
    """The state at times t (B,) with the tokens ids (K,), drawn from p (K, V), at the pairs `at`."""
    z, known, confidence = state.noised.z.clone(), state.known.clone(), state.confidence.clone()
    z[at] = ids
    known[at] = True
    confidence[at] = p_KV.gather(1, ids[:, None])[:, 0].float()
    return replace(state, noised=Noised(z, t), known=known, confidence=confidence)
