"""Diffusion-LM: what each term reaches, the published schedule and guided step, clamping, the bound and the walk under
an exact denoiser, and what padding and batch must not change."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mezzotint.data.lengths import Lengths
from mezzotint.errors import CapabilityError, UsageError
from mezzotint.guidance.clamp import clamp
from mezzotint.guidance.vocabulary import forbid
from mezzotint.objective.chain import chain_bound
from mezzotint.objective.end_to_end import end_to_end
from mezzotint.process.gaussian import Gaussian, SqrtVariance
from mezzotint.recipes.diffusion_lm import base, tiny
from mezzotint.rng import Rng
from mezzotint.sampler.gaussian import Estimate, ancestral
from mezzotint.spec.diffusion_lm import CARD, DiffusionLMSpec
from mezzotint.spec.recipe import Corpus
from mezzotint.spec.transformer import Positions, TransformerSpec
from mezzotint.systems.diffusion_lm import DiffusionLM, network
from mezzotint.types import Canvas, Decoder, Ending, Layout, Noised, Prediction, Request
from tests.batches import texts
from tests.oracle import TEXTS, WEIGHTS, GaussianOracle, blank, chi_square_p, counts

V, L, W = 11, 9, 4
LAW = {tuple(t): w / sum(WEIGHTS) for t, w in zip(TEXTS, WEIGHTS, strict=True)}


def system(vocab: int = V, canvas: int = L, **settings) -> DiffusionLM:
    net = TransformerSpec(dim=16, depth=2, heads=2, positions=Positions.EDGES, neighbours=3)
    spec = DiffusionLMSpec(vocab=vocab, canvas=canvas, ending=Ending.LENGTH, net=net, width=W, **settings)
    made = DiffusionLM(spec, Lengths.from_lengths([3, 9, 9, 5], 9))
    made.initialise(0)
    made.net.double()
    return made


def streams(batch: Canvas) -> Rng:
    return Rng(0, batch.index.tolist(), "train/3", len(batch.ids))


def state(made: DiffusionLM, batch: Canvas, t: float) -> Noised:
    times = torch.full((len(batch.ids),), t, dtype=torch.float64)
    return made.process.corrupt(made.net.space.clean(batch.ids).detach(), times, batch.free, streams(batch))


# ---- the published chain ---------------------------------------------------------------------------------------------


def test_the_chain_is_the_published_one_to_its_last_step():
    share = SqrtVariance(steps=2000).share(torch.arange(2001, dtype=torch.float64) / 2000)
    beta = 1 - share[1:] / torch.cat([torch.ones(1), share[1:-1]])
    assert beta[:3].tolist() == pytest.approx([0.01464131, 0.00888909, 0.00706818], abs=1e-8)
    assert beta[-3:].tolist() == pytest.approx([0.35722328, 0.55561113, 0.999], abs=1e-8)
    assert float(share[-1]) == pytest.approx(2e-7, rel=0.02)
    assert Gaussian(SqrtVariance()).blur(2000) == pytest.approx(0.12100, abs=1e-5)
    assert Gaussian(SqrtVariance(steps=200)).blur(200) == pytest.approx(0.24907, abs=1e-5)


def test_every_tenth_step_of_the_chain_is_the_chain_of_200():
    t = torch.arange(1, 200, dtype=torch.float64) / 200
    long, short = SqrtVariance(steps=2000), SqrtVariance(steps=200)
    assert torch.equal(long.share(t), short.share(t))
    ends = [float(v.share(torch.ones(1, dtype=torch.float64))) for v in (long, short)]
    assert abs(ends[0] - ends[1]) < 3e-6


def test_ddim_with_eta_one_is_the_ancestral_step():
    """The guided step of the paper's code, line by line, against the posterior."""
    process, g = Gaussian(SqrtVariance()), torch.Generator().manual_seed(0)
    x, x0 = (torch.randn(3, 2, 4, dtype=torch.float64, generator=g) for _ in range(2))
    t, s = (torch.tensor(v, dtype=torch.float64) for v in ([0.05, 0.4, 1.0], [0.045, 0.3, 0.995]))
    abar, abar_s = (process.wide(v, x)[0] ** 2 for v in (t, s))
    eps = (x / abar.sqrt() - x0) / (1 / abar - 1).sqrt()
    sigma = ((1 - abar_s) / (1 - abar)).sqrt() * (1 - abar / abar_s).sqrt()
    mu = abar_s.sqrt() * x0 + (1 - abar_s - sigma**2).sqrt() * eps
    mean, deviation = process.posterior(Noised(x, t), x0, s)
    assert torch.allclose(mean, mu, atol=1e-12) and torch.allclose(deviation, sigma, atol=1e-12)


