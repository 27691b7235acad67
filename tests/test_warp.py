"""The learned clock: its line and the inverse of it, what it is fitted to, and what becomes of the times."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.objective.context_free import context_free_losses
from mezzotint.process.gaussian import CosineVariance, Gaussian
from mezzotint.process.warp import BINS, FLOOR, Warp
from mezzotint.rng import Rng
from mezzotint.spec.sed import SEDSpec, SelfCondition, Times
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems.sed import AUXILIARY_WEIGHT, SED
from mezzotint.types import Canvas, Ending, Request

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
    assert float(warp.misfit(drawn, 2 * drawn**2).detach().mean()) == pytest.approx(float(plain.detach()), rel=1e-4)


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


# ---- in sed ----------------------------------------------------------------------------------------------------------


def clocked(**settings) -> SED:
    net = TransformerSpec(dim=16, depth=1, heads=2)
    spec = SEDSpec(vocab=11, canvas=9, ending=Ending.FILL, net=net, width=4, times=Times.WARPED, **settings)
    made = SED(spec, None)
    made.initialise(0)
    return made


def texts(rows: int) -> Canvas:
    ids = torch.randint(0, 11, (rows, 9), generator=torch.Generator().manual_seed(3))
    return Canvas(
        ids, torch.zeros_like(ids, dtype=torch.bool), torch.ones_like(ids, dtype=torch.bool), torch.arange(rows)
    )


def test_training_draws_by_the_clock_and_teaches_it_the_mean_loss_of_each_text(monkeypatch):
    made, batch, seen = clocked(spans=1, self_condition=SelfCondition.NONE), texts(16), []
    denoise = made.denoise
    monkeypatch.setattr(
        made, "denoise", lambda noised, *rest: seen.append((noised.t, denoise(noised, *rest))) or seen[-1][1]
    )
    rng = Rng(0, range(16), "train/3", 16)
    (loss,) = made.losses(batch, rng)
    loss.total.backward()
    t, prediction = seen[-1]
    assert torch.equal(t, made.net.warp.times(1 - rng.at("time").stratified()))
    assert not torch.allclose(t, 1 - rng.at("time").stratified())
    nll = -prediction.logits.detach().log_softmax(-1).gather(-1, batch.ids[..., None])[..., 0]
    twin = clocked(spans=1).net.warp
    (AUXILIARY_WEIGHT * 9 * twin.misfit(t, nll.mean(1))).sum().backward()
    torch.testing.assert_close(made.net.warp.tenth.grad, twin.tenth.grad)


def test_a_clock_begins_where_reading_each_vector_by_itself_begins_to_fail():
    made = clocked(noise_factor=3.0)
    edges = torch.arange(1, BINS + 1, dtype=torch.float64) / BINS
    nats, _ = context_free_losses(made.process, made.net.space.vectors, edges)
    torch.testing.assert_close(made.net.warp(edges).detach(), nats.double(), atol=0.02, rtol=0)
    assert float(nats[0]) < 0.2 and float(nats[-1]) == pytest.approx(math.log(11), abs=0.01)


def test_what_is_lost_alone_is_known_where_there_are_two_tokens():
    process, vectors = Gaussian(CosineVariance()), torch.tensor([[1.0], [-1.0]])
    nats, errors = context_free_losses(process, vectors, torch.tensor([0.001, 1.0], dtype=torch.float64))
    torch.testing.assert_close(nats, torch.tensor([0.0, math.log(2)]), atol=1e-3, rtol=0)
    torch.testing.assert_close(errors, torch.tensor([0.0, 1.0]), atol=1e-2, rtol=0)


def test_a_walk_goes_by_the_clock():
    made, canvas = clocked(), texts(2)
    seen = []
    odds = made.token_logits
    made.token_logits = lambda noised, *rest: seen.append(float(noised.t[0])) or odds(noised, *rest)
    for _ in made.sample(Request(canvas, steps=4)):
        pass
    even = torch.tensor([1.0, 0.75, 0.5, 0.25], dtype=torch.float64)
    assert seen == pytest.approx(made.net.warp.times(even).tolist()) and seen != pytest.approx(even.tolist(), abs=0.02)
