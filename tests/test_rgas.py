"""Reward-guided sampling, against laws that are finite sums."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch

from mezzotint.guidance.reward import tilt_by_reward
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import LogLinear
from mezzotint.rng import Rng
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.rerank import Rerank
from mezzotint.types import Noised
from tests.oracle import blank, chi_square_p
from tests.tabular import Tabular, after

V, L, ROWS = 2, 2, 12_000
PROCESS = Absorbing(LogLinear(), V)


def written(denoise, step, rows=ROWS, steps=3):
    canvas = blank(rows, L)
    counted = Counted(denoise, canvas)
    *_, last = drive(counted, step, canvas, steps, Rng(0, range(rows)), counted.calls)
    return last


def hazard(t: float, s: float) -> float:
    t, s = (torch.tensor(time, dtype=torch.float64) for time in (t, s))
    return float(PROCESS.hazard(t, s)) if s > 0 else 1.0


def plain_law(denoise: Tabular, steps: int) -> dict[tuple[int, ...], float]:
    law = {(V,) * L: torch.ones((), dtype=torch.float64)}
    for n in range(steps):
        law = after(denoise, law, hazard(1 - n / steps, 1 - (n + 1) / steps))
    return {z: float(p.detach()) for z, p in law.items()}


@pytest.mark.parametrize("since", [2.0, 0.5, -1.0], ids=["always", "late", "never"])
def test_under_a_constant_reward_the_law_is_the_plain_one(since):
    denoise = Tabular(V, L)
    step = Rerank(PROCESS, lambda noised, cond: torch.full((len(noised.z),), 3.0), 3, since)
    last = written(denoise, step)
    assert chi_square_p(Counter(map(tuple, last.ids.tolist())), plain_law(denoise, 3)) > 1e-3


def reranked_law(denoise: Tabular, scores: torch.Tensor, candidates: int, s: float) -> dict[tuple[int, ...], float]:
    """Of one step from all masks: every tuple of candidates, and every choice among those that have masks left."""
    moves = [(z, float(p.detach())) for z, p in denoise.moves((V,) * L, hazard(1.0, s))]
    law: dict[tuple[int, ...], float] = {}
    for drawn in product(moves, repeat=candidates):
        p = torch.tensor([p for _, p in drawn], dtype=torch.float64).prod()
        ended = torch.tensor([V not in z for z, _ in drawn])
        odds = torch.stack([scores[denoise.states.index(z)] for z, _ in drawn]).exp()
        among = odds * ~ended / (odds * ~ended).sum().clamp(min=1e-9) * (~ended).double().mean()
        for (z, _), weight in zip(drawn, torch.where(ended, 1 / candidates, among), strict=True):
            law[z] = law.get(z, 0.0) + float(p * weight)
    return law


@pytest.mark.parametrize("candidates", [2, 3])
def test_one_step_under_a_reward_has_the_enumerated_law(candidates):
    denoise, s = Tabular(V, L), 0.5
    scores = torch.randn(len(denoise.states), generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 1.5
    step = Rerank(PROCESS, lambda noised, cond: scores[denoise.number(noised.z)], candidates, since=1.0)
    canvas = blank(ROWS, L)
    _, state = step.begin(canvas, torch.tensor([1.0, s, 0.0], dtype=torch.float64), Rng(0, range(ROWS)))
    to = torch.full((ROWS,), s, dtype=torch.float64)
    then = step(denoise, state, to, canvas, Rng(0, range(ROWS), "one"))
    law = reranked_law(denoise, scores, candidates, s)
    assert sum(law.values()) == pytest.approx(1)
    assert chi_square_p(Counter(map(tuple, then.noised.z.tolist())), law) > 1e-3
    assert torch.equal(then.known, then.noised.z != V) and torch.equal(then.confidence > 0, then.known)


@pytest.mark.parametrize("told", [-3.0, 3.0])
def test_a_text_is_not_ended_sooner_for_what_masks_are_rewarded(told):
    denoise, s = Tabular(V, L), 0.5
    step = Rerank(PROCESS, lambda noised, cond: told * (noised.z == V).any(1).double(), 4, since=1.0)
    canvas = blank(ROWS, L)
    _, state = step.begin(canvas, torch.tensor([1.0, s, 0.0], dtype=torch.float64), Rng(0, range(ROWS)))
    then = step(denoise, state, torch.full((ROWS,), s, dtype=torch.float64), canvas, Rng(0, range(ROWS), "one"))
    share, law = float((then.noised.z != V).all(1).double().mean()), hazard(1.0, s) ** L
    assert abs(share - law) < 5 * (law * (1 - law) / ROWS) ** 0.5


def test_a_step_is_free_only_if_no_candidate_reveals_anything():
    denoise, candidates, s = Tabular(V, L), 3, 0.9
    canvas = blank(4000, L)
    counted = Counted(denoise, canvas)

    def score(noised, cond):
        counted.charge(cond, 1)
        return torch.zeros(len(noised.z))

    step = Rerank(PROCESS, score, candidates, since=1.0)
    _, state = step.begin(canvas, torch.tensor([1.0, s, 0.0], dtype=torch.float64), Rng(0, range(4000)))
    step(counted, state, torch.full((4000,), s, dtype=torch.float64), canvas, Rng(0, range(4000), "one"))
    assert set(counted.calls.tolist()) == {0, 1 + candidates}
    share, free = float((counted.calls == 0).double().mean()), (1 - hazard(1.0, s)) ** (L * candidates)
    assert abs(share - free) < 5 * (free * (1 - free) / 4000) ** 0.5


def test_rows_do_not_depend_on_their_batch():
    denoise = Tabular(V, L)
    step = Rerank(PROCESS, lambda noised, cond: denoise.number(noised.z).double() / 3, 3, since=2.0)
    whole = written(denoise, step, 32).ids
    for first in (0, 7, 31):
        canvas = blank(1, L, first)
        counted = Counted(denoise, canvas)
        *_, alone = drive(counted, step, canvas, 3, Rng(0, [first]), counted.calls)
        assert torch.equal(alone.ids[0], whole[first])


# ---- the early steps ------------------------------------------------------------------------------------------------


def test_logits_move_along_the_gradient_at_all_masks_and_are_given_where_asked():
    denoise = Tabular(V, 3)
    z = torch.tensor([[V, V, 0], [V, 1, V]])
    noised, canvas = Noised(z, torch.tensor([0.9, 0.4], dtype=torch.float64)), blank(2, 3)
    read = []

    def reward(noised, cond, at, logits):
        read.append(len(at[0]))
        return 4 * logits.softmax(-1)[:, 1] * (1 + logits.softmax(-1)[:, 1].sum())

    at = (torch.tensor([0, 1]), torch.tensor([1, 2]))
    guided = tilt_by_reward(denoise, V, reward, lambda t: torch.where(t > 0.5, 2.0, 0.0))
    found, plain = guided(noised, canvas, None, at).logits, denoise(noised, canvas, None, at).logits
    masked = (z == V).nonzero(as_tuple=True)
    leaf = denoise(noised, canvas, None, masked).logits.detach().requires_grad_()
    p = leaf.softmax(-1)[:, 1]
    (slope,) = torch.autograd.grad((4 * p * (1 + p.sum())).sum(), leaf)
    assert read == [4], "the reward reads every masked position"
    assert torch.allclose(found[0], plain[0] + 2 * slope[1].clamp(-1, 1)) and torch.equal(found[1], plain[1])
    assert float(slope.abs().max()) > 1, "the clamp was at work"


def test_no_reward_is_asked_where_there_is_no_strength_and_a_constant_one_changes_nothing():
    denoise = Tabular(V, L)
    plain = Rerank(PROCESS, lambda noised, cond: torch.zeros(len(noised.z)), 1, since=-1.0)

    def never(*_):
        raise AssertionError

    assert torch.equal(
        written(tilt_by_reward(denoise, V, never, lambda t: torch.zeros_like(t)), plain, 64).ids,
        written(tilt_by_reward(denoise, V, lambda n, c, at, x: 0 * x.sum(-1) + 1, torch.ones_like), plain, 64).ids,
    )
