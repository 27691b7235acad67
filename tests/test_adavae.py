"""AdaVAE: what its parts must equal exactly, and a run of it from training to a walk through its latent space."""

from __future__ import annotations

import io
import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise

import mezzotint
from mezzotint.assess.scores import latent_scores
from mezzotint.checks import check_backbone
from mezzotint.cli.main import main
from mezzotint.data.canvas import free, pack, shifted_right
from mezzotint.data.labels import read_labelled
from mezzotint.errors import CapabilityError, DataError, RunError, UsageError
from mezzotint.evaluate.latent import (
    active_units,
    collapse_warning,
    importance,
    log_weights,
    mutual_information,
    posterior_scores,
)
from mezzotint.held_out import Texts
from mezzotint.latent import LatentSpace
from mezzotint.objective.elbo import annealing_weight, apply_free_bits, divergence, importance_bound
from mezzotint.rng import Rng
from mezzotint.space.latent import Infusion, draw, log_normal, log_prior, moments
from mezzotint.spec.adavae import AdaVAESpec, Beside, Infuse, Tune
from mezzotint.spec.elbo import FreeBits, Weigh
from mezzotint.spec.recipe import Corpus
from mezzotint.spec.transformer import SHAPES, Gelu, Positions, TransformerSpec
from mezzotint.systems.adavae import AdaVAE
from mezzotint.training.checkpoint import named, parameter_counts
from mezzotint.types import Ending, Layout, Posterior, Request
from tests.batches import END, PAD, VOCAB, ended_texts

V, Z = VOCAB, 4
TOLD = [infuse for infuse in Infuse if infuse is not Infuse.NONE]
GPT2 = {"biases": True, "gelu": Gelu.TANH, "rotary": False, "positions": Positions.START}
OURS = {"neighbours": 5}


def posteriors(rows: int, spread: float = 1.0) -> Posterior:
    g = torch.Generator().manual_seed(7)
    mean, logvar = (torch.randn(rows, Z, generator=g, dtype=torch.float64) for _ in range(2))
    return Posterior(spread * mean, logvar - 1)


# ---- the bound and its kin -------------------------------------------------------------------------------------------


def test_the_divergence_is_what_draws_say():
    q = posteriors(3)
    many = Posterior(q.mean.repeat(20_000, 1), q.logvar.repeat(20_000, 1))
    z = draw(many, Rng(0, range(60_000)))
    estimate = (log_normal(z, many.mean, many.logvar) - log_prior(z)).view(20_000, 3)
    error = estimate.std(0) / math.sqrt(20_000)
    assert ((estimate.mean(0) - divergence(q).sum(1)).abs() < 4 * error).all() and float(error.max()) < 0.05


