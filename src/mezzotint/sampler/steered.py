"""A walk through vectors whose states are moved, step by step, by the gradient of a control's loss.

Source: Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §5.1 and its code: after each step some updates against the
gradient of loss + fluency |z - mean|^2 / deviation, none in the last steps; no noise beside the step's own. `BAYES` is
classifier guidance instead (Dhariwal and Nichol 2021, arXiv:2105.05233, Alg. 1), its slope taken at the drawn state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mezzotint.errors import CapabilityError
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Grid, State, Step
from mezzotint.sampler.gaussian import GaussianMemory, GaussianStep
from mezzotint.types import Canvas, Decoder, Denoiser, Noised, Request, Steering, Update

Cost = Callable[[Noised, Canvas], Tensor]
"""(state, canvas) -> (B,) nats, with a gradient to the state."""
EPSILON = 1e-10
"""Adagrad's epsilon."""


@dataclass(frozen=True)
class SteeredMemory:
    """The walk's own memory, and the sums of squares (B, L, D) of Adagrad."""

    of_walk: object
    squares: Tensor | None = None


class Steered:
    """The walk's step, then the updates; they move free positions only."""

    def __init__(self, walk: GaussianStep, cost: Cost, steering: Steering) -> None:
        self.walk = walk
        self.cost = cost
        self.steering = steering

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        grid, state = self.walk.begin(canvas, times, rng)
        return grid, replace(state, memory=SteeredMemory(state.memory))

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        memory = state.memory
        assert isinstance(memory, SteeredMemory)
        walked = self.walk(denoise, replace(state, memory=memory.of_walk), s, cond, rng)
        assert isinstance(walked.memory, GaussianMemory) and walked.memory.estimate is not None
        is_due = (s > 0) & (s >= self.steering.t_min) & (s <= self.steering.t_max)
        if not bool(is_due.any()):
            return replace(walked, memory=SteeredMemory(walked.memory, memory.squares))
        mean, deviation = self.walk.process.posterior(state.noised, walked.memory.estimate.value, s)
        movable = cond.free[..., None] & is_due[:, None, None]
        z, squares = walked.noised.z, memory.squares
        for _ in range(self.steering.updates):
            slope = self._slope(Noised(z, s), cond, mean, deviation) * movable
            squares = slope**2 if squares is None else squares + slope**2
            z = z - self._step(slope, squares, deviation)
        return replace(walked, noised=Noised(z, s), memory=SteeredMemory(walked.memory, squares))

    def _slope(self, noised: Noised, cond: Canvas, mean: Tensor, deviation: Tensor) -> Tensor:
        """(B, L, D): the gradient of the cost, and of the fluency where the update has one."""
        with torch.enable_grad():
            leaf = noised.z.detach().requires_grad_()
            total = self.cost(Noised(leaf, noised.t), cond).sum()
            if self.steering.update is not Update.BAYES:
                # As in the code: the deviation, not twice its square.
                total = total + self.steering.fluency * (((leaf - mean) ** 2 / deviation) * cond.free[..., None]).sum()
            (slope,) = torch.autograd.grad(total, leaf)
        return slope

    def _step(self, slope: Tensor, squares: Tensor, deviation: Tensor) -> Tensor:
        if self.steering.update is Update.SIGN:
            return self.steering.rate * slope.sign()
        if self.steering.update is Update.ADAGRAD:
            return self.steering.rate * slope / (squares.sqrt() + EPSILON)
        return deviation**2 / self.steering.updates * slope


def steer(walk: GaussianStep, denoise: Denoiser, request: Request) -> Step:
    """The walk, steered where the request's control has a loss under the denoiser, unclamped.

    CapabilityError for a walk without noise: there is no deviation to scale the fluency by.
    """
    cost = None if request.control is None else request.control.loss(denoise)
    if request.control is None or cost is None:
        return walk
    if request.decoder is not Decoder.EXACT:
        raise CapabilityError(f"control moves the steps of decoder 'exact'; '{request.decoder.value}' cannot be moved")
    return Steered(walk, cost, request.control.steering)
