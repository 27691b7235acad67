"""SED's steps taken apart: what a loss is the sum of, what the network reads, what a walk and the bound ask of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from mezzotint.data.lengths import Lengths
from mezzotint.rng import Rng
from mezzotint.spec.sed import SEDSpec, SelfCondition, Speaks, Streams, Table
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems import sed
from mezzotint.systems.sed import AUXILIARY_WEIGHT, SED
from mezzotint.types import Canvas, Decoder, Ending, Noised, Request

V, L, W = 11, 9, 4


class Spied(SED):
    """A system that records its network's inputs and predictions."""

    asked: list

    def denoise(self, noised, cond, previous=None, at=None):
        prediction = super().denoise(noised, cond, previous, at)
        if self.spec.speaks is Speaks.VECTOR:
            self.asked.append((noised, cond, previous, prediction))
        return prediction

    def token_logits(self, noised, cond, previous=None, at=None):
        prediction = super().token_logits(noised, cond, previous, at)
        estimate = prediction.logits.softmax(-1) @ self.net.space.vectors
        self.asked.append((noised, cond, previous, replace(prediction, estimate=estimate)))
        return prediction


def system(seed: int = 0, **settings) -> Spied:
    net = TransformerSpec(dim=16, depth=1, heads=2)
    spec = SEDSpec(vocab=V, canvas=L, ending=Ending.LENGTH, net=net, width=W, **settings)
    made = Spied(spec, Lengths.from_lengths([3, 9, 9, 5], 9))
    made.initialise(seed)
    made.net.double()
    with torch.no_grad():
        made.net.tenth.copy_(torch.linspace(-0.1, 0.1, V))
    made.asked = []
    return made


def texts(rows: int) -> Canvas:
    real = torch.arange(L) < torch.tensor([9, 4, 7, 1] * rows)[:rows, None]
    ids = torch.randint(0, V, (rows, L), generator=torch.Generator().manual_seed(3)) * real
    return Canvas(ids, torch.zeros_like(real), real, torch.arange(rows))


def streams(rows: int, step: int = 3) -> Rng:
    return Rng(0, range(rows), f"train/{step}", rows)


