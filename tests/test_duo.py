"""Duo: uniform noise against Bayes' rule, the bound against the entropy, the sampler against an enumerated chain."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch

from mezzotint.errors import CapabilityError, UsageError
from mezzotint.process.schedule import Cosine, LogLinear
from mezzotint.process.uniform import Uniform
from mezzotint.recipes.duo import recipe
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.spec.base import Size
from mezzotint.spec.duo import DuoSpec
from mezzotint.spec.recipe import Corpus
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems.duo import EARLIEST, Duo, Rewrite, bound
from mezzotint.types import Canvas, Decoder, Ending, Layout, Noised, Prediction, Request
from tests.oracle import blank, chi_square_p, times

TEXTS = [[0, 1], [2, 1], [1, 0], [2, 2]]
WEIGHTS = [4.0, 3.0, 1.0, 2.0]
V = 3
STATES = list(product(range(V), repeat=2))


class UniformOracle:
    """p(token at a position | the other positions' tokens at t, what is given) under the weighted `texts`."""

    def __init__(self, process, texts=TEXTS, weights=WEIGHTS, vocab=V):
        self.process, self.vocab = process, vocab
        self.texts = torch.tensor(texts)
        self.weights = torch.tensor(weights, dtype=torch.float64) / sum(weights)

    def __call__(self, noised, cond, previous=None, at=None):
        alpha = self.process.schedule.alpha(noised.t)[:, None, None]
        same = (noised.z[:, None] == self.texts).double()
        q = torch.where(cond.given[:, None], same, alpha * same + (1 - alpha) / self.vocab)  # (B, N, L)
        others = torch.stack([torch.cat([q[..., :i], q[..., i + 1 :]], -1).prod(-1) for i in range(q.shape[-1])], -1)
        onehot = torch.nn.functional.one_hot(self.texts, self.vocab).double()
        p = torch.einsum("bni,n,niv->biv", others, self.weights, onehot)
        logits = (p / p.sum(-1, keepdim=True)).log()
        return Prediction(logits if at is None else logits[at])

    @property
    def entropy(self):
        return -float((self.weights * self.weights.log()).sum())


def stay(process, t, s):
    """q(z_t | z_s) as a matrix [z_s, z_t], by hand."""
    kept = float(process.schedule.alpha(torch.tensor(t, dtype=torch.float64)))
    kept /= float(process.schedule.alpha(torch.tensor(s, dtype=torch.float64)))
    return kept * torch.eye(process.vocab, dtype=torch.float64) + (1 - kept) / process.vocab


# ---- the process -----------------------------------------------------------------------------------------------------


def test_a_coin_worked_out_by_hand():
    """V = 2, alpha(t) = 1/2, alpha(s) = 3/4: two thirds of what is left at s is left at t."""
    process = Uniform(LogLinear(eps=0), 2)
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
    q = process.posterior(p, torch.tensor([0, 1, 0]), times(0.5, 0.5, 0.5), times(0.25, 0.25, 0.25))
    # z_t = x: 7/8 * 5/6 against 1/8 * 1/6; z_t another: 7/8 * 1/6 against 1/8 * 5/6; nothing known: 5/6 against 1/6.
    assert torch.allclose(q, torch.tensor([[35 / 36, 1 / 36], [7 / 12, 5 / 12], [5 / 6, 1 / 6]], dtype=torch.float64))


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=["log-linear", "cosine"])
def test_the_posterior_is_bayes_rule(schedule):
    process = Uniform(schedule, V)
    for t, s in ((0.9, 0.3), (0.5, 0.4), (0.3, 0.0)):
        joint = stay(process, s, 0.0)[:, :, None] * stay(process, t, s)[None]  # [x, z_s, z_t]
        for x, z in product(range(V), range(V)):
            found = process.posterior(torch.eye(V).double()[x][None], torch.tensor([z]), times(t), times(s))[0]
            assert torch.allclose(found, joint[x, :, z] / joint[x, :, z].sum())


