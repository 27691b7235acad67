"""The one sampling loop: a step rule, applied along a grid of times, as a generator of frames.

The division into a denoiser, a step rule and a driver that knows neither follows Karras et al. 2022, arXiv:2206.00364.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from mezzotint.rng import Rng
from mezzotint.types import Canvas, Denoiser, Frame, Noised, Prediction


@dataclass(frozen=True)
class Grid:
    """The times of each row, call by call: from t[n] to s[n], both (N, B) float64. A row with s = t rests.

    A rule that ends sooner than planned sets `State.done`.
    """

    t: Tensor
    s: Tensor


@dataclass(frozen=True)
class State:
    """The state of a generation: known, confidence (B, L); `memory` is the step rule's own.

    `ids` (B, L) is the text so far where the state itself is no text.
    """

    noised: Noised
    known: Tensor
    confidence: Tensor
    memory: object = None
    ids: Tensor | None = None
    done: bool = False
    """No row has anything left to do, even if grid steps are left."""


class Step(Protocol):
    """A rule for going from t to s. It may call the denoiser never, once or several times."""

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        """The grid that each row follows, given the times (N + 1,) asked for, and the state at its start."""
        ...

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        """The state with each row moved from its time to s (B,); rows whose time is s already stay as they are."""
        ...


class Counted:
    """A denoiser that counts the network evaluations of each row of a canvas."""

    def __init__(self, denoise: Denoiser, canvas: Canvas) -> None:
        self.denoise = denoise
        self.order = canvas.index.argsort()
        self.index = canvas.index[self.order]
        assert len(self.index.unique()) == len(self.index), "two rows of a canvas share a stream of random numbers"
        self.calls = torch.zeros_like(self.index)

    def __call__(
        self, noised: Noised, cond: Canvas, previous: object = None, at: tuple[Tensor, Tensor] | None = None
    ) -> Prediction:
        self.charge(cond, 1)
        return self.denoise(noised, cond, previous, at)

    def charge(self, cond: Canvas, evaluations: int) -> None:
        """Count evaluations of another network, in units of this one's, for the rows of a canvas."""
        self.calls[self.order[torch.searchsorted(self.index, cond.index)]] += evaluations


def uniform_times(steps: int) -> Tensor:
    """(steps + 1,) float64 from 1 to 0."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


@torch.no_grad()
def drive(denoise: Denoiser, step: Step, canvas: Canvas, steps: int, rng: Rng, calls: Tensor) -> Iterator[Frame]:
    """Frames of the canvas being filled: one at the start, then one after each move.

    `calls` (B,) is the live count of network evaluations, as kept by `Counted`.
    """
    grid, state = step.begin(canvas, uniform_times(steps), rng)
    moves = grid.t.shape[0]
    frame = _frame(state, 0, steps, calls, done=moves == 0)
    yield frame
    while not frame.done:
        n = frame.step
        state = replace(state, noised=Noised(state.noised.z, grid.t[n]))
        state = step(denoise, state, grid.s[n], canvas, rng.at(f"step{n}"))
        frame = _frame(state, n + 1, steps, calls, done=state.done or n == moves - 1)
        yield frame


def _frame(state: State, step: int, steps: int, calls: Tensor, done: bool) -> Frame:
    noised = state.noised
    ids = noised.z if state.ids is None else state.ids
    return Frame(step, steps, noised.t, ids, state.known, state.confidence, calls.clone(), done)
