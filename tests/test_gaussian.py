"""Gaussian noise and the walks back from it, against published values, closed forms and an exact denoiser."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mezzotint.objective.chain import chain_bound
from mezzotint.process.gaussian import (
    MIN_EVIDENCE,
    CosineVariance,
    FlooredCosineVariance,
    Gaussian,
    RescaledVariance,
    SqrtVariance,
    Variance,
)
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.gaussian import Estimate, GaussianStep, ancestral, ddim, multistep
from mezzotint.types import Canvas, Noised, Prediction
from tests.oracle import TEXTS, WEIGHTS, GaussianOracle, blank, chi_square_p, counts, times

VARIANCES = [CosineVariance(), FlooredCosineVariance(), SqrtVariance(), RescaledVariance(CosineVariance(), 3.0)]
SOLVERS = [ancestral, ddim, multistep]


def vectors(vocab: int = 3, dim: int = 4) -> torch.Tensor:
    e = torch.randn(vocab, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return e / e.norm(dim=-1, keepdim=True) * dim**0.5


def write(process, denoise, solver, rows: int, steps: int, canvas: Canvas | None = None):
    canvas = blank(rows, 3) if canvas is None else canvas
    counted = Counted(denoise, canvas)
    step = GaussianStep(process, solver, vectors()[canvas.ids])
    *_, last = drive(counted, step, canvas, steps, Rng(0, canvas.index.tolist()), counted.calls)
    return last


def test_cosine_adds_beta1_in_its_first_step():
    variance = CosineVariance(2e-3, 1000)
    assert variance.offset == pytest.approx(0.02829, abs=5e-6)
    assert float(1 - variance.share(times(1e-3))[0]) == pytest.approx(2e-3, rel=1e-9)


def test_floored_cosine_never_adds_less_than_beta1():
    share = FlooredCosineVariance(2e-3, 1000).share(torch.arange(1001, dtype=torch.float64) / 1000)
    beta = 1 - share[1:] / share[:-1]
    assert beta.min() > 2e-3 - 1e-12 and beta.max() < 0.999 + 1e-12
    assert beta[0] == pytest.approx(2e-3)
    usual = torch.cos((torch.tensor([0.5, 0.501], dtype=torch.float64) + 0.008) / 1.008 * torch.pi / 2) ** 2
    assert float(beta[500]) == pytest.approx(float(1 - usual[1] / usual[0]))
    between = FlooredCosineVariance(2e-3, 1000).share(times(0.5, 0.5005, 0.501))
    assert float(between[1]) == pytest.approx(float(between[0] * between[2]) ** 0.5)


def test_sqrt_has_the_values_of_the_published_chain():
    share = torch.cat([times(1.0), SqrtVariance().share(times(1 / 2000, 2 / 2000, 3 / 2000))])
    assert (1 - share[1:] / share[:-1]).tolist() == pytest.approx([0.01464131, 0.00888909, 0.00706818], abs=1e-8)
    assert float(1 - share[1]) ** 0.5 == pytest.approx(0.12100, abs=1e-5)


@pytest.mark.parametrize("variance", VARIANCES, ids=lambda v: type(v).__name__)
def test_posterior_and_corruption_are_one_process(variance):
    """Bayes: drawing z_t, then z_s from the posterior, has the mean and variance of drawing z_s at once."""
    process = Gaussian(variance)
    z0 = torch.full((200_000, 1, 1), 1.3, dtype=torch.float64)
    rng = Rng(0, range(len(z0)))
    t, s = (torch.full((len(z0),), v, dtype=torch.float64) for v in (0.7, 0.3))
    noised = process.corrupt(z0, t, torch.ones(len(z0), 1, dtype=torch.bool), rng.at("a"))
    mean, deviation = process.posterior(noised, z0, s)
    z_s = mean + deviation * rng.at("b").normal(1, 1)
    alpha, sigma = process.alpha_sigma(times(0.3))
    assert float(z_s.mean()) == pytest.approx(float(alpha) * 1.3, abs=4 / len(z0) ** 0.5)
    assert float(z_s.var()) == pytest.approx(float(sigma) ** 2, rel=0.02)


@pytest.mark.parametrize("variance", VARIANCES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_last_step_is_the_estimate(variance, solver):
    process, g = Gaussian(variance), torch.Generator().manual_seed(0)
    z, estimate, earlier = (torch.randn(2, 3, 4, dtype=torch.float64, generator=g) for _ in range(3))
    t = times(0.4, 0.4)
    before = Estimate(earlier, times(0.5, 0.5))
    out = solver(
        process, Noised(z, t), torch.zeros(2, dtype=torch.float64), Estimate(estimate, t), before, Rng(0, [0, 1])
    )
    assert torch.allclose(out, estimate, atol=1e-12)


def test_two_ancestral_steps_with_one_estimate_have_the_law_of_one():
    """Strided = chained, where the estimate stays: the means agree exactly, the variances by their sum."""
    process = Gaussian(CosineVariance())
    g = torch.Generator().manual_seed(0)
    z, x0 = (torch.randn(1, 1, 3, dtype=torch.float64, generator=g) for _ in range(2))
    whole_mean, whole = process.posterior(Noised(z, times(0.9)), x0, times(0.2))
    middle, first = process.posterior(Noised(z, times(0.9)), x0, times(0.5))
    chained, second = process.posterior(Noised(middle, times(0.5)), x0, times(0.2))
    slope = process.posterior(Noised(middle + 1, times(0.5)), x0, times(0.2))[0] - chained
    assert torch.allclose(chained, whole_mean, atol=1e-12)
    assert torch.allclose((slope[..., :1] * first) ** 2 + second**2, whole**2, atol=1e-12)


@pytest.mark.parametrize(("solver", "steps"), [(ancestral, 300), (ddim, 300), (multistep, 60)])
@pytest.mark.parametrize("variance", VARIANCES[::2], ids=lambda v: type(v).__name__)
def test_the_exact_denoiser_reproduces_the_corpus(solver, steps, variance):
    process = Gaussian(variance)
    oracle = GaussianOracle(TEXTS, WEIGHTS, vectors(), process)
    frame = write(process, oracle, solver, 1500, steps)
    law = {tuple(t): w / sum(WEIGHTS) for t, w in zip(TEXTS, WEIGHTS, strict=True)}
    assert chi_square_p(counts(frame.ids), law) > 1e-3
    assert frame.nfe.tolist() == [steps] * 1500


def test_what_is_given_stays_and_conditions():
    process = Gaussian(CosineVariance())
    oracle = GaussianOracle(TEXTS, WEIGHTS, vectors(), process)
    canvas = blank(1500, 3)
    canvas.ids[:, 1], canvas.given[:, 1] = 1, True
    frame = write(process, oracle, ancestral, 1500, 300, canvas)
    law = {(0, 1, 2): 4 / 7, (2, 1, 0): 1 / 7, (1, 1, 1): 2 / 7}
    assert chi_square_p(counts(frame.ids), law) > 1e-3


def test_multistep_is_of_second_order_and_ddim_of_first():
    """Deterministic walks from 0.9 to 0.3, against a very fine one: twice the steps, a quarter or half the error."""
    process = Gaussian(CosineVariance())
    oracle = GaussianOracle(TEXTS, WEIGHTS, vectors(), process)
    canvas, rng = blank(50, 3), Rng(0, range(50))

    def end(solver, steps):
        walk = GaussianStep(process, solver, vectors()[canvas.ids])
        grid, state = walk.begin(canvas, torch.linspace(0.9, 0.3, steps + 1, dtype=torch.float64), rng)
        for t, s in zip(grid.t, grid.s, strict=True):
            state = walk(oracle, replace(state, noised=Noised(state.noised.z, t)), s, canvas, rng)
        return state.noised.z

    limit = end(multistep, 1500)
    for solver, gain in ((ddim, 2), (multistep, 4)):
        coarse, fine = ((end(solver, n) - limit).norm() for n in (60, 120))
        assert float(coarse / fine) == pytest.approx(gain, rel=0.2)


def test_a_row_does_not_depend_on_its_batch():
    process = Gaussian(CosineVariance())
    oracle = GaussianOracle(TEXTS, WEIGHTS, vectors(), process)
    together = write(process, oracle, ancestral, 8, 20)
    alone = write(process, oracle, ancestral, 1, 20, blank(1, 3, first=5))
    assert torch.equal(together.ids[5], alone.ids[0])
    assert torch.allclose(together.confidence[5], alone.confidence[0], atol=1e-6)


def test_multistep_takes_the_estimate_halfway_to_where_it_goes():
    """An estimate that is linear in log alpha/sigma is carried on exactly, however uneven the steps are."""
    process, g = Gaussian(CosineVariance()), torch.Generator().manual_seed(0)
    z, start, slope = (torch.randn(1, 2, 3, dtype=torch.float64, generator=g) for _ in range(3))
    earlier, here, there = (times(v) for v in (0.8, 0.7, 0.2))

    def place(t):
        alpha, sigma = process.wide(t, z)
        return torch.log(alpha / sigma)

    before, now = (Estimate(start + place(t) * slope, t) for t in (earlier, here))
    halfway = Estimate(start + (place(here) + place(there)) / 2 * slope, here)
    noised, rng = Noised(z, here), Rng(0, [0])
    expected = ddim(process, noised, there, halfway, None, rng)
    assert torch.allclose(multistep(process, noised, there, now, before, rng), expected, atol=1e-9)
    assert not torch.allclose(ddim(process, noised, there, now, None, rng), expected, atol=1e-2)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_walk_hands_each_call_what_the_last_one_carried(solver):
    process, told = Gaussian(CosineVariance()), []
    oracle = GaussianOracle(TEXTS, WEIGHTS, vectors(), process)

    def telling(noised, cond, previous=None, at=None):
        told.append(previous)
        return replace(oracle(noised, cond, previous, at), carry=len(told))

    write(process, telling, solver, 1, 4)
    assert told == [None, 1, 2, 3]


def test_evidence_is_the_log_density():
    process, e = Gaussian(CosineVariance()), vectors(5) * torch.linspace(0.5, 2, 5)[:, None]
    noised = process.corrupt(e[[0, 3]][None], times(0.5), torch.ones(1, 2, dtype=torch.bool), Rng(0, [0]))
    alpha, sigma = process.alpha_sigma(times(0.5))
    density = torch.distributions.Normal(alpha * e, sigma).log_prob(noised.z[0][:, None]).sum(-1)
    difference = process.evidence(noised, e)[0] - density
    assert torch.allclose(difference, difference[:, :1].expand(-1, 5), atol=1e-9)


def test_evidence_is_as_exact_where_networks_are_cast():
    process, e = Gaussian(CosineVariance()), vectors(5).float()
    noised = process.corrupt(e[[0, 3]][None], times(0.7), torch.ones(1, 2, dtype=torch.bool), Rng(0, [0]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = process.evidence(noised, e)
    assert torch.equal(cast, process.evidence(noised, e)) and float(cast.min()) > MIN_EVIDENCE


def test_evidence_ends_where_numbers_would_become_denormal():
    process, e = Gaussian(CosineVariance()), vectors(5)
    noised = process.corrupt(e[[0, 3]][None], times(0.001), torch.ones(1, 2, dtype=torch.bool), Rng(0, [0]))
    evidence = process.evidence(noised, e)[0]
    assert evidence.argmax(-1).tolist() == [0, 3] and float(evidence.amax()) == 0
    assert float(evidence.amin()) == MIN_EVIDENCE


def test_a_factor_divides_the_signal_to_noise_by_its_square():
    t = torch.linspace(0.05, 0.95, 9, dtype=torch.float64)
    plain, louder = (
        Gaussian(v).signal_to_noise(t) for v in (CosineVariance(), RescaledVariance(CosineVariance(), 3.0))
    )
    assert torch.allclose(plain / louder, torch.full_like(t, 9.0))


def test_the_bound_of_an_exact_denoiser_falls_to_the_entropy_of_the_corpus():
    """-log p on average is the entropy; the chain's bound is above it, and nearer the finer the chain."""
    process = Gaussian(CosineVariance())
    oracle = GaussianOracle(TEXTS, WEIGHTS, vectors(), process)
    shares = torch.tensor(WEIGHTS, dtype=torch.float64) / sum(WEIGHTS)
    entropy = -float((shares * shares.log()).sum())
    rows = 12_000
    texts = torch.tensor(TEXTS).repeat_interleave((shares * rows).round().long(), dim=0)
    canvas = replace(blank(len(texts), 3), ids=texts)

    def bound(steps):
        rng = Rng(0, range(len(texts)), "", len(texts))
        return chain_bound(oracle, process, vectors(), canvas, steps, rng)

    gaps = []
    for steps in (8, 64, 1000):
        nats = bound(steps)
        gaps.append(float(nats.mean()) - entropy)
        error = float(nats.std()) / rows**0.5
        assert gaps[-1] > -4 * error
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 0.03 + 4 * error


