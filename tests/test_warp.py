"""The learned clock: its line and the inverse of it, what it is fitted to, and what becomes of the times."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.process.warp import BINS, FLOOR, Warp

EVEN = torch.linspace(0, 1, 1001, dtype=torch.float64)


def bent(highest: float = 3.0) -> Warp:
    warp = Warp()
    with torch.no_grad():
        warp.tenth += 0.1 * torch.randn(BINS, generator=torch.Generator().manual_seed(1)) + math.log(highest) / 10
    return warp


def test_it_begins_as_a_straight_line_and_leaves_times_alone():
    warp = Warp()
    torch.testing.assert_close(warp(EVEN), EVEN, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(warp.times(EVEN), EVEN, atol=1e-6, rtol=0)


def test_filled_it_is_the_line_it_was_given_and_still_rises_where_that_does_not():
    warp = Warp()
    warp.fill(lambda t: 4 * t.clamp(max=0.5))
    edges = torch.arange(BINS + 1, dtype=torch.float64) / BINS
    torch.testing.assert_close(warp(edges), 4 * edges.clamp(max=0.5), atol=0.01, rtol=0)
    assert bool((warp(edges).diff() > 0).all())


def test_times_are_where_the_line_and_the_floor_together_are_as_high():
    warp = bent()
    times = warp.times(EVEN)
    high = float(warp(torch.ones(())).detach())
    torch.testing.assert_close((1 - FLOOR) * warp(times) / high + FLOOR * times, EVEN, atol=1e-9, rtol=0)
    assert times[0] == 0 and times[-1] == 1 and bool((times.diff() > 0).all())


def test_every_time_counts_alike_in_the_misfit():
    warp = bent()
    fine = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    loss = 2 * fine**2
    drawn = warp.times(fine)
    plain = ((warp(fine) - loss) ** 2).mean()
    assert float(warp.misfit(drawn, 2 * drawn**2).detach().mean()) == pytest.approx(float(plain), rel=1e-4)


def test_it_learns_the_loss_and_then_draws_times_as_fast_as_it_climbs():
    warp, generator = Warp(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(warp.parameters(), lr=2e-3)

    def level(t: torch.Tensor) -> torch.Tensor:
        return 4 / (1 + torch.exp(-30 * (t - 0.4)))

    for _ in range(1500):
        t = warp.times(torch.rand(32, dtype=torch.float64, generator=generator))
        optimiser.zero_grad()
        warp.misfit(t, level(t) + 0.2 * torch.randn(32, generator=generator)).mean().backward()
        optimiser.step()
    learned = warp(EVEN).detach()
    assert float((learned - level(EVEN)).abs().max()) < 0.25
    times = warp.times(EVEN)
    inside = float(((times > 0.3) & (times < 0.5)).double().mean())
    share = float((level(torch.tensor(0.5)) - level(torch.tensor(0.3))) / 4)
    assert inside == pytest.approx((1 - FLOOR) * share + FLOOR * 0.2, abs=0.05)
