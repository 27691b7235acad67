"""rnn-vae: what its two networks must equal exactly, its bound beside an integral, and a run of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mezzotint
from mezzotint import Verdict
from mezzotint.cli.main import main
from mezzotint.data.canvas import free
from mezzotint.doctor import speed
from mezzotint.doctor.checked import CheckedRun
from mezzotint.doctor.examination import run_checks
from mezzotint.errors import UsageError
from mezzotint.evaluate.latent import log_weights
from mezzotint.objective.elbo import divergence, importance_bound
from mezzotint.rng import Rng
from mezzotint.spec.elbo import FreeBits, Weigh
from mezzotint.spec.rnn_vae import RecurrentSpec, RNNVAESpec
from mezzotint.systems.rnn_vae import RNNVAE
from mezzotint.types import Canvas, Ending, Request
from tests.batches import END, PAD, VOCAB, ended_texts

V, Z = VOCAB, 4
D, R, N = 6, 5, 2


def system(**settings) -> RNNVAE:
    """In float64, with weights of ordinary size everywhere, so that every input reaches every output."""
    net = RecurrentSpec(dim=D, hidden=R, depth=N)
    made = RNNVAE(
        RNNVAESpec(**{"vocab": V, "canvas": 12, "ending": Ending.SYMBOL, "net": net, "latent": Z, **settings})
    )
    made.initialise(0)
    made.net.double()
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in made.net.parameters():
            p.add_(torch.empty_like(p).normal_(0, 0.5, generator=g))
    return made


def latents(rows: int = 4) -> Tensor:
    return torch.randn(rows, Z, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


# ---- the networks ----------------------------------------------------------------------------------------------------


def lstm(cells: nn.LSTM, x: list[Tensor], h: Tensor, c: Tensor) -> list[Tensor]:
    """The last layer's states of one row (Gers et al. 2000, eqs. of one step), from states (N, R) to begin with."""
    for layer in range(N):
        w, u, a, b = (getattr(cells, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        state, cell, out = h[layer], c[layer], []
        for vector in x:
            enter, forget, value, leave = (w @ vector + a + u @ state + b).chunk(4)
            cell = forget.sigmoid() * cell + enter.sigmoid() * value.tanh()
            state = leave.sigmoid() * cell.tanh()
            out.append(state)
        x = out
    return x


@torch.no_grad()
def test_the_posterior_is_what_the_last_state_says():
    made, batch = system(), ended_texts()
    q, net, nothing = made.posterior(batch), made.net, torch.zeros(N, R, dtype=torch.float64)
    for b in range(4):
        ids = batch.ids[b][batch.real[b]]
        state = lstm(net.reader.lstm, list(net.embed(ids)), nothing, nothing)[-1]
        assert torch.allclose(q.mean[b], net.mean(state)) and torch.allclose(q.logvar[b], net.logvar(state))


@torch.no_grad()
def test_a_token_costs_what_the_equations_say():
    made, batch, z = system(), ended_texts(), latents()
    found, net = made.token_nll(batch, z), made.net
    for b in range(4):
        ids = batch.ids[b][batch.real[b]].tolist()
        c = net.writer.begin(z[b]).view(N, R)
        x = [torch.cat([net.embed.weight[i], z[b]]) for i in [END, *ids[:-1]]]
        states = lstm(net.writer.lstm, x, c.tanh(), c)
        odds = [net.embed.weight @ net.writer.leave(state) + net.bias for state in states]
        costs = [-float(o.log_softmax(-1)[i]) for o, i in zip(odds, ids, strict=True)]
        assert found[b, : len(ids)].tolist() == pytest.approx(costs, rel=1e-5)
        assert bool((found[b, len(ids) :] == 0).all())


@torch.no_grad()
def test_batch_and_padding_change_neither_latent_nor_likelihood():
    made, batch, z = system(), ended_texts(), latents()
    q, costs = made.posterior(batch), made.token_nll(batch, z).sum(1)
    called = Canvas(torch.where(batch.real, batch.ids, 9), batch.given, batch.real, batch.index)
    assert torch.equal(made.posterior(called).mean, q.mean), "what padding is called changes nothing"
    assert torch.equal(made.token_nll(called, z).sum(1), costs)
    for b in range(4):
        n = int(batch.real[b].sum())
        alone = Canvas(*(each[b : b + 1, :n] for each in (batch.ids, batch.given, batch.real)), batch.index[b : b + 1])
        mine = made.posterior(alone)
        assert torch.allclose(mine.mean[0], q.mean[b], atol=1e-12)
        assert torch.allclose(mine.logvar[0], q.logvar[b], atol=1e-12)
        assert torch.allclose(made.token_nll(alone, z[b : b + 1]).sum(), costs[b], atol=1e-5)
    assert not torch.allclose(q.mean[0], q.mean[1]) and not torch.allclose(costs, made.token_nll(batch, -z).sum(1))


@torch.no_grad()
def test_what_is_written_step_by_step_is_what_is_read_at_once():
    """Rows end at different times and leave; each token was drawn by the odds that its text has when read at once."""
    made, z = system(), 2 * latents(6)
    *_, last = made.sample(Request(free([12] * 6, range(6), PAD), seed=3, latent=z))
    lengths = last.known.sum(1)
    whole = Canvas(last.ids, torch.zeros_like(last.known), last.known, torch.arange(6))
    at_once = (-made.token_nll(whole, z)).exp()
    assert torch.allclose(last.confidence[last.known], at_once[last.known].float(), rtol=1e-4)
    assert len(set(lengths.tolist())) > 1, "some rows left before others"
    for b in range(6):
        n = int(lengths[b])
        assert bool(last.known[b, :n].all()) and END not in last.ids[b, : n - 1].tolist()
        assert n == 12 or int(last.ids[b, n - 1]) == END


@torch.no_grad()
def test_the_writer_sees_no_word_before_its_turn_and_the_reader_all_of_them():
    made, batch, z = system(), ended_texts(), latents()
    word = 4  # of the first text, which has seven
    other = batch.ids.clone()
    other[0, word] = 2 + (other[0, word] - 1) % (V - 2)
    changed = Canvas(other, batch.given, batch.real, batch.index)
    apart = (made.token_nll(changed, z) - made.token_nll(batch, z))[0]
    assert bool((apart[:word] == 0).all()) and bool((apart[word:8] != 0).all())
    moved = (made.posterior(changed).mean - made.posterior(batch).mean).abs().sum(1)
    assert float(moved[0]) > 1e-6 and bool((moved[1:] == 0).all())


@torch.no_grad()
def test_a_log_variance_stays_within_bounds_whatever_the_reader_says():
    made = system()
    made.net.logvar.bias[:2] = torch.tensor([1e4, -1e4], dtype=torch.float64)
    q = made.posterior(ended_texts())
    assert q.logvar[:, :2].tolist() == [[10.0, -10.0]] * 4 and bool(divergence(q).isfinite().all())


def test_fresh_weights_follow_from_the_seed_and_forget_nothing():
    made = system()
    with torch.no_grad():
        for p in made.net.parameters():
            p.fill_(math.nan)
    made.initialise(3)
    assert all(bool(p.isfinite().all()) for p in made.net.parameters()), "every weight is drawn or set"
    first = made.net.reader.lstm.weight_hh_l0.clone()
    for cells in (made.net.reader.lstm, made.net.writer.lstm):
        biases = cells.bias_ih_l1 + cells.bias_hh_l1
        assert biases.tolist() == [0.0] * R + [1.0] * R + [0.0] * 2 * R
    made.initialise(4)
    assert not torch.equal(made.net.reader.lstm.weight_hh_l0, first)


# ---- the bound -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_where_the_posterior_is_the_prior_nothing_is_paid_and_a_weight_is_a_likelihood():
    made, batch = system(), ended_texts()
    for linear in (made.net.mean, made.net.logvar):
        linear.weight.zero_()
        linear.bias.zero_()
    assert bool((divergence(made.posterior(batch)) == 0).all())
    weights, costs = log_weights(made, batch, 3, seed=1)
    assert torch.allclose(weights, -costs, atol=1e-12)
    rng = Rng(0, range(4))
    at_draws = made.token_nll(batch, rng.at("latent").normal(Z)).double().sum(1)
    assert torch.allclose(made.nll(batch, rng), at_draws, atol=1e-6)


@torch.no_grad()
def test_many_draws_come_to_the_integral_over_the_latent():
    """With a latent of one number, log of the integral of p(x | z) p(z), by Gauss and Hermite's rule at 60 points.

    The weights of draws are, over p(x), one in expectation; the mean of their logarithms is no more than its own.
    """
    made, batch = system(latent=1), ended_texts()
    for linear in (made.net.mean, made.net.logvar):
        linear.weight.mul_(0.3)
    made.net.logvar.bias.fill_(0.5)  # wider than the prior, so that no weight is large
    points, shares = np.polynomial.hermite_e.hermegauss(60)
    costs = torch.stack([made.token_nll(batch, torch.full((4, 1), z)).double().sum(1) for z in points], dim=1)
    exact = -torch.logsumexp(torch.from_numpy(np.log(shares / shares.sum())) - costs, dim=1)
    weights, _ = log_weights(made, batch, 300, seed=0)
    over = (weights + exact[:, None]).exp()
    error = over.std(1) / math.sqrt(300)
    assert bool(((over.mean(1) - 1).abs() < 4 * error).all()) and float(error.max()) < 0.1
    assert torch.allclose(importance_bound(weights), exact, atol=0.3)
    assert float((-weights.mean(1) - exact).min()) > 0.01, "one draw's mean lies above -log p"


def test_at_full_weight_with_nothing_free_the_loss_is_the_bound():
    made, batch, rng = system(free=FreeBits.NONE), ended_texts(), Rng(0, range(4))
    made.schedule(1.0)
    (loss,) = made.losses(batch, rng)
    assert loss.total.item() == pytest.approx(made.nll(batch, rng).sum().item(), rel=1e-6)
    assert loss.count == float(batch.real.sum()), "every token and every end"
    assert float(sum(loss.parts.values())) == pytest.approx(loss.total.item(), rel=1e-6)
    loss.total.backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in made.net.parameters()), "all of it learns"
    made.schedule(0.0)
    (silent,) = made.losses(batch, rng)
    assert silent.total.item() == pytest.approx(float(loss.parts["reconstruction"]), rel=1e-6)
    made.net.zero_grad()
    silent.total.backward()
    assert bool((made.net.mean.weight.grad != 0).any()), "the reader learns from what the writer says of its draw"
    kl, symbols = divergence(made.posterior(batch)).sum(1), batch.real.sum(1)
    for settings, paid in (({"bits": 100.0}, 400.0 + 0 * kl), ({"weigh": Weigh.TOKEN, "bits": 0.0}, kl * symbols)):
        other = system(**settings)
        other.schedule(1.0)
        (charged,) = other.losses(batch, rng)
        assert float((charged.total - silent.total).detach()) == pytest.approx(float(paid.sum().detach()), rel=1e-5)


def test_the_weight_follows_its_course():
    made = system(cycles=1, silent=0.5, rising=0.5, beta=0.5)
    assert [made.schedule(share) or made.weight for share in (0.25, 0.75, 1.0)] == [0.0, 0.25, 0.5]


# ---- word dropout ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_writer_that_sees_no_token_knows_where_it_stands_and_the_latent_alone():
    made, batch, z = system(), ended_texts(1), latents(1)
    blind = torch.zeros_like(batch.real).index_fill(1, torch.tensor([0]), True)
    other = batch.ids.clone()
    other[0, 2] = 2 + (other[0, 2] - 1) % (V - 2)
    changed = Canvas(other, batch.given, batch.real, batch.index)
    apart = (made.token_nll(changed, z, blind) - made.token_nll(batch, z, blind))[0]
    assert apart[2] != 0 and bool((apart[torch.arange(8) != 2] == 0).all())
    assert not torch.equal(made.token_nll(batch, z, blind), made.token_nll(batch, z))
    assert torch.equal(made.token_nll(batch, z, torch.ones_like(blind)), made.token_nll(batch, z))


def test_words_are_hidden_in_training_alone_by_each_texts_own_numbers():
    made, batch, rng = system(word_dropout=0.4), ended_texts(), Rng(2, range(4))
    plain = system()
    assert torch.equal(made.nll(batch, rng), plain.nll(batch, rng))
    (hidden,), (shown,) = made.losses(batch, rng), plain.losses(batch, rng)
    assert hidden.parts["reconstruction"] != shown.parts["reconstruction"]
    assert hidden.parts["divergence"] == shown.parts["divergence"], "the reader sees all of them"
    apart = [made.losses(batch.rows(slice(b, b + 1)), Rng(2, [b])) for b in range(4)]
    alone = sum(float(loss.parts["reconstruction"]) for (loss,) in apart)
    assert alone == pytest.approx(float(hidden.parts["reconstruction"]), rel=1e-6)
    many = made._visible(free([40] * 500, range(500), PAD), Rng(0, range(500)))
    assert many is not None and bool(many[:, 0].all()), "what stands before the first token is none"
    assert float(many[:, 1:].double().mean()) == pytest.approx(0.6, abs=0.015)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ending": Ending.LENGTH}, "ending must be 'symbol'"),
        ({"latent": 0}, "latent must be at least 1, not 0"),
        ({"word_dropout": 1.0}, "at least 0 and below 1, not 1.0"),
        ({"silent": 0.7, "rising": 0.5}, "shares from 0 to 1"),
        ({"beta": -1.0}, "must not be negative"),
        ({"pad": -1}, "ids of the vocabulary"),
    ],
)
def test_specs_that_contradict_themselves_are_refused(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        system(**settings)
    with pytest.raises(UsageError, match="all of them must be at least 1"):
        RecurrentSpec(depth=0)


# ---- a run -----------------------------------------------------------------------------------------------------------

WORDS = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]
TINY = ["dim=8", "hidden=12", "batch=8", "validations=1", "latent=3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("rnn-vae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        lines = [" ".join(WORDS[(i * k + k) % 12] for k in range(1, 3 + i % 7)) for i in range(80)]
        (root / "texts.txt").write_text("\n".join(lines) + "\n")
        settings = [word for each in TINY for word in ("--set", each)]
        words = ["train", "rnn-vae", "--data", str(root / "texts.txt"), "--out", str(root / "run"), "--max-steps", "6"]
        assert main([*words, *settings, "--set", "word_dropout=0.3", "--set", "precision=bf16"]) == 0
        yield root


def test_its_space_is_asked_as_any(root, capsys):
    assert main(["latent", "walk", str(root / "run"), "the old river", "a cold pub", "--points", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    run = mezzotint.load(root / "run")
    texts = ["the old river", "a cold pub is near"]
    assert run.latent.encode(texts).shape == (2, 3)
    list(run.latent.learn_prior(texts * 8, max_steps=2, settings={"dim": "16", "depth": "1", "batch": "4"}))
    learned = mezzotint.load(root / "run").system.prior(Rng(0, range(5)))
    assert learned.shape == (5, 3) and not torch.allclose(learned, Rng(0, range(5)).normal(3).float())
    (root / "run/prior.safetensors").unlink()


def test_what_evaluates_a_latent_evaluates_this_one(root):
    found = {
        s.name: s for column, s in mezzotint.evaluate_run(root / "run", [root / "texts.txt"], n=2) if column != "data"
    }
    assert {"importance_nats_per_token", "mutual_information", "active_units", "reconstruction_bleu"} <= found.keys()
    assert found["importance_nats_per_token"].value <= found["bound_nats_per_token"].value + 1e-3


@torch.no_grad()
def test_the_doctor_counts_the_products_of_a_layer_that_is_one_call():
    """In float64 torch makes them one by one, and the registry knows each."""
    cells, x = nn.LSTM(D, R, N, batch_first=True), torch.zeros(3, 4, D)
    counted = []
    for dtype in (torch.float32, torch.float64):
        with speed.FlopCounter() as counter:
            cells.to(dtype)(x.to(dtype))
        counted.append(counter.gflop)
    assert counted[0] == pytest.approx(counted[1]) and counted[0] * 1e9 == 2 * 12 * 4 * R * (D + 3 * R)


def test_nothing_is_wrong_with_a_run_of_it(root, monkeypatch):
    monkeypatch.setattr(speed, "gflops", lambda device: 1e-6)  # so that a network of twelve numbers is not too slow
    found = {
        each.check: each.verdict
        for each in run_checks(CheckedRun(lambda: mezzotint.load(root / "run"), ("the old pub",)))
    }
    assert Verdict.BAD not in found.values()
    assert {check for check, verdict in found.items() if verdict is Verdict.SKIPPED} == {"law"}