class Faint(Variance):
    """A chain that does not end in noise alone."""

    def share(self, t):
        return 1 - t / 2


def test_a_denoiser_that_knows_the_text_pays_for_where_the_chain_ends_alone():
    texts = torch.tensor(TEXTS)
    canvas = replace(blank(len(texts), 3), ids=texts)
    canvas.given[:, 0] = True
    e = vectors()[texts]
    for factor in (1.0, 2.0):
        knows = Prediction(1e4 * torch.nn.functional.one_hot(texts, 3).double(), e)
        nats = chain_bound(
            lambda *asked, said=knows: said, Gaussian(Faint(), factor), vectors(), canvas, 100, Rng(0, range(5))
        )
        end = torch.distributions.Normal(0.5**0.5 * e, 0.5**0.5 * factor)
        prior = torch.distributions.Normal(torch.zeros_like(e), torch.full_like(e, factor))
        kl = torch.distributions.kl_divergence(end, prior).sum(-1)
        assert torch.allclose(nats, (kl * canvas.free).sum(1), atol=1e-6) and bool((nats > 1).all())


def test_what_is_given_costs_nothing():
    process = Gaussian(CosineVariance())
    oracle = GaussianOracle(TEXTS, WEIGHTS, vectors(), process)
    texts = torch.tensor(TEXTS[:1] * 4000 + TEXTS[2:3] * 1000 + TEXTS[3:4] * 2000)
    canvas = replace(blank(len(texts), 3), ids=texts)
    canvas.given[:, 1] = True
    nats = chain_bound(oracle, process, vectors(), canvas, 1000, Rng(0, range(7000), "", 7000))
    p = torch.tensor([4, 1, 2], dtype=torch.float64) / 7
    assert float(nats.mean()) == pytest.approx(-float((p * p.log()).sum()), abs=0.06)
