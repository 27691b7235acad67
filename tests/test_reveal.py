"""The exact sampler's law, checked against enumeration, an exact denoiser and an independent implementation."""

from __future__ import annotations

import pytest
import torch

from mezzotint.claims.naive import naive_ancestral
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import Cosine, LogLinear
from mezzotint.rng import Rng
from mezzotint.sampler.ancestral import LegacyAncestral
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.reveal import Reveal
from mezzotint.types import Canvas, Noised, Prediction
from tests.oracle import TEXTS, WEIGHTS, MaskedOracle, blank, chi_square_p, counts

VOCAB = 3


@pytest.fixture
def oracle() -> MaskedOracle:
    return MaskedOracle(TEXTS, WEIGHTS, VOCAB)


def write(denoise, step, canvas: Canvas, steps: int, seed: int = 0):
    counted = Counted(denoise, canvas)
    *_, last = drive(counted, step, canvas, steps, Rng(seed, canvas.index.tolist()), counted.calls)
    return last


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=["log-linear", "cosine"])
def test_many_steps_with_the_exact_denoiser_reproduce_the_corpus(oracle, schedule):
    process = Absorbing(schedule, VOCAB)
    frame = write(oracle, Reveal(process), blank(6000, 3), steps=1_000_000)
    assert chi_square_p(counts(frame.ids), oracle.law()) > 1e-3


def product_law(oracle: MaskedOracle) -> dict[tuple[int, ...], float]:
    p = oracle(Noised(torch.full((1, 3), VOCAB), torch.ones(1)), blank(1, 3)).logits.exp()[0]
    law = {
        (a, b, c): float(p[0, a] * p[1, b] * p[2, c]) for a in range(VOCAB) for b in range(VOCAB) for c in range(VOCAB)
    }
    return {k: v for k, v in law.items() if v > 0}


def test_one_step_draws_every_position_from_its_own_marginal(oracle):
    frame = write(oracle, Reveal(Absorbing(LogLinear(), VOCAB)), blank(6000, 3), steps=1)
    assert chi_square_p(counts(frame.ids), product_law(oracle)) > 1e-3


@pytest.mark.parametrize("steps", [2, 3])
def test_few_steps_have_the_law_of_the_naive_sampler(oracle, steps):
    """On a coarse grid the law is neither the corpus nor the product of marginals; the naive sampler says which."""
    process = Absorbing(Cosine(), VOCAB)

    def logits_of(z, t):
        return oracle(Noised(z, t), blank(len(z), 3)).logits

    # A history that leads outside the corpus has no posterior; mixing in the uniform law gives it one, for both.
    def smooth(logits):
        return (0.9 * logits.exp().nan_to_num(0) + 0.1 / VOCAB).log()

    n = 20_000
    theirs = naive_ancestral(
        lambda z, t: smooth(logits_of(z, t)),
        process.schedule.alpha,
        n,
        3,
        VOCAB,
        steps,
        torch.Generator().manual_seed(1),
    )

    def denoise(noised, cond, previous=None, at=None):
        return Prediction(smooth(oracle(noised, cond, previous, at).logits))

    ours = write(denoise, Reveal(process), blank(n, 3), steps)
    a, b = counts(ours.ids), counts(theirs)
    x = sum((a[k] - b[k]) ** 2 / (a[k] + b[k]) for k in set(a) | set(b))
    assert x < 26 + 5 * (2 * 26) ** 0.5


def test_a_time_conditioned_network_is_asked_at_the_grid_time_before_each_reveal():
    process, steps, asked = Absorbing(LogLinear(), 2), 10, []

    def denoise(noised, cond, previous=None, at=None):
        asked.append(noised.t.clone())
        return Prediction(torch.zeros(len(at[0]), 2))

    frame = write(denoise, Reveal(process), blank(1, 4), steps)
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
    times = [float(t) for t in asked]
    assert times == sorted(times, reverse=True) and set(times) <= set(grid[:-1])
    assert int(frame.nfe) == len(times) <= 4


def test_the_share_revealed_by_a_time_is_that_of_the_schedule():
    process = Absorbing(Cosine(), 2)
    canvas = blank(4000, 8)
    step = Reveal(process)
    _, state = step.begin(canvas, torch.linspace(1, 0, 21, dtype=torch.float64), Rng(3, range(4000)))
    for t in (0.25, 0.5, 0.75):
        masked = (state.memory.until < t - 1e-9).double().mean()
        assert abs(float(masked) - float(process.survival(torch.tensor(t)))) < 4 * 0.5 / 32000**0.5 + 1e-3


def test_calls_are_at_most_the_steps_and_the_masked_positions(oracle):
    for steps in (1, 2, 64):
        frame = write(oracle, Reveal(Absorbing(LogLinear(), VOCAB)), blank(200, 3), steps)
        assert int(frame.nfe.max()) <= min(steps, 3) and int(frame.nfe.min()) >= 1
        assert bool(frame.known.all()) and frame.done


def test_a_row_does_not_depend_on_its_batch_its_order_or_its_padding(oracle):
    step = Reveal(Absorbing(LogLinear(), VOCAB))
    together = write(oracle, step, blank(16, 3), 7).ids
    alone = torch.cat([write(oracle, step, blank(1, 3, first=i), 7).ids for i in range(16)])
    assert torch.equal(together, alone)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(write(oracle, step, blank(16, 3).rows(order), 7).ids, together[order])


def test_given_tokens_stay_and_the_rest_follows_the_conditional_law(oracle):
    canvas = blank(4000, 3)
    canvas.ids[:, 0], canvas.given[:, 0] = 0, True
    frame = write(oracle, Reveal(Absorbing(LogLinear(), VOCAB)), canvas, 1_000_000)
    assert chi_square_p(counts(frame.ids), {(0, 1, 2): 4 / 7, (0, 2, 1): 3 / 7}) > 1e-3


def test_two_positions_at_one_step_are_one_call_and_nothing_to_fill_is_none(oracle):
    canvas = blank(3, 3)
    canvas.given[:] = True
    frame = write(oracle, Reveal(Absorbing(LogLinear(), VOCAB)), canvas, 5)
    assert frame.done and int(frame.nfe.sum()) == 0 and torch.equal(frame.ids, canvas.ids)


def test_legacy_float32_has_the_same_law_on_a_small_vocabulary(oracle):
    frame = write(oracle, LegacyAncestral(Absorbing(LogLinear(), VOCAB)), blank(4000, 3), 300)
    law = oracle.law()
    inside = {k: v for k, v in counts(frame.ids).items() if k in law}
    # Two positions can fall into one of the 300 steps; more than a few per cent would be another law.
    assert sum(inside.values()) > 0.97 * 4000
    assert chi_square_p(inside, law) > 1e-4