class LinearGaussian:
    """z ~ N(0, 1), x | z ~ N(z, 0.5^2) in four independent dimensions, so x ~ N(0, 1.25); with a posterior amiss."""

    def __init__(self) -> None:
        self.x = 1.1 * torch.randn(300, Z, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.right = Posterior(0.8 * self.x, torch.full_like(self.x, math.log(0.2)))
        self.amiss = Posterior(self.right.mean + 0.2, self.right.logvar + 0.3)

    def posterior(self, batch):
        return self.amiss

    def token_nll(self, batch, z):
        return -log_normal(self.x, z, torch.full_like(z, math.log(0.25)))[:, None]

    def exact(self) -> float:
        return -float(log_normal(self.x, torch.zeros_like(self.x), torch.full_like(self.x, math.log(1.25))).mean())

    def bound(self) -> float:
        apart = self.amiss.logvar - self.right.logvar
        gap = 0.5 * (apart.exp() + 0.2**2 / 0.2 - 1 - apart)
        return self.exact() + float(gap.sum(1).mean())


def test_the_importance_weighted_bound_falls_to_the_exact_likelihood():
    """The mean over groups of S draws falls with S for any draws (Jensen), the more so in expectation."""
    toy, canvas = LinearGaussian(), free([1] * 300, range(300), PAD)
    weights, costs = log_weights(toy, canvas, 400, seed=3)
    groups = {s: weights.view(-1, s) for s in (1, 5, 50, 400)}
    by_draws = [float(importance_bound(each).mean()) for each in groups.values()]
    assert all(few > many for few, many in pairwise(by_draws))
    assert by_draws[-1] == pytest.approx(toy.exact(), abs=0.01) and by_draws[0] - by_draws[-1] > 0.2
    assert by_draws[0] == pytest.approx(toy.bound(), abs=0.01), "one draw's mean is the ELBO"
    rest = divergence(toy.amiss).sum(1).mean()
    assert float(costs.mean() + rest) == pytest.approx(toy.bound(), abs=0.01), "and so is text and divergence"
    score = importance(weights, np.ones(300))
    assert score.value == pytest.approx(by_draws[-1]) and "400 draws a text; 1: " in score.note


def test_free_bits():
    kl = torch.tensor([[0.1, 0.6, 0.5, 1.0], [0.0, 0.1, 0.2, 0.3]])
    for how, expected in (
        (FreeBits.NONE, [2.2, 0.6]),
        (FreeBits.TOTAL, [2.2, 2.0]),
        (FreeBits.DIMENSION, [2.6, 2.0]),
        (FreeBits.MASK, [1.6, 0.0]),
    ):
        assert apply_free_bits(kl, how, 0.5).tolist() == pytest.approx(expected), how


def test_the_weight_is_annealed_in_cycles():
    """22,000 steps in four cycles, as the authors run it: silent for a quarter of each, rising for another."""
    weights = [annealing_weight(step / 22_000, 4, 0.25, 0.25) for step in range(22_000)]
    assert weights[:1376] == [0.0] * 1375 + [pytest.approx(0.0)] and weights[5500 + 2062] == pytest.approx(
        0.4996, abs=1e-3
    )
    assert weights[2750:5500] == [1.0] * 2750 and weights[5500] == 0.0
    assert (
        sum(w == 0 for w in weights) / 22_000 == pytest.approx(0.25, abs=1e-3)
        and sum(w == 1 for w in weights) == 11_000
    )
    assert annealing_weight(1.0, 4, 0.25, 0.25) == 1.0 and annealing_weight(0.1, 1, 0.0, 0.0) == 1.0


# ---- the system ------------------------------------------------------------------------------------------------------


def system(shape=GPT2, trained: bool = True, **settings) -> AdaVAE:
    net = TransformerSpec(dim=16, depth=3, heads=2, causal=True, **shape)
    spec = AdaVAESpec(
        **{"vocab": V, "canvas": 12, "ending": Ending.SYMBOL, "net": net, "reach": 12, "latent": Z, **settings}
    )
    made = AdaVAE(spec)
    made.backbone.initialise(torch.Generator().manual_seed(0))
    made.initialise(0)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for module in (made.backbone, *([made.net] if trained else [])):
            for p in module.parameters():
                p.add_(torch.empty_like(p).normal_(0, 0.3, generator=g))
    for module in (made.backbone, made.net):
        module.double()
    return made


def meta(**settings) -> AdaVAE:
    net = TransformerSpec(dim=768, depth=12, heads=12, causal=True, **GPT2)
    given = {"vocab": 50_257, "canvas": 32, "reach": 1024, "bottleneck": 128, "projection": 768} | settings
    return shapes(AdaVAESpec(ending=Ending.SYMBOL, net=net, **given))


def shapes(spec: AdaVAESpec) -> AdaVAE:
    """Without numbers; drawing them, even there, loads half of torch."""
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        for layer in (torch.nn.Linear, torch.nn.Embedding):
            patch.setattr(layer, "reset_parameters", lambda self: None)
        return AdaVAE(spec)


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        ({}, 14.66),
        ({"bottleneck": 0}, 14.66),
        ({"infuse": Infuse.MEMORY}, 8.96),
        ({"infuse": Infuse.BOTH}, 20.35),
        ({"bottleneck": 64}, 13.08),
        ({"bottleneck": 256}, 17.82),
        ({"latent": 768}, 16.02),
    ],
)
def test_on_gpt2_small_as_many_weights_are_trained_as_the_paper_counts(settings, share):
    trained, frozen = parameter_counts(meta(**settings))
    assert round(100 * trained / frozen, 2) == share
    if not settings:
        assert (trained, frozen) == (18_237_249, 124_401_408)


@pytest.mark.parametrize("size", list(SHAPES))
def test_by_default_less_than_fifteen_percent_is_trained(size):
    from mezzotint.recipes.adavae import recipe
    from mezzotint.recipes.ar import recipe as ar

    corpus = Corpus(vocab=300, canvas=32, layout=Layout.TEXTS)
    spec = recipe(size, corpus).spec
    net = {"net": ar(size, corpus).spec.net.to_json()}
    trained, frozen = parameter_counts(shapes(AdaVAESpec.from_json(spec.to_json() | net)))
    assert 0.01 < trained / frozen < 0.15
    trained, frozen = parameter_counts(meta(projection=0))
    assert trained / frozen < 0.04


