"""What the step rules for masked positions share: a row's own steps, logits at some positions, writing tokens.

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


def skip_empty_steps(slot: Tensor, times: Tensor, device: torch.device) -> Grid:
    """Each row's own non-empty grid steps in order: (N, B), N the most that any row has; a row that is done rests.

    slot (B, L) is the grid step at which each position is revealed, 0 where there is nothing to reveal.
    """
    unused = len(times)
    sorted_slots = slot.sort(dim=1).values
    is_repeat = torch.nn.functional.pad(sorted_slots[:, 1:] == sorted_slots[:, :-1], (1, 0))
    steps = sorted_slots.masked_fill(is_repeat | (sorted_slots == 0), unused).sort(dim=1).values
    steps = steps[:, : int((steps < unused).sum(1).max())]
    is_resting = steps == unused
    last = steps.masked_fill(is_resting, 0).amax(1, keepdim=True) if steps.shape[1] else steps
    s = times[torch.where(is_resting, last, steps)]
    t = torch.where(is_resting, s, times[torch.where(is_resting, 1, steps) - 1])
    return Grid(t.T.contiguous().to(device), s.T.contiguous().to(device))


def begin_all_masked(process: Absorbing, canvas: Canvas, times: Tensor) -> tuple[Grid, State]:
    """All rows at the same times (N + 1,), from masks everywhere; no step where nothing is to be written."""
    grid = times.to(canvas.ids.device)[:, None].expand(-1, len(canvas.ids))
    moves = len(times) - 1 if bool(canvas.free.any()) else 0
    state = State(process.prior(canvas), canvas.given, canvas.given.float())
    return Grid(grid[:moves], grid[1 : moves + 1]), state


def masked_logits(denoise: Denoiser, noised: Noised, cond: Canvas, selected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs (rows (K,), positions (K,)) where selected (B, L) is true, and their logits (K, V), in one call.

    Rows without such a position are left out of the call, and cost nothing.
    """
    active_rows = selected.any(1).nonzero()[:, 0]
    rows, positions = selected[active_rows].nonzero(as_tuple=True)
    if len(active_rows) < len(selected):
        noised, cond = Noised(noised.z[active_rows], noised.t[active_rows]), cond.rows(active_rows)
    logits = denoise(noised, cond, None, (rows, positions)).logits
    return active_rows[rows], positions, logits


def write_tokens(state: State, at: tuple[Tensor, Tensor], ids: Tensor, p_KV: Tensor, t: Tensor) -> State:
    """The state at times t (B,) with the tokens ids (K,), drawn from p (K, V), at the pairs `at`."""
    z, known, confidence = state.noised.z.clone(), state.known.clone(), state.confidence.clone()
    z[at] = ids
    known[at] = True
    confidence[at] = p_KV.gather(1, ids[:, None])[:, 0].float()
    return replace(state, noised=Noised(z, t), known=known, confidence=confidence)