def noisy() -> torch.Tensor:
    return torch.randn(1, L, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def nll(logits: torch.Tensor, ids: torch.Tensor, where: torch.Tensor) -> float:
    return float(-logits.detach().log_softmax(-1).gather(-1, ids[..., None])[..., 0][where].sum())


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("speaks", list(Speaks))
def test_a_loss_is_the_mean_of_both_passes_and_two_read_outs_of_the_noised_truth(speaks, monkeypatch):
    made, batch, encoded = system(speaks=speaks, sigma0=0.1), texts(8), []
    encode = made.net.space.encode
    monkeypatch.setattr(made.net.space, "encode", lambda *args: encoded.append(encode(*args)) or encoded[-1])
    (loss,) = made.losses(batch, streams(8))
    ((noised, cond, nothing, first), (again, _, previous, second)), (z0,) = made.asked, encoded
    assert nothing is None and again is noised
    assert torch.equal(previous, first.estimate) and not previous.requires_grad
    free, ids = cond.free, batch.ids
    if speaks is Speaks.VECTOR:
        errors = [
            float(((prediction.estimate.detach() - z0) ** 2).mean(-1)[free].sum()) for prediction in (first, second)
        ]
    else:
        errors = [nll(prediction.logits, ids, free) for prediction in (first, second)]
    assert errors[0] != errors[1]
    frequency = made.net.frequency.expand(8, L, V)
    expected = {
        "error": sum(errors) / 2,
        "rounding": nll(F.linear(z0, made.net.space.readout), ids, free),
        "frequency": nll(frequency, ids, free),
    }
    assert {name: float(part) for name, part in loss.parts.items()} == pytest.approx(expected, rel=1e-5)
    weighed = expected["error"] + expected["rounding"] + AUXILIARY_WEIGHT * expected["frequency"]
    assert float(loss.total.detach()) == pytest.approx(weighed, rel=1e-5)
    assert loss.count == int(free.sum()) < int(batch.real.sum())


def test_what_is_noised_given_and_dropped_in_training(monkeypatch):
    made, batch, encoded = system(sigma0=0.1, drop=0.5, self_condition=SelfCondition.NONE), texts(64), []
    encode = made.net.space.encode
    monkeypatch.setattr(made.net.space, "encode", lambda *args: encoded.append(encode(*args)) or encoded[-1])
    list(made.losses(batch, streams(64)))
    ((noised, cond, _, _),), (z0,) = made.asked, encoded
    # One time in each sixty-fourth of (0, 1].
    assert (noised.t * 64).ceil().sort().values.tolist() == list(range(1, 65))
    some = cond.given.any(1)
    assert 0.3 < float(some.double().mean()) < 0.8 and not bool((cond.given & ~batch.real).any())
    lost = some & (noised.z.masked_fill(~cond.given[..., None], 0) == 0).flatten(1).all(1)
    assert 0.3 < float(lost[some].double().mean()) < 0.7
    kept = cond.given & ~lost[:, None]
    assert torch.equal(noised.z[kept], z0[kept])
    alpha, sigma = made.process.wide(noised.t, z0)
    noise = ((noised.z - alpha * z0) / sigma)[cond.free]
    blur = ((z0 - F.embedding(batch.ids, made.net.space.vectors)) / 0.1)[cond.free]
    for drawn in (noise, blur):
        assert abs(float(drawn.mean())) < 0.12 and abs(float(drawn.std()) - 1) < 0.1
    assert abs(float(torch.corrcoef(torch.stack([noise.flatten(), blur.flatten()]))[0, 1])) < 0.12


def test_a_coin_for_each_batch_says_whether_an_estimate_is_read():
    made, batch, passes = system(self_condition=SelfCondition.COIN), texts(2), []
    for step in range(60):
        made.asked.clear()
        (loss,) = made.losses(batch, streams(2, step))
        passes.append(len(made.asked))
        *first, (_, cond, previous, prediction) = made.asked
        assert float(loss.parts["error"]) == pytest.approx(nll(prediction.logits, batch.ids, cond.free), rel=1e-5)
        if first:
            assert torch.equal(previous, first[0][-1].estimate) and not first[0][-1].estimate.requires_grad
        else:
            assert previous is None
    assert 18 <= passes.count(2) <= 42 and set(passes) == {1, 2}


def test_a_learned_table_gets_nothing_from_the_read_out():
    """The gradient of the read-out ends at the noised vectors, so that of the table is the same whatever it reads."""
    pulls = []
    for scale in (1.0, 5.0):
        made = system(table=Table.LEARNED)
        with torch.no_grad():
            made.net.space.readout.mul_(scale)
        (loss,) = made.losses(texts(4), streams(4))
        loss.total.backward()
        pulls.append(made.net.space.table.grad)
    assert bool(pulls[0].any()) and torch.equal(*pulls)


def test_seeds_give_tables_of_their_own_and_none_is_a_noise():
    tables = [system(seed).net.space.table.detach() for seed in (0, 1)]
    assert not torch.allclose(*tables)
    drawn = [torch.randn(V, W, generator=torch.Generator().manual_seed(0)), Rng(0, range(V)).normal(W)]
    for other in drawn:
        pair = torch.stack([tables[0].flatten(), other.double().flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.6


# ---- the network -----------------------------------------------------------------------------------------------------


def seen(made: Spied, noised: Noised, cond: Canvas, previous: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """What the transformer is fed: its streams and the times."""
    fed = []
    forward = made.net.body.forward
    made.net.body.forward = lambda streams, t, real: fed.append((streams, t)) or forward(streams, t, real)
    made.denoise(noised, cond, previous)
    return fed[0]


@pytest.mark.parametrize("layout", list(Streams))
@torch.no_grad()
def test_the_streams_are_the_specified_ones(layout):
    made, batch = system(streams=layout), texts(2)
    batch.given[0, 2:5] = True
    z, previous = torch.randn(2, 2, L, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    fed, times = seen(made, Noised(z, t), batch, previous)
    free, given = (~batch.given[..., None]).double(), batch.given[..., None].double()
    earlier = previous * batch.free[..., None]
    expected = [z, earlier] if layout is Streams.IN_PLACE else [z * free, z * given, given, earlier]
    assert torch.equal(fed, torch.cat(expected, -1)) and torch.equal(times, t)


@pytest.mark.parametrize("evidence", [True, False])
@torch.no_grad()
def test_what_stands_in_for_an_estimate_is_the_mean_under_each_noisy_vector_alone(evidence):
    made, batch = system(evidence=evidence), texts(1)
    z, t = noisy(), torch.tensor([0.7], dtype=torch.float64)
    fed, _ = seen(made, Noised(z, t), batch, None)
    alpha, sigma = made.process.alpha_sigma(t)
    density = torch.distributions.Normal(alpha * made.net.space.vectors, sigma).log_prob(z[0, :, None]).sum(-1)
    mean = (density + made.net.frequency).softmax(-1) @ made.net.space.vectors
    assert torch.allclose(fed[0, :, W:], mean if evidence else torch.zeros_like(mean), atol=1e-7)


@torch.no_grad()
def test_the_network_is_told_the_time_from_0_to_1000():
    made, batch, told = system(speaks=Speaks.VECTOR, evidence=False), texts(1), []
    made.net.body.time.register_forward_hook(lambda _, inputs, __: told.append(inputs[0]))
    z = noisy()
    early, late = (made.denoise(Noised(z, torch.tensor([t])), batch).estimate for t in (0.4, 0.41))
    assert not torch.allclose(early, late)
    # The first of the cosines and the first of the sines have frequency 1.
    angle = torch.tensor(410.0, dtype=torch.float64)
    assert torch.allclose(told[1][0, [0, 8]], torch.stack([angle.cos(), angle.sin()]), atol=1e-3)


@torch.no_grad()
def test_odds_are_the_network_s_and_the_exact_ones_of_each_noisy_vector():
    made, batch = system(self_condition=SelfCondition.NONE), texts(1)
    made.net.body.leave.weight.zero_()
    made.net.body.leave.bias.copy_(torch.linspace(0, 1, V))
    z, t = noisy(), torch.tensor([0.8], dtype=torch.float64)
    alpha, sigma = made.process.alpha_sigma(t)
    density = torch.distributions.Normal(alpha * made.net.space.vectors, sigma).log_prob(z[..., None, :]).sum(-1)
    prediction = made.denoise(Noised(z, t), batch)
    odds = (density + torch.linspace(0, 1, V)).softmax(-1)
    assert torch.allclose(prediction.logits.softmax(-1), odds, atol=1e-6)
    assert torch.allclose(prediction.estimate, odds @ made.net.space.vectors, atol=1e-6)


# ---- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("guided", [True, False])
@torch.no_grad()
def test_a_walk_hands_on_the_estimate_that_is_asked_for_and_the_blind_branch_gets_nothing(guided):
    made, batch = system(), texts(2)
    batch.given[:, :1] = True
    list(made.sample(Request(batch, steps=3, guidance=2.5, carry_guided=guided)))
    told, carried = [], []
    for (noised, _, previous, known), (blind, _, nothing, plain) in zip(made.asked[::2], made.asked[1::2], strict=True):
        assert nothing is None and torch.equal(blind.z, noised.z.masked_fill(batch.given[..., None], 0))
        assert torch.equal(noised.z[batch.given], made.net.space.vectors[batch.ids][batch.given])
        told.append(previous)
        scale = 2.5 if guided else 1
        carried.append(plain.estimate + scale * (known.estimate - plain.estimate))
    assert told[0] is None and len(told) == 3
    for previous, prediction in zip(told[1:], carried, strict=False):
        assert torch.allclose(previous, prediction, atol=1e-5)


@pytest.mark.parametrize("decoder", [Decoder.EXACT, Decoder.DDIM, Decoder.MULTISTEP])
@torch.no_grad()
def test_each_decoder_is_its_own_walk(decoder):
    made, batch = system(), texts(1)
    list(made.sample(Request(batch, steps=4, decoder=decoder)))
    states = [(noised, prediction.estimate) for noised, _, _, prediction in made.asked]
    same = []
    for (here, estimate), (there, _) in pairwise(states):
        (a, b), (c, d) = (made.process.wide(n.t, estimate) for n in (here, there))
        same.append(torch.allclose(there.z, c * estimate + d / b * (here.z - a * estimate), atol=1e-5))
    expected = {Decoder.EXACT: [False] * 3, Decoder.DDIM: [True] * 3, Decoder.MULTISTEP: [True, False, False]}
    assert same == expected[decoder]


@torch.no_grad()
def test_without_temperature_every_estimate_handed_on_is_a_token_s_vector():
    made, batch = system(), texts(1)
    for temperature, whole in ((0.0, True), (1.0, False)):
        made.asked.clear()
        list(made.sample(Request(batch, steps=3, temperature=temperature)))
        handed = torch.stack([previous[0] for _, _, previous, _ in made.asked[1:]])
        nearest = torch.cdist(handed.flatten(0, 1), made.net.space.vectors).amin(-1)
        assert bool((nearest < 1e-5).all()) is whole


# ---- the bound -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", list(SelfCondition))
@torch.no_grad()
def test_the_bound_is_the_chain_s_of_two_passes_and_the_cost_of_the_length(chosen, monkeypatch):
    made, batch = system(self_condition=chosen, chain=50), texts(4)
    chained, told = sed.chain_bound, []

    def bound(denoise, process, vectors, batch, steps, rng):
        told.append(steps)
        return chained(denoise, process, vectors, batch, steps, rng)

    monkeypatch.setattr(sed, "chain_bound", bound)
    whole = made.nll(batch, streams(4))
    calls = [previous for _, _, previous, _ in made.asked]
    if chosen is SelfCondition.NONE:
        assert calls == [None, None]
    else:
        assert calls[0] is None and calls[2] is None
        assert all(torch.equal(calls[i], made.asked[i - 1][-1].estimate) for i in (1, 3))
    monkeypatch.setattr(sed, "chain_bound", lambda *args: torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(made.nll(batch, streams(4)), made.length(batch.real).double()) and bool((whole > 0).all())
    assert told == [50] and bool((made.length(batch.real) > 0).all())


@pytest.mark.parametrize("speaks", list(Speaks))
def test_only_who_says_vectors_has_sure_words_settled_in_the_bound(speaks, monkeypatch):
    settled, seen = sed.settle, []
    monkeypatch.setattr(sed, "settle", lambda *args: seen.append(args) or settled(*args))
    found = system(speaks=speaks).nll(texts(8), streams(8))
    assert bool(found.isfinite().all()) and len(seen) == (speaks is Speaks.VECTOR)
