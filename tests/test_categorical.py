"""Drawing by inverse CDF, temperature and nucleus, against enumeration."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.sampler.categorical import inverse_cdf
from mezzotint.space.odds import tilt


@given(st.integers(1, 300), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_the_id_is_where_the_cumulative_sum_passes_the_quantile(size, seed):
    g = torch.Generator().manual_seed(seed)
    p = torch.rand(20, size, generator=g).pow(4)
    p[:, ::3] *= (torch.rand(20, len(range(0, size, 3)), generator=g) < 0.5) | (size < 4)
    u = torch.rand(20, generator=g, dtype=torch.float64)
    cumulative = p.double().cumsum(-1)
    expected = (cumulative <= u[:, None] * cumulative[:, -1:]).sum(-1)
    ours = inverse_cdf(p, u)
    near = (cumulative - u[:, None] * cumulative[:, -1:]).abs().min(-1).values < 1e-12
    assert bool(((ours == expected) | near).all())
    assert bool((p.gather(1, ours[:, None]) > 0).all())


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_the_edges_of_the_unit_interval_never_give_an_impossible_id(u):
    p = torch.zeros(1, 130)
    p[0, 70] = 1.0
    assert inverse_cdf(p, torch.tensor([u], dtype=torch.float64)).tolist() == [70]


def test_a_token_of_probability_one_in_a_billion_is_within_reach():
    p = torch.cat([torch.ones(1, 1), torch.full((1, 1), 1e-9)], dim=1)
    assert inverse_cdf(p, torch.tensor([1 - 5e-10], dtype=torch.float64)).tolist() == [1]


def test_temperature_is_a_power_and_zero_the_mode():
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    assert torch.allclose(tilt(logits, 0.5, 1.0), (logits * 2).softmax(-1))
    assert tilt(logits, 0.0, 1.0).tolist() == [[0.0, 0.0, 1.0]]


def test_the_nucleus_is_the_smallest_set_that_holds_the_mass():
    p = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    kept = tilt(p.log(), 1.0, 0.7)
    assert torch.allclose(kept, torch.tensor([[0.0, 2 / 3, 0.0, 1 / 3]]))
    assert torch.allclose(tilt(p.log(), 1.0, 1e-6), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    assert torch.allclose(tilt(p.log(), 1.0, 1.0), p)


def test_odds_are_to_the_bit_those_of_softmax_and_an_open_position_has_a_token():
    logits = torch.randn(50, 200, generator=torch.Generator().manual_seed(0)).index_fill(
        1, torch.tensor([3]), -torch.inf
    )
    plain = ((logits - logits.amax(-1, keepdim=True)) / 0.7).softmax(-1)
    assert torch.equal(tilt(logits, 0.7, 1.0), plain) and tilt(logits[:0], 0.7, 1.0).shape == (0, 200)
    with pytest.raises(AssertionError, match="forbidden"):
        tilt(logits.index_fill(0, torch.tensor([7]), -torch.inf), 0.7, 1.0)