@torch.no_grad()
def test_a_projection_adds_nothing_that_could_be_said():
    wide = Infusion(Z, 16, 3, 2, pairs=True, memory=True, projection=16).double()
    direct = Infusion(Z, 16, 3, 2, pairs=True, memory=True).double()
    for ours, theirs in zip((*direct.pairs, *direct.memory), (*wide.pairs, *wide.memory), strict=True):
        ours.weight.copy_(theirs.weight @ wide.shared.weight)
        if ours.bias is not None:
            ours.bias.copy_(theirs.bias)
    z = torch.randn(2, Z, dtype=torch.float64)
    for one, other in zip(direct(z), wide(z), strict=True):
        assert one[0].shape == (2, 2, 2, 8)
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("shape", [GPT2, OURS])
@pytest.mark.parametrize("infuse", TOLD)
@torch.no_grad()
def test_batch_and_padding_change_neither_latent_nor_likelihood(shape, infuse):
    made, batch = system(shape, infuse=infuse), ended_texts()
    q, z = made.posterior(batch), torch.randn(4, Z, dtype=torch.float64)
    costs = made.token_nll(batch, z).sum(1)
    wider = pack(
        [batch.ids[i, : int(batch.real[i].sum()) - 1].numpy() for i in range(4)], range(4), Ending.SYMBOL, 12, END, 3
    )
    for b in range(4):
        alone = batch.rows(slice(b, b + 1))
        n = int(alone.real.sum())
        alone = mezzotint.Canvas(alone.ids[:, :n], alone.given[:, :n], alone.real[:, :n], alone.index)
        mine = made.posterior(alone)
        assert torch.allclose(mine.mean[0], q.mean[b], atol=1e-11) and torch.allclose(
            mine.logvar[0], q.logvar[b], atol=1e-11
        )
        assert torch.allclose(made.token_nll(alone, z[b : b + 1]).sum(), costs[b], atol=1e-5)
    assert torch.equal(made.posterior(wider).mean, q.mean), "what padding is called changes nothing"
    assert not torch.allclose(q.mean[0], q.mean[1]) and not torch.allclose(costs, made.token_nll(batch, -z).sum(1))


@pytest.mark.parametrize("shape", [GPT2, OURS])
@pytest.mark.parametrize("infuse", TOLD)
@pytest.mark.parametrize("beside", list(Beside))
@torch.no_grad()
def test_written_with_a_cache_is_written_without(shape, infuse, beside):
    """Rows end at different times and leave; each token is the likeliest after all that came before, read at once."""
    made = system(shape, infuse=infuse, beside=beside)
    z = 3 * torch.randn(6, Z, dtype=torch.float64, generator=torch.Generator().manual_seed(8))
    canvas = free([12] * 6, range(6), PAD)
    *_, last = made.sample(Request(canvas, temperature=0.0, latent=z, forbidden=(PAD,)))
    before = torch.cat([torch.full((6, 1), END), last.ids[:, :-1]], dim=1)
    likeliest = (
        made.backbone(before, grafts=made._decoder_grafts(z)).index_fill(2, torch.tensor([PAD]), -math.inf).argmax(-1)
    )
    for b in range(6):
        written, n = last.ids[b], int(last.known[b].sum())
        assert bool(last.known[b, :n].all()) and written[:n].tolist() == likeliest[b, :n].tolist()
        assert n == 12 or int(written[n - 1]) == END
        assert END not in written[: n - 1].tolist()
    assert len({tuple(row) for row in last.ids.tolist()}) > 1, "texts differ with their latents"


@torch.no_grad()
def test_a_posterior_is_that_of_the_first_blocks_looking_both_ways():
    made, batch = system(encoder=2), ended_texts()
    before = torch.cat([torch.full((4, 1), END), batch.ids[:, :-1]], dim=1)
    x = made.backbone.embed(before) + made.backbone.positions[0, : batch.ids.shape[1]]
    hidden = torch.zeros(4, 1, 1, 8, dtype=torch.float64).masked_fill(~batch.real[:, None, None], -1e9)
    for block, adapter in zip(made.backbone.blocks[:2], made.net.encoder, strict=True):
        x = x + block.attention(block.norm1(x), None, hidden)
        x = x + adapter(x) + block.mlp(block.norm2(x))
    h, reader = made.backbone.head.norm(x), made.net.reader
    for b in range(4):
        mine = h[b][batch.real[b]]
        weights = (torch.relu(reader.pool.key(mine)[:, 0]) / 4).softmax(0)
        pooled = weights @ mine
        assert torch.allclose(made.posterior(batch).mean[b], reader.mean(pooled), atol=1e-9)
        assert torch.allclose(made.posterior(batch).logvar[b], reader.logvar(pooled).clamp(-10, 10), atol=1e-9)


