"""The masked bound: under the exact denoiser it is the corpus entropy, in both forms and by enumeration."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
import torch

from mezzotint.objective.masked import EARLIEST, counted_bound, timed_bound
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import Cosine, LogLinear
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Noised
from tests.oracle import MaskedOracle, blank

TEXTS = [[0, 1, 2, 0], [0, 2, 1, 0], [2, 1, 0, 1], [1, 1, 1, 1]]
WEIGHTS = [4.0, 3.0, 1.0, 2.0]
V = 3


@pytest.fixture
def oracle():
    return MaskedOracle(TEXTS, WEIGHTS, V)


def corpus(copies: int) -> Canvas:
    """Each text as often as it weighs, `copies` times over."""
    ids = torch.tensor([t for t, w in zip(TEXTS, WEIGHTS, strict=True) for _ in range(int(w))]).repeat(copies, 1)
    canvas = blank(len(ids), 4)
    return Canvas(ids, canvas.given, canvas.real, canvas.index)


def enumerated(oracle, text) -> float:
    """The any-order bound of one text: the mean over all numbers and sets of masks."""
    total, process = 0.0, Absorbing(LogLinear(), V)
    for n in range(1, 5):
        for hidden in combinations(range(4), n):
            z = torch.tensor([text])
            z[0, list(hidden)] = process.mask
            logp = oracle(Noised(z, torch.ones(1)), blank(1, 4)).logits[0]
            total += (4 / n) / 4 / comb(4, n) * -sum(float(logp[i, text[i]]) for i in hidden)
    return total


def test_the_enumerated_bound_of_the_exact_denoiser_is_the_entropy(oracle):
    mean = sum(w * enumerated(oracle, t) for t, w in zip(TEXTS, WEIGHTS, strict=True)) / sum(WEIGHTS)
    assert mean == pytest.approx(oracle.entropy, abs=1e-9)


@pytest.mark.parametrize(
    ("bound", "schedule"),
    [(counted_bound, LogLinear()), (timed_bound, LogLinear()), (timed_bound, Cosine())],
    ids=["counts", "times log-linear", "times cosine"],
)
def test_the_bound_under_the_exact_denoiser_is_the_corpus_entropy(oracle, bound, schedule):
    batch = corpus(3000)
    draws = bound(oracle, Absorbing(schedule, V), batch, Rng(1, range(len(batch.ids)))).double()
    error = float(draws.std()) / len(draws) ** 0.5
    # The form with times leaves out t < 1e-3: a thousandth of the bound.
    assert abs(float(draws.mean()) - oracle.entropy) < 4 * error + 2e-3
    assert error < 0.02


def test_counting_masks_has_the_lower_variance(oracle):
    batch = corpus(500)
    rng = Rng(2, range(len(batch.ids)))
    timed, counted = (f(oracle, Absorbing(LogLinear(), V), batch, rng).var() for f in (timed_bound, counted_bound))
    assert counted < 0.8 * timed


def test_given_and_padding_are_neither_masked_nor_paid_for(oracle):
    batch = corpus(50)
    batch.given[:, :2] = True
    seen = []

    def denoise(noised, cond, previous=None, at=None):
        seen.append(noised.z[:, :2])
        return oracle(noised, cond, previous, at)

    process = Absorbing(LogLinear(), V)
    counted_bound(denoise, process, batch, Rng(0, range(len(batch.ids))))
    timed_bound(denoise, process, batch, Rng(0, range(len(batch.ids))))
    assert all(torch.equal(z, batch.ids[:, :2]) for z in seen)


def test_corrupt_hides_each_free_position_with_the_probability_of_sampling_and_all_at_the_end():
    process = Absorbing(Cosine(), 9)
    ids, free = torch.zeros(4000, 10, dtype=torch.int64), torch.ones(4000, 10, dtype=torch.bool)
    for t in (0.2, 0.7, 1.0):
        z = process.corrupt(ids, torch.full((4000,), t, dtype=torch.float64), free, Rng(0, range(4000))).z
        share = float((z == 9).double().mean())
        assert abs(share - float(process.survival(torch.tensor(t)))) < 4 * 0.5 / 200
    assert share == 1, "the bound's largest time is where sampling begins, from masks alone"


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=["log-linear", "cosine"])
def test_what_knows_nothing_costs_a_whole_log_v_a_token(schedule):
    """The expectation of timed_bound by quadrature: weight times the masked share is the density of that share."""
    process, t = Absorbing(schedule, V), EARLIEST + (1 - EARLIEST) * (torch.arange(20_000).double() + 0.5) / 20_000
    cost = float((schedule.weight(t) * process.survival(t)).mean())
    assert 1 - 1e-6 < cost < 1 + 1.1e-3, "a bound: what is left out below the earliest time is made up for"


def test_corrupt_count_hides_exactly_so_many_each_position_as_often():
    process = Absorbing(LogLinear(), 9)
    free = torch.ones(6000, 5, dtype=torch.bool)
    free[:, 4] = False
    z = process.corrupt_count(torch.zeros(6000, 5).long(), torch.full((6000,), 2), free, Rng(0, range(6000))).z
    hidden = z == 9
    assert bool((hidden.sum(1) == 2).all()) and not bool(hidden[:, 4].any())
    assert bool(((hidden[:, :4].double().mean(0) - 0.5).abs() < 4 * 0.5 / 6000**0.5).all())


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=["log-linear", "cosine"])
def test_the_slope_is_the_derivative_and_the_weight_follows(schedule):
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    (derivative,) = torch.autograd.grad(schedule.alpha(t).sum(), t)
    assert torch.allclose(derivative, schedule.slope(t))
    assert torch.allclose(schedule.weight(t), -derivative / (1 - schedule.alpha(t)))


def test_the_log_linear_weight_is_one_over_t():
    t = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    assert torch.allclose(LogLinear().weight(t), 1 / t)
