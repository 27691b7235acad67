"""SED's parts and the whole: what each loss reaches, what guidance is, what padding and batch must not change."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mezzotint.data.lengths import Lengths
from mezzotint.errors import CapabilityError
from mezzotint.guidance.clamp import clamp
from mezzotint.guidance.classifier_free import classifier_free
from mezzotint.guidance.self_condition import both_passes
from mezzotint.guidance.temperature import mean_under
from mezzotint.guidance.vocabulary import forbid
from mezzotint.objective.rounding import row_nll
from mezzotint.recipes.sed import tiny
from mezzotint.rng import Rng
from mezzotint.space.embedding import Embedding, principal
from mezzotint.spec.recipe import Corpus
from mezzotint.spec.sed import CARD, SEDSpec, SelfCondition, Speaks, Streams, Table
from mezzotint.spec.transformer import Positions, TransformerSpec
from mezzotint.systems.sed import SED
from mezzotint.types import Canvas, Ending, Layout, Noised, Prediction, Request
from tests.batches import texts

V, L = 11, 9


def system(**settings) -> SED:
    net = TransformerSpec(dim=16, depth=2, heads=2, positions=Positions.EDGES, neighbours=3)
    spec = SEDSpec(vocab=V, canvas=L, ending=Ending.LENGTH, net=net, width=4, **settings)
    made = SED(spec, Lengths.from_lengths([3, 9, 9, 5], 9))
    made.initialise(0)
    made.net.double()
    return made


def state(made: SED, batch: Canvas, t: float) -> Noised:
    z0 = made.net.space.encode(batch.ids, 0.0, Rng(0, range(len(batch.ids))))
    times = torch.full((len(z0),), t, dtype=torch.float64)
    return made.process.corrupt(z0, times, batch.free, Rng(0, batch.index.tolist()))


def test_every_vector_has_the_norm_of_a_standard_normal_draw():
    space = Embedding(50, 8)
    space.fill(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 7)
    assert torch.allclose(space.vectors.norm(dim=-1), torch.full((50,), 8**0.5), atol=1e-6)
    assert torch.equal(space.readout, space.vectors)
    assert space.logits(space.vectors).argmax(-1).tolist() == list(range(50))


def test_principal_axes_keep_a_table_that_is_that_narrow():
    g = torch.Generator().manual_seed(0)
    narrow, turn = (torch.randn(*shape, generator=g, dtype=torch.float64) for shape in ((40, 3), (3, 20)))
    wide = narrow @ turn
    kept = principal(wide, 3)
    assert torch.allclose(torch.cdist(kept, kept), torch.cdist(wide, wide), atol=1e-5)


@pytest.mark.parametrize("speaks", list(Speaks))
def test_the_readout_of_true_vectors_teaches_the_readout_alone(speaks):
    made = system(speaks=speaks)
    z0 = made.net.space.encode(texts(4).ids, 1e-2, Rng(0, range(4)))
    row_nll(made.net.space.logits(z0.detach()), texts(4).ids, texts(4).real).sum().backward()
    reached = {name for name, p in made.net.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert reached == {"space.readout"}


@pytest.mark.parametrize("table", [Table.RANDOM, Table.LEARNED])
def test_a_fixed_table_is_not_trained(table):
    made = system(table=table)
    for loss in made.losses(texts(4), Rng(0, range(4), "", 4)):
        loss.total.backward()
    assert (made.net.space.table.grad is not None) is (table is Table.LEARNED)
    assert all(p.grad is not None for name, p in made.net.named_parameters() if name != "space.table")


def test_the_second_pass_sends_nothing_back_through_the_first():
    made, batch = system(), texts(2)
    first, second = both_passes(made.denoise, state(made, batch, 0.5), batch)
    second.estimate.sum().backward()
    through = made.net.body.leave.weight.grad.clone()
    made.net.zero_grad()
    made.denoise(state(made, batch, 0.5), batch, first.estimate.detach()).estimate.sum().backward()
    assert torch.equal(through, made.net.body.leave.weight.grad)
    assert not torch.equal(first.estimate, second.estimate)


@pytest.mark.parametrize("chosen", list(SelfCondition))
@torch.no_grad()
def test_an_estimate_is_read_exactly_where_reading_it_was_learned(chosen):
    made, batch = system(self_condition=chosen), texts(2)
    noised, carry = state(made, batch, 0.5), torch.randn(2, L, 4, dtype=torch.float64)
    alike = torch.equal(made.denoise(noised, batch, carry).estimate, made.denoise(noised, batch).estimate)
    assert alike is (chosen is SelfCondition.NONE)


@pytest.mark.parametrize("streams", list(Streams))
@pytest.mark.parametrize("speaks", list(Speaks))
@torch.no_grad()
def test_padding_and_batch_change_nothing(streams, speaks):
    made, batch = system(streams=streams, speaks=speaks), texts(4)
    batch.given[0, 2:4] = True
    noised = state(made, batch, 0.4)
    together = made.denoise(noised, batch)
    for b, n in enumerate([9, 4, 7, 1]):
        row = slice(b, b + 1)
        part = Canvas(batch.ids[row, :n], batch.given[row, :n], batch.real[row, :n], batch.index[row])
        alone = made.denoise(Noised(noised.z[row, :n], noised.t[row]), part)
        assert torch.allclose(together.estimate[b, :n], alone.estimate[0], atol=1e-9)


@pytest.mark.parametrize("streams", list(Streams))
@torch.no_grad()
def test_what_is_given_is_read_and_what_is_dropped_is_not(streams):
    made, batch = system(streams=streams), texts(1)
    batch.given[0, 2:5] = True
    other = replace(batch, ids=torch.where(batch.given, (batch.ids + 1) % V, batch.ids))
    one, two = (state(made, c, 0.6) for c in (batch, other))
    assert torch.equal(one.z[~batch.given], two.z[~batch.given])
    assert not torch.allclose(made.denoise(one, batch).estimate[0, 6], made.denoise(two, other).estimate[0, 6])
    nothing = classifier_free(made.denoise, 0.0)
    assert torch.allclose(nothing(one, batch).estimate[0, 6], nothing(two, other).estimate[0, 6])


@torch.no_grad()
def test_guidance_is_the_paper_s_line_through_two_predictions():
    made, batch = system(), texts(1)
    batch.given[0, :3] = True
    noised, carry = state(made, batch, 0.6), torch.randn(1, L, 4, dtype=torch.float64)
    assert classifier_free(made.denoise, 1.0) == made.denoise
    known = made.denoise(noised, batch, carry)
    blind = Noised(noised.z.masked_fill(batch.given[..., None], 0), noised.t)
    plain = made.denoise(blind, batch, None)
    guided = classifier_free(made.denoise, 2.5)(noised, batch, carry)
    assert torch.allclose(guided.estimate, plain.estimate + 2.5 * (known.estimate - plain.estimate), atol=1e-9)
    assert torch.allclose(guided.logits, plain.logits + 2.5 * (known.logits - plain.logits), atol=1e-9)
    banned = classifier_free(forbid(made.denoise, (4,)), 2.5)(noised, batch, carry).logits
    assert bool(banned[..., 4].isneginf().all()) and bool(banned[..., :4].isfinite().all())
    assert torch.equal(guided.carry, guided.estimate)
    plain_carry = classifier_free(made.denoise, 2.5, carry_guided=False)(noised, batch, carry).carry
    assert torch.allclose(plain_carry, known.estimate)


@torch.no_grad()
def test_a_row_in_which_nothing_is_given_is_not_guided_by_its_batch():
    made, batch = system(), texts(2)
    batch.given[0, :3] = True
    noised, carry = state(made, batch, 0.6), torch.randn(2, L, 4, dtype=torch.float64)
    plain, guided = (classifier_free(made.denoise, scale)(noised, batch, carry) for scale in (1.0, 2.5))
    assert torch.equal(guided.estimate[1], plain.estimate[1]) and torch.equal(guided.logits[1], plain.logits[1])
    assert not torch.allclose(guided.estimate[0], plain.estimate[0])
    free = batch.free.nonzero(as_tuple=True)
    some = classifier_free(made.denoise, 2.5)(noised, batch, carry, free).logits
    assert torch.equal(some[free[0] == 1], plain.logits[1][free[1][free[0] == 1]])


def test_clamping_takes_the_nearest_vector():
    table = torch.tensor([[0.0, 2.0], [2.0, 0.0]])

    def near(noised, cond, previous=None, at=None):
        return Prediction(torch.zeros(1, 2, 2), torch.tensor([[[0.1, 0.9], [1.0, 0.5]]]))

    clamped = clamp(near, table)(Noised(torch.zeros(1, 2, 2), torch.ones(1)), texts(1))
    assert clamped.estimate.tolist() == [[[0.0, 2.0], [2.0, 0.0]]]


@pytest.mark.parametrize("chosen", list(SelfCondition))
def test_losses_do_not_depend_on_how_a_batch_is_parted(chosen):
    made, batch = system(self_condition=chosen), texts(4)
    for step in range(6):  # a coin falls alike for both parts in one step of two
        (whole,) = made.losses(batch, Rng(0, range(4), f"train/{step}", 4))
        parts = [
            next(iter(made.losses(batch.rows(slice(a, a + 2)), Rng(0, range(a, a + 2), f"train/{step}", 4))))
            for a in (0, 2)
        ]
        assert float(whole.total.detach()) == pytest.approx(sum(float(p.total.detach()) for p in parts), rel=1e-6)
        assert whole.count == sum(p.count for p in parts)


@torch.no_grad()
def test_writing_keeps_what_is_given_and_does_not_depend_on_the_batch():
    made, batch = system(), texts(4)
    batch.given[:, :1] = True
    *_, last = made.sample(Request(batch, steps=6, seed=1))
    assert last.done and torch.equal(last.ids[batch.given], batch.ids[batch.given])
    *_, alone = made.sample(Request(batch.rows(slice(2, 3)), steps=6, seed=1))
    assert torch.equal(alone.ids[0, :7], last.ids[2, :7])


def test_the_recipe_names_what_the_corpus_decides():
    recipe = tiny(Corpus(vocab=300, canvas=32, layout=Layout.TEXTS))
    assert (recipe.spec.vocab, recipe.spec.canvas, recipe.spec.width) == (300, 32, 32)


@torch.no_grad()
def test_the_estimate_is_the_mean_under_tempered_odds_and_forbidden_tokens_do_not_reach_it():
    made, batch = system(), texts(2)
    noised = state(made, batch, 0.5)
    table = made.net.space.vectors
    plain = made.denoise(noised, batch)
    assert torch.allclose(mean_under(made.denoise, table, 1.0, 1.0)(noised, batch).estimate, plain.estimate, atol=1e-6)
    cold = mean_under(made.denoise, table, 0.0, 1.0)(noised, batch).estimate
    assert torch.allclose(cold, table[plain.logits.argmax(-1)])
    best = int(plain.logits[0, 0].argmax())
    without = mean_under(forbid(made.denoise, (best,)), table, 0.0, 1.0)(noised, batch)
    assert torch.allclose(without.estimate[0, 0], table[plain.logits[0, 0].topk(2).indices[1]])
    assert torch.equal(without.carry, without.estimate)


@pytest.mark.parametrize("decoder", sorted(CARD.decoders, key=lambda d: d.value))
@torch.no_grad()
def test_every_walk_writes_only_what_is_allowed(decoder):
    made, batch = system(), texts(4)
    batch.given[:, :1] = True
    *_, last = made.sample(Request(batch, steps=5, decoder=decoder, forbidden=(0, 1, 2), guidance=2.0))
    assert not bool(torch.isin(last.ids[batch.free], torch.tensor([0, 1, 2])).any())
    assert last.nfe.tolist() == [10] * 4


def test_what_writing_leaves_out_changes_no_bit(monkeypatch):
    made = system()
    request = Request(replace(texts(4), given=texts(4).ids % 3 == 0), steps=3, seed=2, temperature=0.7, guidance=1.5)
    frames, odds = list(made.sample(request)), made.token_logits

    def estimated(*given) -> Prediction:
        logits = odds(*given).logits
        estimate = logits.softmax(-1) @ made.net.space.vectors
        return Prediction(logits, estimate, estimate)

    monkeypatch.setattr(made, "token_logits", estimated)
    for frame, whole in zip(frames, made.sample(request), strict=True):
        assert torch.equal(frame.ids, whole.ids) and torch.equal(frame.confidence, whole.confidence)


def test_a_network_of_vectors_has_no_temperature():
    with pytest.raises(CapabilityError, match="no odds"):
        list(system(speaks=Speaks.VECTOR).sample(Request(texts(1), temperature=0.5)))