def test_without_weights_and_free_bits_the_loss_is_the_bound():
    made, batch, rng = system(free=FreeBits.NONE), ended_texts(), Rng(0, range(4))
    made.schedule(1.0)
    (loss,) = made.losses(batch, rng)
    assert loss.total.item() == pytest.approx(made.nll(batch, rng).sum().item(), rel=1e-6)
    assert loss.count == float(batch.real.sum()), "every token and every end"
    assert float(sum(loss.parts.values())) == pytest.approx(loss.total.item(), rel=1e-6)
    by_token = system(free=FreeBits.NONE, weigh=Weigh.TOKEN)
    by_token.schedule(1.0)
    (heavier,) = by_token.losses(batch, rng)
    more = divergence(made.posterior(batch)).sum(1) * (batch.real.sum(1) - 1)
    assert float((heavier.total - loss.total).detach()) == pytest.approx(float(more.sum().detach()), rel=1e-5)
    made.schedule(0.0)
    (silent,) = made.losses(batch, rng)
    assert silent.total.item() == pytest.approx(float(loss.parts["reconstruction"]), rel=1e-6)


@pytest.mark.parametrize("shape", [GPT2, OURS])
@torch.no_grad()
def test_the_encoder_reads_the_last_word_first_and_the_decoder_no_word_before_its_turn(shape):
    made, batch = system(shape, encoder=1), ended_texts()
    z = torch.ones(4, Z, dtype=torch.float64)
    word = 4  # of the first text, which has seven
    other = batch.ids.clone()
    other[0, word] = 2 + (other[0, word] - 1) % (V - 2)
    changed = mezzotint.Canvas(other, batch.given, batch.real, batch.index)
    apart = (made.token_nll(changed, z) - made.token_nll(batch, z))[0]
    assert bool((apart[:word] == 0).all()) and bool((apart[word:8] != 0).all())
    moved = (made.posterior(changed).mean - made.posterior(batch).mean).abs().sum(1)
    assert float(moved[0]) > 1e-6 and bool((moved[1:] == 0).all())
    vectors = [made.backbone.vectors(shifted_right(each.ids, made.spec.end)) for each in (batch, changed)]
    assert bool(((vectors[0] - vectors[1])[0, : word + 1] == 0).all()), "each place reads the word before it"
    read = [
        made.backbone.through(x, None, each.real, causal=False, grafts=[made._graft(made.net.encoder[0])])
        for x, each in zip(vectors, (batch, changed), strict=True)
    ]
    assert float((read[0] - read[1])[0, 0].abs().sum()) > 1e-6, "the first place has seen a later word"


@torch.no_grad()
def test_a_log_variance_stays_within_bounds_whatever_the_reader_says():
    made, batch = system(), ended_texts()
    made.net.reader.logvar.bias[:2] = torch.tensor([1e4, -1e4], dtype=torch.float64)
    q = made.posterior(batch)
    assert q.logvar[:, :2].tolist() == [[10.0, -10.0]] * 4
    assert bool(divergence(q).isfinite().all()) and bool(made.nll(batch, Rng(0, range(4))).isfinite().all())


def test_told_of_nothing_it_is_the_backbone_tuned_by_itself():
    """Its bound is the exact likelihood, by one draw as by many, and all that it has learns."""
    made, batch = system(infuse=Infuse.NONE, free=FreeBits.NONE), ended_texts()
    z = torch.randn(4, Z, dtype=torch.float64)
    costs = made.token_nll(batch, z).sum(1)
    assert torch.equal(made.token_nll(batch, -z).sum(1), costs)
    assert torch.allclose(made.nll(batch, Rng(0, range(4))), costs.double(), atol=1e-5)
    weights, _ = log_weights(made, batch, 3, seed=0)
    assert torch.allclose(importance_bound(weights), costs.detach().double(), atol=1e-5)
    made.schedule(1.0)
    (loss,) = made.losses(batch, Rng(0, range(4)))
    assert loss.total.item() == pytest.approx(float(costs.sum().detach()), rel=1e-6)
    loss.total.backward()
    assert all(p.grad is not None for p in made.net.parameters()), "there is nothing in it that is not used"
    told = system(free=FreeBits.NONE)
    assert (
        parameter_counts(made)[1] == parameter_counts(told)[1] and parameter_counts(made)[0] < parameter_counts(told)[0]
    )
    fresh = system(infuse=Infuse.NONE, trained=False)
    before = shifted_right(batch.ids, fresh.spec.end)
    assert torch.equal(fresh.backbone(before, grafts=fresh._decoder_grafts(z)), fresh.backbone(before)), (
        "and begins as it"
    )


def test_the_end_of_a_text_is_learned():
    made, batch = system(), ended_texts(1)
    nll = made.token_nll(batch, torch.ones(1, Z, dtype=torch.float64))
    last = int(batch.real.sum()) - 1
    assert int(batch.ids[0, last]) == END and nll[0, last].item() > 0 and bool((nll[0, last + 1 :] == 0).all())
    nll[0, last].backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in made.net.infusion.parameters() if p.grad is not None)