def test_the_projections_are_the_published_ones():
    """Layers of the code at hidden 768, d 16: Linear-Tanh-Linear twice, and 128 -> 512 -> 768 for the time."""
    corpus = Corpus(vocab=821, canvas=64, layout=Layout.TEXTS)
    with torch.device("meta"):
        net = network(replace(base(corpus).spec, width=16))
    parts = (net.body.enter, net.body.time, net.body.leave)
    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [
        17 * 768 + 769 * 768,
        129 * 512 + 513 * 768,
        769 * 768 + 769 * 16,
    ]
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(87.1e6, rel=0.005)


# ---- the objective ---------------------------------------------------------------------------------------------------


def gradients(made: DiffusionLM, name: str) -> dict[str, torch.Tensor]:
    made.net.zero_grad()
    batch = texts(4)
    terms = end_to_end(made.denoise, made.net.space, made.process, made.spec.chain, batch, streams(batch))
    terms[name].sum().backward()
    return {k: p.grad for k, p in made.net.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_each_term_reaches_what_it_should():
    made = system()
    table = {"space.table"}
    assert set(gradients(made, "rounding")) == table | {"space.bias"}
    assert set(gradients(made, "prior")) == table
    body = {name for name, _ in made.net.named_parameters() if name.startswith("body")}
    assert set(gradients(made, "error")) == table | body


def test_the_error_reaches_the_table_through_the_input_and_through_the_target():
    made, batch = system(), texts(4)
    terms = [
        end_to_end(denoise, made.net.space, made.process, made.spec.chain, batch, streams(batch))["error"].sum()
        for denoise in (made.denoise, lambda n, c: made.denoise(Noised(n.z.detach(), n.t), c))
    ]
    whole, target = (torch.autograd.grad(term, made.net.space.table)[0] for term in terms)
    assert bool(target.any()) and not torch.allclose(whole, target)


def test_the_prior_term_pulls_at_norms_alone():
    made = system()
    pull, table = gradients(made, "prior")["space.table"], made.net.space.table.detach()
    used = pull.abs().sum(1) > 0
    along = torch.cosine_similarity(pull[used], table[used])
    # z_0 has noise of 0.12 besides the vector, so the direction is nearly, not exactly, the vector's.
    assert float(along.min()) > 0.97
    # alpha(1)^2 = 2e-7 makes it next to nothing, as published; the mean over D of the square has the slope 2 z / D.
    batch = texts(4)
    counts = torch.bincount(batch.ids[batch.real], minlength=V).double()[:, None]
    expected = 2 / W * made.process.alpha_sigma(torch.ones(1))[0] ** 2 * counts * table
    assert float((pull - expected).norm() / expected.norm()) < 0.15


class Constant:
    """A denoiser with a constant estimate, which records its inputs."""

    def __init__(self, estimate: torch.Tensor) -> None:
        self.estimate, self.asked = estimate, []

    def __call__(self, noised, cond, previous=None, at=None):
        self.asked.append(noised)
        return Prediction(torch.zeros(1), self.estimate)


def test_the_target_is_the_noised_vector_but_the_word_s_own_at_the_first_step():
    made, batch = system(chain=2), replace(blank(2, L), ids=texts(2).ids)
    space, rng = made.net.space, Rng(1, [0, 1], "", 2)
    clean, sigma0 = space.clean(batch.ids).detach(), made.process.blur(2)
    z0 = space.encode(batch.ids, sigma0, rng.at("sigma0"))
    denoise = Constant(clean)
    error = end_to_end(denoise, space, made.process, 2, batch, rng)["error"].detach()
    (noised,) = denoise.asked
    assert sorted(noised.t.tolist()) == [0.5, 1.0]
    first, last = noised.t.argsort().tolist()
    assert float(error[first]) == 0
    assert float(error[last]) == pytest.approx(float(((z0 - clean)[last].detach() ** 2).mean(-1).sum()), rel=1e-5)
    assert sigma0**2 * L / 2 < float(error[last]) < sigma0**2 * L * 2


def test_the_rounding_is_of_the_noised_truth_and_not_of_the_estimate():
    made, batch = system(), texts(2)
    rounding = [
        end_to_end(Constant(torch.full((2, L, W), v)), made.net.space, made.process, 2000, batch, streams(batch))[
            "rounding"
        ]
        for v in (0.0, 5.0)
    ]
    assert torch.equal(*rounding)


def test_losses_do_not_depend_on_how_a_batch_is_parted():
    made, batch = system(), texts(4)
    (whole,) = made.losses(batch, Rng(0, range(4), "train/3", 4))
    parts = [
        next(iter(made.losses(batch.rows(slice(a, a + 2)), Rng(0, range(a, a + 2), "train/3", 4)))) for a in (0, 2)
    ]
    assert float(whole.total.detach()) == pytest.approx(sum(float(p.total.detach()) for p in parts), rel=1e-6)
    assert whole.count == sum(p.count for p in parts) == 21
    assert float(whole.total.detach()) == pytest.approx(sum(float(p) for p in whole.parts.values()))


def test_seeds_give_tables_of_their_own_and_none_is_a_noise():
    tables = []
    for seed in (0, 1):
        made = system()
        made.initialise(seed)
        tables.append(made.net.space.table.detach())
    assert not torch.allclose(*tables)
    for other in (torch.randn(V, W, generator=torch.Generator().manual_seed(0)), Rng(0, range(V)).normal(W)):
        assert abs(float(torch.corrcoef(torch.stack([tables[0].flatten(), other.flatten().double()]))[0, 1])) < 0.6


# ---- the network -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_padding_and_batch_change_nothing():
    made, batch = system(), texts(4)
    noised = state(made, batch, 0.4)
    together = made.denoise(noised, batch)
    for b, n in enumerate([9, 4, 7, 1]):
        row = slice(b, b + 1)
        part = Canvas(batch.ids[row, :n], batch.given[row, :n], batch.real[row, :n], batch.index[row])
        alone = made.denoise(Noised(noised.z[row, :n], noised.t[row]), part)
        assert torch.allclose(together.estimate[b, :n], alone.estimate[0], atol=1e-9)
    other = made.denoise(Noised(noised.z, noised.t * 0.9), batch)
    assert not torch.allclose(other.estimate, together.estimate)


# ---- clamping --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_clamping_takes_the_nearest_row_that_is_allowed_and_twice_is_once():
    made, batch = system(), texts(4)
    noised, table = state(made, batch, 0.5), made.net.space.vectors
    prediction = made.denoise(noised, batch)
    clamped = clamp(made.denoise, table, made.net.space.logits)
    once = clamped(noised, batch)
    nearest = torch.cdist(prediction.estimate, table.expand(4, -1, -1)).argmin(-1)
    assert torch.equal(once.estimate, table[nearest])
    assert torch.allclose(once.logits, made.net.space.logits(once.estimate))
    assert torch.equal(clamp(clamped, table)(noised, batch).estimate, once.estimate)
    best = int(nearest[0, 0])
    without = clamp(forbid(made.denoise, (best,)), table, made.net.space.logits)(noised, batch)
    assert torch.equal(without.estimate[0, 0], table[torch.cdist(prediction.estimate[0, :1], table)[0].argsort()[1]])
    assert bool(without.logits[..., best].isneginf().all())


@pytest.mark.parametrize("clamped", [True, False])
@torch.no_grad()
def test_writing_goes_towards_the_nearest_vector_where_estimates_are_clamped(clamped):
    made, batch, asked = system(clamp=clamped), texts(1), []
    denoise = made.denoise
    made.denoise = lambda noised, *args: asked.append((noised, prediction := denoise(noised, *args))) or prediction
    list(made.sample(Request(batch, steps=2, decoder=Decoder.DDIM)))
    (first, prediction), (second, _) = asked
    table = made.net.space.vectors
    estimate = table[torch.cdist(prediction.estimate[0], table).argmin(-1)][None] if clamped else prediction.estimate
    (a, b), (c, d) = (made.process.wide(n.t, table) for n in (first, second))
    assert torch.allclose(second.z, c * estimate + d / b * (first.z - a * estimate), atol=1e-9)
    assert not torch.allclose(
        prediction.estimate, table[torch.cdist(prediction.estimate[0], table).argmin(-1)], atol=1e-3
    )


# ---- an exact denoiser -----------------------------------------------------------------------------------------------


class Blurred(GaussianOracle):
    """E[x0 | x_t] where x0 has noise of its own: what the objective teaches."""

    def __call__(self, noised, cond, previous=None, at=None):
        prediction = super().__call__(noised, cond, previous, at)
        alpha, sigma = self.process.wide(noised.t, noised.z)
        shown = alpha * self.process.sigma0**2 / sigma**2
        return replace(prediction, estimate=prediction.estimate + shown * (noised.z - alpha * prediction.estimate))


def exact(scale: float = 2.0, **settings) -> DiffusionLM:
    """A system whose network is replaced by the exact denoiser of TEXTS."""
    made = system(vocab=3, canvas=3, **settings)
    e = torch.randn(3, W, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        made.net.space.table.copy_(scale * e / e.norm(dim=-1, keepdim=True) * W**0.5)
    made.denoise = Blurred(TEXTS, WEIGHTS, made.net.space.vectors.detach(), made.word_process)
    return made


def written(made: DiffusionLM, rows: int, steps: int, canvas: Canvas | None = None, **options) -> torch.Tensor:
    *_, last = made.sample(Request(blank(rows, 3) if canvas is None else canvas, steps=steps, **options))
    return last.ids


@pytest.mark.parametrize("decoder", sorted(CARD.decoders, key=lambda d: d.value))
def test_writing_with_the_exact_denoiser_reproduces_the_corpus(decoder):
    ids = written(exact(clamp=False), 500, 120, decoder=decoder)
    assert chi_square_p(counts(ids), LAW) > 1e-3


def test_clamped_writing_keeps_to_the_texts_of_the_corpus():
    assert set(counts(written(exact(), 200, 100))) <= set(LAW)


def test_what_is_given_stays_and_conditions():
    canvas = blank(500, 3)
    canvas.ids[:, 1], canvas.given[:, 1] = 1, True
    ids = written(exact(clamp=False), 500, 120, canvas)
    assert chi_square_p(counts(ids), {(0, 1, 2): 4 / 7, (2, 1, 0): 1 / 7, (1, 1, 1): 2 / 7}) > 1e-3


def centred(made: DiffusionLM):
    """The denoiser of the words' own vectors."""

    def denoise(noised, cond, previous=None, at=None):
        prediction = made.denoise(noised, cond)
        return replace(prediction, estimate=made.word_process.centre(noised, prediction.estimate))

    return denoise


def spread(made: DiffusionLM, rows: int) -> tuple[Noised, Canvas]:
    """States at times from 0.001 to 1."""
    canvas, times = blank(rows, 3), torch.linspace(0.001, 1, rows, dtype=torch.float64)
    vectors = made.net.space.vectors.detach()
    return made.word_process.corrupt(vectors[canvas.ids], times, canvas.free, Rng(0, range(rows))), canvas


def test_the_estimate_of_the_vector_behind_a_noisy_start_is_the_exact_one():
    made = exact()
    noised, canvas = spread(made, 40)
    vectors = GaussianOracle(TEXTS, WEIGHTS, made.net.space.vectors.detach(), made.word_process)
    assert not torch.allclose(made.denoise(noised, canvas).estimate, vectors(noised, canvas).estimate, atol=0.05)
    assert torch.allclose(centred(made)(noised, canvas).estimate, vectors(noised, canvas).estimate, atol=1e-9)


@torch.no_grad()
def test_the_bound_settles_what_is_sure_and_nothing_else():
    made = exact(scale=1.0)
    noised, canvas = spread(made, 200)
    table, settled = made.net.space.vectors, made._settled_denoiser(noised, canvas).estimate
    off = torch.cdist(settled.flatten(0, 1), table).amin(-1).view(200, 3)
    assert float(off[:10].median()) < 0.01 and float(off[150:].median()) > 0.5
    assert torch.equal(settled[190:], centred(made)(noised, canvas).estimate[190:])


def test_the_whole_process_is_the_chain_with_its_noisy_start():
    """Noise of sigma0, then the chain's, has the law of one draw of the whole process; its steps have the chain's
    means."""
    made = system()
    sigma0 = made.process.blur(2000)
    t, s = (torch.tensor([v], dtype=torch.float64) for v in (0.3, 0.2))
    (alpha, sigma), (whole_alpha, whole_sigma) = (p.alpha_sigma(t) for p in (made.process, made.word_process))
    assert torch.equal(alpha, whole_alpha)
    assert torch.allclose(whole_sigma**2, sigma**2 + alpha**2 * sigma0**2)
    g = torch.Generator().manual_seed(0)
    z, x0 = (torch.randn(1, 2, 3, dtype=torch.float64, generator=g) for _ in range(2))
    plain, small = made.process.posterior(Noised(z, t), x0, s)
    centred, large = made.word_process.posterior(Noised(z, t), made.word_process.centre(Noised(z, t), x0), s)
    assert torch.allclose(plain, centred, atol=1e-12) and float(large) > float(small)


def corpus(rows: int) -> tuple[Canvas, Rng, float]:
    """The corpus as `rows` texts, the streams of a bound on it, and its entropy."""
    shares = torch.tensor(list(LAW.values()), dtype=torch.float64)
    ids = torch.tensor(TEXTS).repeat_interleave((shares * rows).round().long(), dim=0)
    streams = Rng(0, range(len(ids)), "", len(ids))
    return replace(blank(len(ids), 3), ids=ids), streams, -float((shares * shares.log()).sum())


def nearest(made: DiffusionLM):
    """A read-out that is sure of the nearest vector."""
    e = made.net.space.vectors.detach()
    return lambda x: 1e3 * (x @ e.mT - (e**2).sum(-1) / 2)


@torch.no_grad()
def test_the_bound_of_an_exact_denoiser_falls_to_the_entropy_of_the_corpus():
    canvas, rng, entropy = corpus(18_000)
    gaps, errors = [], []
    for chain in (16, 2000):
        made = exact(chain=chain)
        nats = chain_bound(centred(made), made.word_process, made.net.space.vectors, canvas, chain, rng, nearest(made))
        gaps.append(float(nats.mean()) - entropy)
        errors.append(float(nats.std()) / 18_000**0.5)
    assert gaps[0] > gaps[1] > -4 * errors[1] and gaps[1] < 0.03 + 4 * errors[1] and errors[1] < 0.08


@torch.no_grad()
def test_settling_costs_an_exact_denoiser_little_and_saves_an_inexact_one():
    """An error of 0.01 a number, which no text would show, at every time."""
    canvas, rng, entropy = corpus(6_000)
    made = exact()
    off = 0.1 * torch.randn(len(canvas.ids), 3, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sound, nats = made.denoise, []
    for denoise in (sound, lambda *asked: replace(prediction := sound(*asked), estimate=prediction.estimate + off)):
        made.denoise = denoise
        for way in (centred(made), made._settled_denoiser):
            vectors = made.net.space.vectors
            nats.append(float(chain_bound(way, made.word_process, vectors, canvas, 2000, rng, nearest(made)).mean()))
    plain, settled, plain_off, settled_off = nats
    assert abs(plain - entropy) < 0.4 and settled < plain + 0.3
    assert plain_off > plain + 1 and settled_off < settled + 0.4
    assert float((made.nll(canvas, rng) - made.length(canvas.real)).mean()) > entropy - 0.3


@torch.no_grad()
def test_the_bound_pays_for_rounding_by_the_read_out_of_the_noisy_start():
    made = exact()
    canvas, rng, _ = corpus(1_200)

    def bound(read):
        return chain_bound(centred(made), made.word_process, made.net.space.vectors, canvas, 2000, rng, read)

    nothing = bound(lambda x: torch.zeros(*x.shape[:2], 3, dtype=torch.float64))
    assert float((nothing - bound(nearest(made))).mean()) == pytest.approx(3 * math.log(3), rel=1e-3)


# ---- the system ------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_writing_keeps_what_is_given_and_does_not_depend_on_the_batch():
    made, batch = system(), texts(4)
    batch.given[:, :1] = True
    *_, last = made.sample(Request(batch, steps=6, seed=1, forbidden=(0, 1, 2)))
    assert last.done and torch.equal(last.ids[batch.given], batch.ids[batch.given])
    assert not bool(torch.isin(last.ids[batch.free], torch.tensor([0, 1, 2])).any())
    assert last.nfe.tolist() == [6] * 4
    *_, alone = made.sample(Request(batch.rows(slice(2, 3)), steps=6, seed=1, forbidden=(0, 1, 2)))
    assert torch.equal(alone.ids[0, :7], last.ids[2, :7])


@torch.no_grad()
def test_temperature_is_the_noise_of_the_steps():
    process, g = Gaussian(SqrtVariance()), torch.Generator().manual_seed(0)
    z, estimate = (torch.randn(2, 3, 4, dtype=torch.float64, generator=g) for _ in range(2))
    t, s = (torch.full((2,), v, dtype=torch.float64) for v in (0.6, 0.5))
    mean, warm, hot = (
        ancestral(process, Noised(z, t), s, Estimate(estimate, t), None, Rng(0, [0, 1]), temperature=temperature)
        for temperature in (0.0, 1.0, 2.0)
    )
    assert torch.equal(mean, process.posterior(Noised(z, t), estimate, s)[0])
    assert torch.allclose(hot - mean, 2 * (warm - mean), atol=1e-12) and not torch.allclose(warm, mean, atol=1e-3)
    assert not torch.equal(*(written(system(), 0, 5, texts(4), temperature=t) for t in (0.0, 1.0)))
    for options in ({"top_p": 0.9}, {"temperature": 0.5, "decoder": Decoder.DDIM}):
        with pytest.raises(CapabilityError, match="no odds"):
            written(system(), 0, 4, texts(1), **options)


def test_the_recipes_have_the_published_widths_and_the_spec_its_bounds():
    corpus = Corpus(vocab=300, canvas=32, layout=Layout.TEXTS)
    assert (tiny(corpus).spec.width, base(corpus).spec.width, tiny(corpus).spec.chain) == (16, 128, 2000)
    for wrong in ({"chain": 1}, {"width": 0}, {"ending": Ending.SYMBOL}):
        with pytest.raises(UsageError):
            replace(tiny(corpus).spec, **wrong)