def test_with_the_odds_left_by_the_other_positions_it_is_the_reverse_process():
    """Mixed over p(x | z_t), the posteriors of all x are that of p(x | z_t but the position's own token)."""
    process, t, s = Uniform(LogLinear(), V), 0.6, 0.2
    prior = torch.tensor([0.2, 0.7, 0.1], dtype=torch.float64)
    for z in range(V):
        joint = prior[:, None] * stay(process, s, 0.0) * stay(process, t, s)[None, :, z]  # [x, z_s]
        reverse = joint.sum(0) / joint.sum()
        found = process.posterior(prior[None], torch.tensor([z]), times(t), times(s))[0]
        assert torch.allclose(found, reverse)


def test_corrupt_keeps_with_probability_alpha_and_else_takes_any_token():
    process = Uniform(Cosine(), 4)
    ids, free = torch.full((4000, 3), 2), torch.tensor([True, True, False]).expand(4000, 3)
    for t in (0.3, 1.0):
        z = process.corrupt(ids, torch.full((4000,), t, dtype=torch.float64), free, Rng(0, range(4000))).z
        alpha = float(process.schedule.alpha(times(t)))
        assert bool((z[:, 2] == 2).all())
        for token in range(4):
            share = float((z[:, :2] == token).double().mean())
            assert abs(share - ((1 - alpha) / 4 + alpha * (token == 2))) < 4 * 0.5 / 8000**0.5
    prior = process.prior(Canvas(ids, ~free, torch.ones_like(free), torch.arange(4000)), Rng(1, range(4000))).z
    assert bool((prior[:, 2] == 2).all()) and set(prior[:, :2].unique().tolist()) == set(range(4))