def test_the_decoder_learns_later_and_the_backbone_never():
    made, batch, rng = system(), ended_texts(), Rng(0, range(4))

    def moved(fraction: float) -> set[str]:
        for p in (*made.net.parameters(), *made.backbone.parameters()):
            p.grad = None
        made.schedule(fraction)
        (loss,) = made.losses(batch, rng)
        loss.total.backward()
        frozen = [p for p in made.backbone.parameters() if not any(p is q for q in made.net.parameters())]
        assert all(p.grad is None for p in frozen) and frozen
        return {name for name, p in made.net.named_parameters() if p.grad is not None}

    early, late = moved(0.1), moved(0.5)
    assert not any(name.startswith("decoder") for name in early) and any(name.startswith("decoder") for name in late)
    assert {"norms.0.weight", "norms.3.weight", "norms.6.weight"} <= early and "norms.4.weight" in late - early
    assert late == {name for name, _ in made.net.named_parameters()}


def test_everything_can_be_trained():
    made = system(tune=Tune.ALL)
    trained, frozen = parameter_counts(made)
    assert frozen == 0 and trained > sum(p.numel() for p in made.backbone.parameters())
    (loss,) = made.losses(ended_texts(), Rng(0, range(4)))
    loss.total.backward()
    assert made.backbone.embed.weight.grad is not None
    assert serialise(named(made.players)), "no tensor has two names"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ending": Ending.LENGTH}, "ending must be 'symbol'"),
        ({"canvas": 13}, "more than the 12 positions of the backbone"),
        ({"encoder": 4}, "at most the 3 blocks"),
        ({"silent": 0.7, "rising": 0.5}, "shares from 0 to 1"),
        ({"bits": -1.0}, "must not be negative"),
        ({"late": 1.0}, "late is a share"),
    ],
)
def test_specs_that_contradict_themselves_are_refused(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        system(**settings)


# ---- what a latent space holds ---------------------------------------------------------------------------------------


def test_mutual_information_lies_between_nothing_and_the_logarithm_of_the_texts():
    M = 200
    apart = Posterior(torch.randn(M, 6, dtype=torch.float64) * 30, torch.full((M, 6), -4.0, dtype=torch.float64))
    alike = Posterior(torch.ones(M, 6, dtype=torch.float64), torch.zeros(M, 6, dtype=torch.float64))
    found, _ = mutual_information(apart, Rng(0, range(M)))
    assert float(found.max()) <= math.log(M) + 1e-9 and float(found.mean()) == pytest.approx(math.log(M), abs=1e-6)
    assert all(float(bound.abs().max()) < 1e-9 for bound in mutual_information(alike, Rng(0, range(M))))
    some = posteriors(M)
    z = draw(some, Rng(0, range(M)).at("information"))
    every = torch.stack([log_normal(z, some.mean[j], some.logvar[j]) for j in range(M)], dim=1)
    written_out = log_normal(z, some.mean, some.logvar) - torch.logsumexp(every, 1) + math.log(M)
    least, most = mutual_information(some, Rng(0, range(M)))
    assert torch.allclose(least, written_out, atol=1e-9)
    others = every.masked_fill(torch.eye(M, dtype=torch.bool), -math.inf)
    left_out = log_normal(z, some.mean, some.logvar) - torch.logsumexp(others, 1) + math.log(M - 1)
    assert torch.allclose(most, left_out, atol=1e-9)


@pytest.mark.parametrize("nats", [2.0, 5.0, 9.0])
def test_mutual_information_of_a_normal_channel_lies_between_the_two_estimates(nats):
    M, dims = 3000, 16
    # A mean of variance v seen through noise of variance 1: dims / 2 * log(1 + v) nats.
    spread = math.sqrt(math.exp(2 * nats / dims) - 1)
    means = spread * torch.randn(M, dims, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    q = Posterior(means, torch.zeros(M, dims, dtype=torch.float64))
    least, most = (float(bound.mean()) for bound in mutual_information(q, Rng(0, range(M))))
    assert least < nats + 0.05 and most > nats - 0.05
    assert most - least < 0.1 if nats == 2 else most > least
    note = {score.name: score.note for score in posterior_scores(q, 0)}["mutual_information"]
    assert ("falls well short" in note) is (nats == 9)


def test_a_collapsed_posterior_is_told_of_and_another_is_not():
    few = posteriors(100)
    collapsed = Posterior(0.01 * few.mean, 0.01 * few.logvar)
    for q, dead in ((few, False), (collapsed, True)):
        scores = {score.name: score for score in posterior_scores(q, 0)}
        assert ("THE POSTERIOR HAS COLLAPSED" in scores["mutual_information"].note) is dead
        assert scores["active_units"].value == (0 if dead else Z)
        assert f"{math.log(100):.2f}" in scores["mutual_information"].note
    assert active_units(Posterior(torch.tensor([[0.0, 1.0], [0.19, 2.0]]), torch.zeros(2, 2))) == 1
    assert collapse_warning(1.0, 0, 100) and collapse_warning(0.05, 3, 100) and not collapse_warning(1.0, 3, 100)
    assert "too few to tell" in collapse_warning(0.0, 0, 1)[0] and "COLLAPSED" not in collapse_warning(0.0, 0, 1)[0]


# ---- a run -----------------------------------------------------------------------------------------------------------

WORDS = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("adavae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        lines = [" ".join(WORDS[(i * k + k) % 12] for k in range(1, 3 + i % 7)) for i in range(120)]
        (root / "texts.txt").write_text("\n".join(lines) + "\n")
        how = {"dim": "16", "depth": "3", "heads": "2", "batch": "8", "validations": "1"}
        list(mezzotint.train("ar", [root / "texts.txt"], out=root / "ar", max_steps=10, settings=how))
        ours = {"batch": "8", "validations": "1", "latent": "4"}
        notes = [
            p.note
            for p in mezzotint.train(
                "adavae", [root / "texts.txt"], out=root / "vae", backbone=root / "ar", max_steps=8, settings=ours
            )
            if p.note
        ]
        assert any("numbers are trained, beside" in note and "%)" in note for note in notes)
        yield root


def test_the_backbone_is_kept_once_and_as_it_was(root):
    frozen, before = load_file(root / "vae/frozen.safetensors"), load_file(root / "ar/model.safetensors")
    assert {f"backbone.{name.removeprefix('model.')}" for name in before} == frozen.keys()
    assert all(torch.equal(frozen[name.replace("model.", "backbone.", 1)], tensor) for name, tensor in before.items())
    saved = load_file(root / "vae/checkpoints/8/weights.safetensors")
    assert not any("embed" in name or "attention" in name for name in saved)
    run = mezzotint.load(root / "vae")
    assert torch.equal(run.system.backbone.embed.weight, before["model.embed.weight"])
    assert torch.equal(
        run.system.backbone.blocks[0].norm1.weight, load_file(root / "vae/model.safetensors")["model.norms.0.weight"]
    )
    assert json.loads((root / "vae/config.json").read_text())["backbone"]["sha256"]
    run.save_pretrained(root / "kept")
    again = mezzotint.load(root / "kept").generate(2, seed=3)
    assert [s.text for s in again] == [s.text for s in run.generate(2, seed=3)]


def test_walks_analogies_and_transfers(root):
    space = mezzotint.load(root / "vae").latent
    points = space.encode(["the old river", "a cold pub is near"])
    walked = [s.text for s in space.walk("the old river", "a cold pub is near", 5)]
    ends = [s.text for s in space.decode(points)]
    assert len(walked) == 5 and [walked[0], walked[-1]] == ends == [
        s.text for s in space.reconstruct(["the old river", "a cold pub is near"])
    ]
    both = space.walks([("the old river", "a cold pub is near"), ("near", "by")], 5)
    assert [s.text for s in both[0]] == walked and [s.text for s in both[1]] == [
        s.text for s in space.walk("near", "by", 5)
    ]
    drawn = [s.text for s in space.like(["the old river", "a cold pub is near"], 3, seed=2)]
    assert drawn == [s.text for s in space.like(["the old river", "a cold pub is near"], 3, seed=2)]
    law = moments(space.posteriors(["the old river", "a cold pub is near"]))
    assert drawn == [s.text for s in space.decode(law.points(Rng(2, range(3)).at("latent")), seed=2)]
    assert space.analogy("the old river", "the old river", "a cold pub is near")[0].text == ends[1]
    still = space.transfer(["the old river"], ["the pub"], ["a new river"], strength=0.0)
    assert still[0].text == ends[0]
    with pytest.raises(UsageError, match="is 41 tokens long"):
        space.encode(["the " * 40])
    with pytest.raises(UsageError, match="at least 2 points"):
        space.walk("the", "a", 1)
    with pytest.raises(UsageError, match="not one string"):
        space.encode("the pub")
    with pytest.raises(UsageError, match="finite numbers"):
        space.decode(points * math.nan)
    assert [s.text for s in space.decode(points.tolist())] == ends
    with pytest.raises(UsageError, match="did you mean 'temperature'"):
        space.walk("the", "a", temperatur=1)


def test_evaluation_tells_what_the_latent_holds(root):
    lines = (root / "texts.txt").read_text().splitlines()
    (root / "few.txt").write_text("\n".join(lines[:20]))
    found = mezzotint.evaluate_run(root / "vae", [root / "few.txt"], n=4)
    scores = {s.name: s for column, s in found if column == "adavae"}
    assert {
        "importance_nats_per_token",
        "divergence_nats",
        "reconstruction_nats",
        "mutual_information",
    } <= scores.keys()
    assert scores["importance_nats_per_token"].value <= scores["bound_nats_per_token"].value + 1e-3
    assert scores["importance_nats_per_token"].stderr > 0 and scores["mutual_information"].value <= math.log(20)
    assert {"active_units", "reconstruction_bleu", "interpolation_smoothness", "longest_step"} <= scores.keys()
    assert "From one text to another" in (root / "vae/report.html").read_text()
    walks = json.loads((root / "vae/walks.json").read_text())
    assert len(walks) == 3 and {len(walk) for walk in walks} == {7}
    shown = ["".join(piece["text"] for piece in point["pieces"]) for point in walks[0]]
    run = mezzotint.load(root / "vae")
    assert {shown[0], shown[-1]} <= {s.text for s in run.latent.reconstruct(lines[:20])}


def test_words_that_a_run_does_not_know_are_read_as_they_are(root):
    room = mezzotint.load(root / "vae").spec.canvas - 1
    lines = [*(root / "texts.txt").read_text().splitlines()[:9], "the zyxq pub", " ".join(["zyxq"] * room)]
    (root / "unknown.txt").write_text("\n".join(lines))
    run = mezzotint.load(root / "vae")
    texts = Texts(run, [root / "unknown.txt"])
    assert sorted(texts.written) == sorted(lines), "not as their tokens are spelled"
    assert texts.count == len(texts.rows) == 11
    scores = {score.name: score for score in latent_scores(run, texts, n=11, draws=2)}
    assert scores["reconstruction_bleu"].n == 11
    assert torch.equal(run.latent.posteriors_of(texts.batches()).mean, run.latent.encode(texts.written))


def test_a_run_without_a_latent_has_no_space(root):
    out = root / "none"
    how = {"batch": "8", "validations": "1", "infuse": "none", "late": "0"}
    list(mezzotint.train("adavae", [root / "texts.txt"], out=out, backbone=root / "ar", max_steps=2, settings=how))
    run = mezzotint.load(out)
    with pytest.raises(CapabilityError, match="trained to write without a latent"):
        run.latent.walk("the", "a")
    assert list(latent_scores(run, Texts(run, [root / "texts.txt"]))) == []
    assert len(run.generate(2)) == 2


def test_the_command(root, capsys, monkeypatch):
    run = str(root / "vae")
    assert main(["latent", "walk", run, "the old river", "a cold pub", "--points", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    monkeypatch.setattr("sys.stdin", io.StringIO("the pub\n\na river\n"))
    assert main(["latent", "transfer", run, "--to", "cold"]) == 2
    assert "standard input, line 2: there is no text" in capsys.readouterr().err
    assert main(["latent", "sample", run, "-n", "2", "--json"]) == 0
    assert all("text" in json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert main(["latent", "walk", str(root / "ar"), "a", "b"]) == 2
    assert "ar cannot interpolate; systems that can: adavae" in capsys.readouterr().err
    assert main(["latent"]) == 2
    assert "followed by sample, prior, walk, analogy or transfer" in capsys.readouterr().err
    assert main(["train", "adavae", "--data", str(root / "texts.txt")]) == 2
    assert "--backbone gpt2" in capsys.readouterr().err
    records = [{"text": "the warm pub", "label": 1}, {"text": "the cold pub", "label": 0}]
    (root / "labelled.jsonl").write_text("\n".join(map(json.dumps, records)))
    for label, status, said in (("1", 0, "the old river"), ("2", 2, "unknown label '2'; known: 0, 1")):
        (root / "in.txt").write_text("the old river\n")
        monkeypatch.setattr("sys.stdin", (root / "in.txt").open())
        asked = ["latent", "transfer", run, "--to", label, "--data", str(root / "labelled.jsonl"), "--strength", "0"]
        assert main(asked) == status
        found = capsys.readouterr()
        assert len(found.out.splitlines()) == 1 - status // 2 and (status == 0 or said in found.err)
        asked = ["latent", "sample", run, "-n", "2", "--like", label, "--data", str(root / "labelled.jsonl")]
        assert main(asked) == status
        found = capsys.readouterr()
        assert len(found.out.splitlines()) == 2 - status and (status == 0 or said in found.err)
    assert main(["latent", "sample", run, "--data", str(root / "labelled.jsonl")]) == 2
    assert "--like says which label is wanted" in capsys.readouterr().err


def test_a_run_draws_from_the_prior_that_it_learned(root, capsys, monkeypatch):
    run, before = root / "learned", mezzotint.load(root / "vae")
    shutil.copytree(root / "vae", run)
    ask = ["latent", "prior", str(run), "--max-steps", "2", "--set", "dim=16", "--set", "depth=1", "--set", "lr=0.1"]
    assert main(ask) == 0
    assert "latent sample" in capsys.readouterr().err
    after = mezzotint.load(run)
    points = after.system.prior(Rng(0, range(40)))
    q = before.latent.posteriors((root / "texts.txt").read_text().splitlines())
    header = safe_open(run / "prior.safetensors", framework="pt").metadata()
    assert json.loads(header["training"])["texts"] == 120 and json.loads(header["spec"])["latent"] == 4
    assert not torch.allclose(points, Rng(0, range(40)).normal(4).float())
    learned = load_file(run / "prior.safetensors")
    assert torch.allclose(learned["prior.mean"], q.mean.mean(0), atol=1e-5)
    how = {"seed": 1, "temperature": 0.0}
    seen = []
    monkeypatch.setattr(LatentSpace, "decode", lambda space, points, **how: seen.append(points) or [])
    after.latent.draw(3, seed=1)
    assert main(["latent", "sample", str(run), "-n", "3", "--seed", "1", "--prior", "normal"]) == 0
    normal = Rng(1, range(3)).at("latent").normal(4)
    assert len(seen) == 2 and all(torch.equal(points, normal) for points in seen), "the normal law can still be had"
    monkeypatch.undo()
    assert [s.text for s in after.generate(3, **how)] == [
        s.text for s in after.latent.decode(after.system.prior(Rng(1, range(3)).at("latent")))
    ]
    assert [s.text for s in after.latent.walk("the", "a pub", 3)] == [
        s.text for s in before.latent.walk("the", "a pub", 3)
    ]
    (root / "three.txt").write_text("the pub\na river\nwarm\n")
    assert mezzotint.own_texts(after, [root / "three.txt"]) == ["the pub", "a river", "warm"]
    after.save_pretrained(root / "given")
    given = mezzotint.load(root / "given")
    assert [s.text for s in given.generate(3, **how)] == [s.text for s in after.generate(3, **how)]
    with pytest.raises(RunError, match="was published for others; learn a prior in the run"):
        given.latent.learn_prior(["the pub"])
    state = run / "checkpoints/8/state.json"
    state.write_text(state.read_text().replace("true", "false"))
    with pytest.raises(RunError, match="is not finished, and its latents change"):
        after.latent.learn_prior(["the pub"])
    assert main(["latent", "prior", str(root / "ar")]) == 2
    assert "ar cannot interpolate" in capsys.readouterr().err


def test_labels_are_read_beside_texts(tmp_path):
    (tmp_path / "a.csv").write_text("said,mood\nfine,good\n\nawful,bad\n")
    (tmp_path / "b.jsonl").write_text('{"text": "so", "mood": true}\n{"text": " ", "mood": true}\n')
    both = [tmp_path / "a.csv", tmp_path / "b.jsonl"]
    assert read_labelled(both, "mood") == [("fine", "good"), ("awful", "bad"), ("so", "true")]
    (tmp_path / "c.txt").write_text("a line\n")
    with pytest.raises(UsageError, match="no labels that can be read"):
        read_labelled([tmp_path / "c.txt"], "mood")
    with pytest.raises(DataError, match=r"a\.csv:2: there is no field 'mod' that could be the label"):
        read_labelled(both, "mod")


def test_calls_that_make_no_sense_are_refused_before_anything_is_written(root):
    def train(system="adavae", **how):
        list(mezzotint.train(system, [root / "texts.txt"], out=root / "refused", max_steps=1, **how))

    for call, error, sentence in (
        (lambda: train(), UsageError, "adavae stands on a language model"),
        (lambda: train("ar", backbone=root / "ar"), UsageError, "ar stands on no other model"),
        (lambda: train(backbone=root / "ar", tokenizer="bpe"), UsageError, "brings its own tokenizer"),
        (lambda: train(backbone=root / "vae"), RunError, "is a run of adavae; a backbone is a run of ar"),
        (lambda: train(backbone=root / "ar", settings={"depth": "2"}), UsageError, "depth is the backbone's"),
        (lambda: train(backbone=root / "ar", settings={"canvas": "60"}), UsageError, "canvas must be at most the 16"),
        (lambda: train(backbone=root / "ar", layout="windows"), UsageError, "windows are all of one length"),
        (lambda: train(backbone=root / "nothing"), RunError, "there is no run at"),
        (lambda: mezzotint.load(root / "ar").latent, CapabilityError, "ar has no latent space"),
    ):
        with pytest.raises(error, match=sentence):
            call()
    assert not (root / "refused").exists()
    check_backbone("adavae", "gpt2")
