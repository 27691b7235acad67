"""The distiller's parts, against laws that are finite sums: the rollout, its gradient, the rewards, the critic."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mezzotint.distill.consistency import two_step_targets
from mezzotint.distill.critic import Critic, Spectral, critic_loss
from mezzotint.distill.divergence import (
    TimeLaw,
    advantages,
    entropy,
    omega,
    row_means,
    surrogate,
    token_kl,
)
from mezzotint.distill.rollout import members, roll_out, streams
from mezzotint.distill.tokens import matching_surrogate, rollout_logits
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import Cosine, LogLinear
from mezzotint.rng import Rng
from mezzotint.sampler.subs import Subs
from mezzotint.spec.mdlm import MDLMSpec
from mezzotint.spec.transformer import Positions, TransformerSpec
from mezzotint.types import Ending, Noised
from tests.oracle import blank, chi_square_p
from tests.tabular import Tabular, first_step, masked, two_steps

V, L, TAU = 2, 2, 0.4
GROUP, BATCHES, ROWS = 4, 24, 4000


def process(schedule=None) -> Absorbing:
    return Absorbing(schedule or LogLinear(), V)


def reference() -> dict[tuple[int, ...], Tensor]:
    weights = torch.tensor([4.0, 1.0, 2.0, 3.0], dtype=torch.float64) / 10
    return dict(zip(Tabular(V, L).texts, weights, strict=True))


def rolled(student: Tabular, through: Absorbing, rows: int, first: int = 0, split: float = TAU, group: int = GROUP):
    canvas = blank(rows // group, L, first)
    rng = streams(Rng(1, canvas.index.tolist(), "test"), group)
    return roll_out(student, through, canvas, torch.full((rows,), split, dtype=torch.float64), rng), rng


def exact_gradient(student: Tabular, through: Absorbing, target: dict[tuple[int, ...], Tensor]) -> Tensor:
    """Of omega KL(q_tau || reference_tau), enumerated."""
    tau = torch.tensor(TAU, dtype=torch.float64)
    alpha = float(through.schedule.alpha(tau))
    ours, theirs = (masked(law, V, alpha) for law in (two_steps(student, through, TAU), target))
    kl = sum(q * (q.log() - theirs[z].log()) for z, q in ours.items())
    (gradient,) = torch.autograd.grad(float(omega(through.schedule, tau)) * kl, student.table)
    return gradient


def rewards(student: Tabular, through: Absorbing, target: dict[tuple[int, ...], Tensor]) -> Tensor:
    """(states,): the exact log-ratio of reference to student at the level tau, which a critic stands for."""
    alpha = float(through.schedule.alpha(torch.tensor(TAU, dtype=torch.float64)))
    ours, theirs = (masked(law, V, alpha) for law in (two_steps(student, through, TAU), target))
    return torch.stack([theirs[z].log() - ours[z].log() for z in student.states]).detach()


def estimates(student: Tabular, through: Absorbing, table: Tensor, batches: int = BATCHES) -> Tensor:
    """(batches, ...): the gradient of the surrogate in batches of texts that have nothing in common."""
    found = []
    for n in range(batches):
        texts, rng = rolled(student, through, ROWS, n * ROWS)
        tau = texts.second.noised.t
        z = through.corrupt(texts.ids, tau, texts.canvas.free, rng.at("mask")).z
        loss = surrogate(texts.log_prob, table[student.number(z)], omega(through.schedule, tau)).mean()
        found += torch.autograd.grad(loss, student.table)
    return torch.stack(found)


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=["log-linear", "cosine"])
def test_the_estimate_is_the_enumerated_gradient_of_the_divergence_in_expectation(schedule):
    student, through = Tabular(V, L), process(schedule)
    exact = exact_gradient(student, through, reference())
    found = estimates(student, through, rewards(student, through, reference()))
    error = found.std(0) / BATCHES**0.5
    moved = error > 0
    assert bool((exact[~moved].abs() < 1e-12).all()), "states that no rollout asks about have no gradient"
    assert float((exact.abs() / error)[moved].max()) > 20, "the test could not tell this from no gradient at all"
    z = ((found.mean(0) - exact) / error)[moved]
    assert float(z.abs().max()) < 4.5 and float((z**2).mean()) < 2.5


def test_there_is_no_gradient_where_the_reference_is_the_students_own_law():
    student, through = Tabular(V, L), process()
    own = {z: p.detach() for z, p in two_steps(student, through, TAU).items()}
    assert float(exact_gradient(student, through, own).abs().max()) < 1e-12
    assert float(rewards(student, through, own).abs().max()) < 1e-12
    assert float(estimates(student, through, rewards(student, through, own), 1).abs().max()) < 1e-9


def test_a_rollout_has_the_law_of_two_ancestral_steps_and_knows_its_probability():
    student, through = Tabular(V, L), process()
    texts, _ = rolled(student, through, 12_000)
    law = {z: float(p.detach()) for z, p in two_steps(student, through, TAU).items()}
    assert chi_square_p(Counter(map(tuple, texts.ids.tolist())), law) > 1e-3
    halfway = {z: float(p.detach()) for z, p in first_step(student, through, TAU).items()}
    assert chi_square_p(Counter(map(tuple, texts.second.noised.z.tolist())), halfway) > 1e-3
    for row in range(200):
        z, text = tuple(texts.second.noised.z[row].tolist()), tuple(texts.ids[row].tolist())
        path = [(z if was == V else (V,) * L, place, text[place]) for place, was in enumerate(z)]
        log_prob = sum(float(student.p(*step).detach().log()) for step in path)
        assert float(texts.log_prob[row]) == pytest.approx(log_prob, abs=1e-6)


def test_the_one_state_that_a_group_starts_from_is_as_good_as_one_for_each():
    student, through = Tabular(V, L), process()
    shared, _ = rolled(student, through, 64)
    alone = roll_out(
        student, through, shared.canvas, shared.second.noised.t,
        Rng(1, shared.canvas.index.tolist(), "test"),
    )  # fmt: skip
    assert torch.equal(shared.ids, alone.ids) and torch.allclose(shared.log_prob, alone.log_prob)
    grads = [torch.autograd.grad(each.log_prob.sum(), student.table)[0] for each in (shared, alone)]
    assert torch.allclose(*grads)
    assert len(shared.first.noised.z) == 16 and len(alone.first.noised.z) == 64


def test_given_tokens_and_padding_are_neither_written_nor_paid_for():
    student, through = Tabular(V, 3), process()
    canvas = blank(5, 3)
    canvas.ids[:, 0], canvas.given[:, 0], canvas.real[:, 2] = 1, True, False
    split = torch.full((10,), 0.5, dtype=torch.float64)
    texts = roll_out(student, through, canvas, split, streams(Rng(0, range(5)), 2))
    assert bool((texts.ids[:, 0] == 1).all()) and bool((texts.ids[:, 1] < V).all())
    assert set(texts.first.at[1].tolist()) == {1} and set(texts.second.at[1].tolist()) == {1}


def test_members_have_streams_of_their_own_that_no_other_row_has():
    batch = blank(3, 2, first=5)
    batch.ids[:] = torch.arange(3)[:, None]
    canvas = members(batch, 4)
    assert canvas.ids[:, 0].tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert canvas.index.tolist() == list(range(20, 32)) == list(streams(Rng(0, [5, 6, 7]), 4).index)


def test_two_steps_of_the_teacher_say_what_the_enumerated_ones_say_on_average():
    student, teacher, through = Tabular(V, L, 0), Tabular(V, L, 1), process()
    texts, rng = rolled(student, through, 4000, group=1)
    middle = torch.full((4000,), 0.6, dtype=torch.float64)
    logits = two_step_targets(teacher, through, texts.first, middle, rng.at("teacher"))
    found = logits.softmax(-1)[texts.first.at[1] == 0, 1]
    blank_state = (V, V)
    h = float(through.hazard(torch.ones(1, dtype=torch.float64), middle[:1]))
    once, other = (float(teacher.p(blank_state, 0, 1)), [float(teacher.p(blank_state, 1, v)) for v in range(V)])
    after_other = sum(p * float(teacher.p((V, v), 0, 1)) for v, p in enumerate(other))
    expected = h * once + (1 - h) * ((1 - h) * once + h * after_other)
    assert abs(float(found.mean()) - expected) < 5 * float(found.std()) / len(found) ** 0.5
    assert abs(once - expected) > 10 * float(found.std()) / len(found) ** 0.5


# ---- rewards and weights --------------------------------------------------------------------------------------------


def test_advantages_are_the_rewards_in_deviations_of_their_group():
    reward = torch.tensor([1.0, 2.0, 3.0, 6.0, 5.0, 5.0, 5.0, 5.0])
    found = advantages(reward, torch.ones(8, dtype=torch.bool), 4, 3.0)
    group = reward[:4]
    assert torch.allclose(found[:4], (group - group.mean()) / group.std()) and bool((found[4:] == 0).all())
    assert float(advantages(torch.tensor([0.0] * 19 + [1.0]), torch.ones(20, dtype=torch.bool), 20, 3.0).max()) == 3.0


def test_what_was_not_masked_has_no_say_and_no_advantage():
    reward, seen = torch.tensor([1.0, 99.0, 3.0, 5.0]), torch.tensor([True, False, True, True])
    found = advantages(reward, seen, 4, 3.0)
    assert torch.allclose(found, torch.tensor([-1.0, 0.0, 0.0, 1.0]))
    assert bool((advantages(reward, torch.tensor([True, False, False, False]), 4, 3.0) == 0).all())


def test_times_have_the_law_that_their_density_says():
    law = TimeLaw(2, 5)
    t = law.draw(Rng(0, range(20_000)))
    assert abs(float(t.mean()) - 2 / 7) < 0.006
    expected = torch.distributions.Beta(2.0, 5.0).log_prob(torch.tensor([0.1, 0.5, 0.9])).exp()
    assert torch.allclose(law.density(torch.tensor([0.1, 0.5, 0.9])), expected)
    assert omega(LogLinear(), torch.tensor([0.02, 0.5])).tolist() == pytest.approx([10.0, 2.0])


def test_kl_and_entropy_are_what_they_are_called():
    p, q = torch.randn(5, 7), torch.randn(5, 7)
    expected = torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=x) for x in (p, q)))
    assert torch.allclose(token_kl(p, q), expected, atol=1e-6)
    assert torch.allclose(entropy(p), torch.distributions.Categorical(logits=p).entropy(), atol=1e-6)
    assert row_means(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 2]), 4).tolist() == [2.0, 0.0, 5.0, 0.0]


# ---- the critic -----------------------------------------------------------------------------------------------------

SPEC = MDLMSpec(
    vocab=11, canvas=8, ending=Ending.LENGTH,
    net=TransformerSpec(dim=16, depth=3, heads=2, positions=Positions.EDGES, neighbours=3),
)  # fmt: skip
FACTORISED = replace(SPEC, net=replace(SPEC.net, factor=4))
TIMED = replace(SPEC, net=replace(SPEC.net, condition=8, positions=Positions.NONE, tied=False), frame=3)


def critic_of(spec: MDLMSpec, learning: int = 1) -> tuple[Critic, Subs]:
    teacher = Subs(spec)
    teacher.net.initialise(torch.Generator().manual_seed(0))
    critic = Critic(spec, teacher.process, learning)
    critic.net.start_from(teacher.net.state_dict(), torch.Generator().manual_seed(1))
    return critic, teacher


def states(rows: int = 4) -> tuple[Noised, object]:
    canvas = blank(rows, 8)
    canvas.ids[:] = torch.arange(8 * rows).view(rows, 8) % 11
    canvas.real[0, 6:] = False
    hidden = canvas.free & (Rng(0, range(rows)).uniform(8) < 0.5)
    return Noised(canvas.ids.masked_fill(hidden, 11), torch.full((rows,), 0.5, dtype=torch.float64)), canvas


@pytest.mark.parametrize("spec", [SPEC, FACTORISED, TIMED], ids=["plain", "factorised", "timed, framed"])
def test_a_critic_reads_with_the_teachers_blocks_and_learns_in_the_last_of_them(spec):
    critic, teacher = critic_of(spec)
    ours, theirs = critic.net.state_dict(), teacher.net.state_dict()
    for name in theirs:
        assert name.startswith("head.") or torch.equal(ours[name], theirs[name])
    assert {n.split(".")[0] for n in ours} - {n.split(".")[0] for n in theirs} == set()
    learning = {n.rsplit(".", 1)[0] for n, p in critic.net.named_parameters() if p.requires_grad}
    assert {n.split(".")[0] for n in learning} == {"blocks", "head"}
    assert {n.split(".")[1] for n in learning if n.startswith("blocks")} == {"2"}


@pytest.mark.parametrize("spec", [SPEC, FACTORISED, TIMED], ids=["plain", "factorised", "timed, framed"])
def test_a_certain_token_is_read_as_that_token(spec):
    critic, _ = critic_of(spec)
    noised, canvas = states()
    at = (canvas.free & (noised.z == 11)).nonzero(as_tuple=True)
    certain = torch.full((len(at[0]), 11), -1e4).index_put(
        (torch.arange(len(at[0])), canvas.ids[at]), torch.tensor(0.0)
    )
    soft = critic.logits(noised, canvas, (at, certain))
    hard = critic.logits(Noised(canvas.ids, noised.t), canvas)
    assert torch.allclose(soft[canvas.real], hard[canvas.real], atol=1e-5)
    masked = critic.masked_logits(noised, canvas)
    assert len(masked.logits) == len(at[0]) and torch.equal(masked.at[1], at[1])


def test_padding_does_not_reach_a_critic():
    critic, _ = critic_of(SPEC)
    noised, canvas = states()
    before = critic.logits(noised, canvas)[0, :6]
    noised.z[0, 6:] = 7
    assert torch.allclose(before, critic.logits(noised, canvas)[0, :6], atol=1e-6)


def test_a_spectral_layer_stretches_nothing():
    torch.manual_seed(0)
    layer = Spectral(40, 30)
    out = layer(torch.eye(40)) - layer.bias
    assert float(torch.linalg.svdvals(out)[0]) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(layer(torch.eye(40)), layer(torch.eye(40)))


def test_the_critics_optimum_is_the_log_ratio_of_the_smoothed_laws():
    p, q = torch.tensor([0.7, 0.3]), torch.tensor([0.2, 0.8])
    logit = ((0.9 * p + 0.1 * q) / (0.1 * p + 0.9 * q)).log().requires_grad_()
    none = logit[:0]
    loss = sum(p[i] * critic_loss(logit[i, None], none) + q[i] * critic_loss(none, logit[i, None]) for i in range(2))
    (gradient,) = torch.autograd.grad(loss, logit)
    assert float(gradient.abs().max()) < 1e-6


# ---- token by token --------------------------------------------------------------------------------------------------


def test_what_the_student_said_of_each_token_is_what_it_was_drawn_from():
    texts, _ = rolled(Tabular(V, L, seed=3), process(), 40)
    at = texts.canvas.free.nonzero(as_tuple=True)
    log_p = rollout_logits(texts, at).log_softmax(-1).gather(1, texts.ids[at][:, None])[:, 0]
    early = texts.second.noised.z != V
    assert early.any() and not early.all()
    assert torch.allclose(row_means(log_p, at[0], 40) * L, texts.log_prob.to(log_p.dtype), atol=1e-5)


def test_a_shadow_that_knows_the_student_leads_to_the_teacher_by_the_gradient_of_their_divergence():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 7, generator=generator) for _ in range(2))
    student.requires_grad_()
    (ours,) = torch.autograd.grad(matching_surrogate(student, student, teacher).sum(), student)
    (theirs,) = torch.autograd.grad(token_kl(teacher, student).sum(), student)
    assert torch.allclose(ours, theirs, atol=1e-6) and theirs.abs().max() > 0.1
    (none,) = torch.autograd.grad(matching_surrogate(student, teacher, teacher).sum(), student)
    assert not none.any()
