"""Walks from Gaussian noise to the estimate of a denoiser: ancestral, deterministic and second-order.

Sources: Ho et al. 2020 (DDPM), arXiv:2006.11239, Alg. 2; Song et al. 2020 (DDIM), arXiv:2010.02502, eq. 12; Lu et al.
2022 (DPM-Solver++), arXiv:2211.01095, Alg. 2; self-conditioning: Chen et al. 2022, arXiv:2208.04202, §3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mezzotint.errors import CapabilityError
from mezzotint.process.gaussian import Gaussian
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Grid, State
from mezzotint.types import Canvas, Decoder, Denoiser, Noised, Prediction, Request


@dataclass(frozen=True)
class Estimate:
    """A denoiser's estimate (B, L, D) of the clean state, made at time t (B,)."""

    value: Tensor
    t: Tensor


Solver = Callable[[Gaussian, Noised, Tensor, Estimate, "Estimate | None", Rng], Tensor]
"""(process, state at t, s, estimate at t, the previous estimate, rng) -> state (B, L, D) at s."""


def ancestral(
    process: Gaussian,
    noised: Noised,
    s: Tensor,
    estimate: Estimate,
    previous: Estimate | None,
    rng: Rng,
    temperature: float = 1.0,
) -> Tensor:
    """A draw from q(z_s | z_t, estimate), which is also DDIM with eta = 1. On a grid coarser than training's this is
    the strided ancestral step. The noise is scaled by `temperature`; 0 takes the mean."""
    mean, deviation = process.posterior(noised, estimate.value, s)
    return mean + temperature * deviation * rng.at("noise").normal(*mean.shape[1:]).to(mean)


def ddim(
    process: Gaussian, noised: Noised, s: Tensor, estimate: Estimate, previous: Estimate | None, rng: Rng
) -> Tensor:
    """The same noise at a lower level: no randomness after the prior (DDIM with eta = 0)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = (process.wide(t, estimate.value) for t in (noised.t, s))
    return alpha_s * estimate.value + sigma_s / sigma_t * (noised.z - alpha_t * estimate.value)


def multistep(
    process: Gaussian, noised: Noised, s: Tensor, estimate: Estimate, previous: Estimate | None, rng: Rng
) -> Tensor:
    """DPM-Solver++(2M): ddim with the estimate extrapolated along log alpha/sigma from the last two.

    The last step to t = 0 is of first order, as is the first: log alpha/sigma is infinite at the end.
    """
    if previous is None or bool((s == 0).any()):
        return ddim(process, noised, s, estimate, previous, rng)
    points = (previous.t, noised.t, s)
    lambda_previous, lambda_t, lambda_s = (
        torch.log(a / b) for a, b in (process.wide(t, estimate.value) for t in points)
    )
    weight = (lambda_s - lambda_t) / (lambda_t - lambda_previous).clamp(min=1e-6) / 2
    extrapolated = Estimate((1 + weight) * estimate.value - weight * previous.value, estimate.t)
    return ddim(process, noised, s, extrapolated, previous, rng)


SOLVERS: Mapping[Decoder, Solver] = {
    Decoder.EXACT: ancestral,
    Decoder.DDIM: ddim,
    Decoder.MULTISTEP: multistep,
}


def solver(request: Request, name: str) -> Solver:
    """The solver of a request to the system `name`, which predicts vectors and has no odds of tokens.

    Temperature scales the ancestral step's noise.
    """
    if request.top_p != 1 or (request.temperature != 1 and request.decoder is not Decoder.EXACT):
        raise CapabilityError(
            f"{name} has no odds of tokens to cut, and a temperature with decoder 'exact' only; leave them at 1"
        )
    if request.decoder is Decoder.EXACT:
        return partial(ancestral, temperature=request.temperature)
    return SOLVERS[request.decoder]


@dataclass(frozen=True)
class GaussianMemory:
    """A walk's last estimate, and the carry for the denoiser's next call."""

    estimate: Estimate | None = None
    carry: object = None


class GaussianStep:
    """The step rule: one call of the denoiser a step, all rows at the same times, given positions held in place.

    The draft at each step, and the text at the end, are the likeliest tokens under the logits of the estimate.
    """

    def __init__(
        self,
        process: Gaussian,
        solver: Solver,
        z0: Tensor,
        stop: float = 0.0,
        drafts: bool = True,
        clock: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """`z0` (B, L, D) holds the clean vectors at given positions. Without drafts only the last estimate is read.
        `clock` moves the times (N,) of the grid, which are even without it; it leaves 0 and 1 where they are.

        The walk ends when this share `stop` of the steps is left, and takes the text from its last estimate (Gao et al.
        2022, arXiv:2212.09412: five of twenty); one step is always gone.
        """
        self.process = process
        self.solver = solver
        self.z0 = z0
        self.stop = stop
        self.clock = clock
        self.drafts = drafts
        self.last = 0.0

    def begin(self, canvas: Canvas, times: Tensor, rng: Rng) -> tuple[Grid, State]:
        warped_times = times if self.clock is None else self.clock(times)
        grid = warped_times.to(canvas.ids.device)[:, None].expand(-1, len(canvas.ids))
        noised = self.process.prior(canvas, self.z0, rng.at("prior"))
        moves = max(1, len(grid) - 1 - int(self.stop * (len(grid) - 1)))
        self.last = float(warped_times[moves])
        return Grid(grid[:-1][:moves], grid[1:][:moves]), State(
            noised, canvas.given, canvas.given.float(), GaussianMemory(), canvas.ids
        )

    def __call__(self, denoise: Denoiser, state: State, s: Tensor, cond: Canvas, rng: Rng) -> State:
        memory, noised = state.memory, state.noised
        assert isinstance(memory, GaussianMemory)
        is_read = self.drafts or bool((s <= self.last).all())
        no_pairs = torch.zeros(0, dtype=torch.int64, device=s.device)
        prediction = denoise(noised, cond, memory.carry, None if is_read else (no_pairs, no_pairs))
        assert prediction.estimate is not None
        estimate = Estimate(prediction.estimate, noised.t)
        z = self.solver(self.process, noised, s, estimate, memory.estimate, rng)
        z = torch.where(cond.free[..., None], z, self.z0)
        state = State(
            Noised(z, s), state.known, state.confidence, GaussianMemory(estimate, prediction.carry), state.ids
        )
        return self._read(state, prediction, cond) if is_read else state

    @staticmethod
    def _read(state: State, prediction: Prediction, cond: Canvas) -> State:
        """The state with the likeliest tokens as its text."""
        likeliest = prediction.logits.softmax(-1).max(-1)
        ids = torch.where(cond.free, likeliest.indices, cond.ids)
        confidence = torch.where(cond.free, likeliest.values.float(), cond.given.float())
        return replace(state, known=cond.real, confidence=confidence, ids=ids)