def test_the_divergence_is_the_rate_at_which_posteriors_part():
    process, generator = Uniform(LogLinear(), 5), torch.Generator().manual_seed(0)
    p = torch.rand(25, 5, generator=generator, dtype=torch.float64)
    p = p / p.sum(1, keepdim=True)
    x, z = (each.reshape(-1) for each in torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij"))
    for t in (0.05, 0.5, 0.95):
        at, before = torch.full((25,), t, dtype=torch.float64), torch.full((25,), t - 1e-6, dtype=torch.float64)
        true = process.posterior(torch.nn.functional.one_hot(x, 5).double(), z, at, before)
        said = process.posterior(p, z, at, before)
        rate = (true * (true / said).log()).sum(1) / 1e-6
        assert torch.allclose(process.divergence(p, z, x, at), rate, rtol=1e-3, atol=1e-4)
        single = process.divergence(p.float(), z, x, at)
        assert torch.allclose(single, process.divergence(p, z, x, at), rtol=1e-4, atol=1e-4)


def test_the_remainder_is_what_the_prior_does_not_know():
    process = Uniform(LogLinear(eps=0.3), V)
    q = stay(process, 1.0, 0.0)[1]
    assert process.remainder() == pytest.approx(float((q * (q * V).log()).sum()))


def test_the_divergence_of_the_truth_is_none():
    process = Uniform(LogLinear(), 4)
    x, z = torch.tensor([1, 1]), torch.tensor([1, 3])
    nats = process.divergence(torch.nn.functional.one_hot(x, 4).double(), z, x, times(0.4, 0.4))
    assert float(nats.abs().max()) < 1e-12


# ---- the bound -------------------------------------------------------------------------------------------------------


def expected(process, oracle, earliest: float = EARLIEST) -> float:
    """The bound of the corpus, by quadrature over log t and enumeration of all states."""
    edges = torch.logspace(float(torch.log10(times(earliest))), 0, 600, dtype=torch.float64)
    pairs = zip((edges[1:] * edges[:-1]).sqrt().tolist(), (edges[1:] - edges[:-1]).tolist(), strict=True)
    rest = costs(process, oracle, earliest, whole=True) + 2 * process.remainder()
    return rest + sum(costs(process, oracle, t, whole=False) * width for t, width in pairs)


def costs(process, oracle, t: float, whole: bool) -> float:
    """At time t, over texts and states: of the whole step to 0, or per unit of time."""
    z = torch.tensor(STATES)
    at = torch.full((len(z),), t, dtype=torch.float64)
    p = oracle(Noised(z, at), blank(len(z), 2)).logits.softmax(-1)
    alpha, total = float(process.schedule.alpha(times(t))), 0.0
    for weight, text in zip(oracle.weights.tolist(), oracle.texts, strict=True):
        q = (alpha * (z == text).double() + (1 - alpha) / V).prod(1)
        for i in range(2):
            x = text[i].expand(len(z))
            if whole:
                nats = -process.posterior(p[:, i], z[:, i], at, 0 * at).gather(1, x[:, None])[:, 0].log()
            else:
                nats = process.divergence(p[:, i], z[:, i], x, at)
            total += weight * float((q * nats).sum())
    return total


def corpus(copies: int) -> Canvas:
    """Each text as often as it weighs, `copies` times over."""
    ids = torch.tensor([t for t, w in zip(TEXTS, WEIGHTS, strict=True) for _ in range(int(w))]).repeat(copies, 1)
    return replace(blank(len(ids), 2), ids=ids)


def test_the_bound_of_the_exact_denoiser_is_the_entropy():
    process = Uniform(LogLinear(), V)
    oracle = UniformOracle(process)
    # Above it by what one last step costs that writes two positions at once: in proportion to its size.
    excess = [expected(process, oracle, earliest) - oracle.entropy for earliest in (EARLIEST, EARLIEST / 10)]
    assert 0 < excess[0] < 6e-4 and 0 < excess[1] < 0.2 * excess[0]


def test_draws_of_the_bound_average_to_the_entropy():
    process = Uniform(LogLinear(), V)
    oracle, batch = UniformOracle(process), corpus(4000)
    nats = bound(oracle, process, batch, Rng(1, range(len(batch.ids)), total=len(batch.ids)))
    error = float(nats.std()) / len(nats) ** 0.5
    assert error < 0.03 and abs(float(nats.mean()) - oracle.entropy) < 3.5 * error


def test_what_the_last_step_costs_is_paid():
    """A denoiser that is right at all times but the last pays for it, in the share of the rows that it falls to."""
    process, rows = Uniform(LogLinear(), V), 20_000
    batch = replace(blank(rows, 1), ids=torch.ones(rows, 1, dtype=torch.int64))
    right, wrong = torch.tensor([[0.0, 1.0, 0.0], [0.999, 0.001, 0.0]], dtype=torch.float64)

    def denoise(noised, cond, previous=None, at=None):
        return Prediction(torch.where(noised.t[:, None] <= EARLIEST, wrong, right).log())

    nats = float(bound(denoise, process, batch, Rng(0, range(rows), total=rows)).mean())
    q = torch.eye(V, dtype=torch.float64) * (1 - EARLIEST * 0.999) + EARLIEST * 0.999 / V  # [x, z]
    said = q * wrong[:, None] / (q * wrong[:, None]).sum(0)
    cost = -float((q[1] * said[1].log()).sum())
    assert cost > 0.2 and nats == pytest.approx(cost + process.remainder(), abs=0.01)


def test_who_knows_the_text_pays_for_the_prior_alone():
    process, batch = Uniform(LogLinear(eps=0.3), V), corpus(20)

    def denoise(noised, cond, previous=None, at=None):
        return Prediction(torch.nn.functional.one_hot(batch.ids[at], V).double().log())

    nats = bound(denoise, process, batch, Rng(0, range(len(batch.ids))))
    assert torch.allclose(nats, torch.full_like(nats, 2 * process.remainder())) and process.remainder() > 0.01


def test_given_and_padding_are_neither_noised_nor_paid_for():
    process = Uniform(LogLinear(), V)
    batch, seen = corpus(20), []
    batch.given[:, 0] = True
    batch.real[::2, 1] = False
    oracle = UniformOracle(process)

    def denoise(noised, cond, previous=None, at=None):
        seen.append(noised.z)
        return oracle(noised, cond, previous, at)

    nats = bound(denoise, process, batch, Rng(0, range(len(batch.ids))))
    assert torch.equal(seen[0][~batch.free], batch.ids[~batch.free])
    assert bool((nats[::2] == 0).all()) and bool((nats[1::2] > 0).any())


# ---- the sampler -----------------------------------------------------------------------------------------------------


def law(process, oracle, steps: int) -> dict[tuple[int, ...], float]:
    """Of the text after `steps` even steps, by enumeration of the chain."""
    z, canvas = torch.tensor(STATES), blank(len(STATES), 2)
    p = torch.full((len(z),), 1 / len(z), dtype=torch.float64)
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for t, s in pairwise(grid):
        at, then = t.expand(len(z)), s.expand(len(z))
        odds = oracle(Noised(z, at), canvas).logits.softmax(-1)
        q = [process.posterior(odds[:, i], z[:, i], at, then) for i in range(2)]
        p = p @ (q[0][:, z[:, 0]] * q[1][:, z[:, 1]])
    return dict(zip(STATES, p.tolist(), strict=True))


def drawn(step, oracle, canvas, steps, seed=0):
    counted = Counted(oracle, canvas)
    *_, last = drive(counted, step, canvas, steps, Rng(seed, canvas.index.tolist()), counted.calls)
    return last


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_samples_have_the_law_of_the_chain(steps):
    process = Uniform(LogLinear(), V)
    oracle = UniformOracle(process)
    last = drawn(Rewrite(process), oracle, blank(6000, 2), steps)
    assert chi_square_p(dict(Counter(map(tuple, last.ids.tolist()))), law(process, oracle, steps)) > 1e-3
    assert bool((last.nfe == steps).all()) and bool(last.known.all())


def test_with_many_steps_the_law_is_the_corpus():
    process = Uniform(LogLinear(), V)
    oracle = UniformOracle(process)
    wanted = dict(zip(map(tuple, TEXTS), oracle.weights.tolist(), strict=True))

    def distance(steps):
        return sum(abs(p - wanted.get(text, 0.0)) for text, p in law(process, oracle, steps).items()) / 2

    assert distance(256) < 6e-3 and distance(256) < 0.3 * distance(64) < 0.1 * distance(4)


def test_what_is_given_stays_and_bends_the_rest():
    process = Uniform(LogLinear(), V)
    canvas = blank(3000, 2)
    canvas.ids[:, 0], canvas.given[:, 0] = 2, True
    last = drawn(Rewrite(process), UniformOracle(process), canvas, 4)
    assert bool((last.ids[:, 0] == 2).all()) and bool((last.confidence[:, 0] == 1).all())
    share = Counter(last.ids[:, 1].tolist())
    assert chi_square_p({(k,): n for k, n in share.items()}, {(1,): 0.6, (2,): 0.4}) > 1e-3, "one free place is exact"


def test_a_greedy_tail_takes_the_likeliest_and_differs_in_the_last_step_only():
    process = Uniform(LogLinear(), V)
    oracle, canvas = UniformOracle(process), blank(200, 2)
    frames = {}
    for greedy in (False, True):
        counted = Counted(oracle, canvas)
        step = Rewrite(process, greedy=greedy)
        frames[greedy] = list(drive(counted, step, canvas, 5, Rng(0, range(200)), counted.calls))
    for plain, tail in zip(frames[False][:-1], frames[True][:-1], strict=True):
        assert torch.equal(plain.ids, tail.ids)
    before, last = frames[True][-2], frames[True][-1]
    best = oracle(Noised(before.ids, before.t), canvas).logits.argmax(-1)
    assert torch.equal(last.ids, best) and not torch.equal(last.ids, frames[False][-1].ids)


# ---- the system ------------------------------------------------------------------------------------------------------


def small(**more) -> Duo:
    net = TransformerSpec(dim=16, depth=1, heads=2, condition=8)
    system = Duo(DuoSpec(vocab=7, canvas=6, ending=Ending.FILL, net=net, **more), None)
    system.initialise(0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in system.net.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    system.net.double()
    return system


def test_a_given_token_is_told_from_the_same_token_in_noise():
    system, canvas = small(), blank(1, 6)
    given = replace(canvas, given=torch.tensor([[True] + [False] * 5]))
    state = Noised(torch.tensor([[3, 1, 4, 1, 5, 2]]), times(0.5))
    assert not torch.allclose(system.denoise(state, canvas).logits, system.denoise(state, given).logits)
    later = Noised(state.z, times(0.1))
    assert not torch.allclose(system.denoise(state, canvas).logits, system.denoise(later, canvas).logits)


def test_the_head_is_tied_to_the_tokens_and_not_to_the_mark():
    system = small()
    assert system.net.embed.weight.shape == (8, 16) and system.denoise(
        Noised(torch.zeros(1, 6, dtype=torch.int64), times(0.5)), blank(1, 6)
    ).logits.shape == (1, 6, 7)


def test_spans_are_given_in_training_and_not_in_scoring():
    batch = replace(blank(64, 6), ids=torch.randint(0, 7, (64, 6), generator=torch.Generator().manual_seed(0)))
    rng = Rng(0, range(64), total=64)
    (never,), (always,) = (list(small(told=told).losses(batch, rng)) for told in (0.0, 1.0))
    assert never.count == 64 * 6 and 64 * 2 < always.count < 64 * 5
    assert torch.allclose(small(told=0.0).nll(batch, rng).sum(), never.total)
    assert torch.equal(small(told=1.0).nll(batch, rng), small(told=0.0).nll(batch, rng))


def test_a_text_does_not_hang_on_its_batch():
    system = small()
    canvas = blank(5, 6)
    canvas.real[1, 4:] = False
    *_, together = system.sample(Request(canvas, steps=4, seed=3))
    *_, alone = system.sample(Request(canvas.rows(slice(1, 2)), steps=4, seed=3))
    assert torch.equal(together.ids[1], alone.ids[0])


def test_forbidden_tokens_are_gone_at_the_end():
    *_, last = small().sample(Request(blank(200, 6), steps=3, forbidden=(0, 5)))
    assert not set(last.ids.unique().tolist()) & {0, 5}


def test_a_text_can_go_on_block_by_block_behind_what_is_given():
    canvas = blank(2, 10)
    canvas.ids[:, :3], canvas.given[:, :3] = 4, True
    *_, last = small().sample(Request(canvas, steps=2, block=3))
    assert bool((last.ids[:, :3] == 4).all()) and bool(last.known.all())
    with pytest.raises(CapabilityError, match="leave reuse out"):
        next(iter(small().sample(Request(canvas, steps=2, block=3, reuse=True))))


def test_contradictions_are_refused_in_a_sentence():
    net = TransformerSpec(dim=16, depth=1, heads=2, condition=8)
    for spec, said in (
        ({"net": replace(net, condition=0)}, "set condition"),
        ({"net": replace(net, causal=True)}, "causal must be false"),
        ({"ending": Ending.SYMBOL}, "left to right"),
        ({"told": 1.5}, "told must be a share"),
        ({"spans": 1}, "spans at least 2"),
    ):
        with pytest.raises(UsageError, match=said):
            DuoSpec(**{"vocab": 7, "canvas": 6, "ending": Ending.LENGTH, "net": net, **spec})


@pytest.mark.parametrize("size", Size)
def test_recipes_are_told_the_time(size):
    made = recipe(size, Corpus(vocab=300, canvas=32, layout=Layout.TEXTS))
    assert made.spec.net.condition and Decoder.GREEDY_TAIL in Duo.card.decoders
