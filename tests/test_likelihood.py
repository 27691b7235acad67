"""The score of held-out texts: an unbiased bound whatever the rows are called, with the length paid for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mezzotint.data.lengths import Lengths
from mezzotint.evaluate.likelihood import costs, likelihood
from mezzotint.objective.length import LengthCost
from mezzotint.objective.masked import counted_bound
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import LogLinear
from mezzotint.types import Canvas
from tests.oracle import MaskedOracle

TEXTS = [[0, 1, 2, 0], [0, 2, 1, 0], [2, 1, 0, 1], [1, 1, 1, 1]]
WEIGHTS = [4.0, 3.0, 1.0, 2.0]


class OracleSystem:
    """Just enough of a system for `costs`: the exact denoiser under the any-order bound."""

    def __init__(self) -> None:
        self.oracle = MaskedOracle(TEXTS, WEIGHTS, 3)

    def nll(self, batch, rng):
        return counted_bound(self.oracle, Absorbing(LogLinear(), 3), batch, rng).double()


@pytest.mark.parametrize("first", [0, 900])
def test_costs_of_the_exact_denoiser_are_the_entropy_whatever_the_rows_are_called(first):
    ids = torch.tensor([t for t, w in zip(TEXTS, WEIGHTS, strict=True) for _ in range(int(w))]).repeat(100, 1)
    real = torch.ones(ids.shape, dtype=torch.bool)
    index = torch.arange(first, first + len(ids))
    batches = [
        Canvas(ids[i : i + 64], ~real[i : i + 64], real[i : i + 64], index[i : i + 64]) for i in range(0, 1000, 64)
    ]
    found = costs(OracleSystem(), batches, 8, seed=0)
    assert found.shape == (1000, 8)
    assert abs(found.mean() - OracleSystem().oracle.entropy) < 4 * found.mean(1).std() / 1000**0.5
    assert len(set(found[0])) > 1


def test_nats_become_nats_a_token_and_bits_a_character():
    nats = np.array([[2.0, 4.0], [6.0, 6.0]])
    token, character = likelihood(nats, np.array([3.0, 6.0]), np.array([10.0, 8.0]), "note")
    assert token.value == pytest.approx(9 / 9) and character.value == pytest.approx(9 / np.log(2) / 18)
    assert (token.name, character.name, token.n) == ("bound_nats_per_token", "bound_bits_per_char", 2)


def test_a_drawn_length_costs_its_log_probability_and_a_fixed_one_nothing():
    law = Lengths.from_lengths([1, 2, 2, 3], 4)
    real = torch.arange(4) < torch.tensor([[2], [4], [1]])
    cost = LengthCost(law)
    assert torch.allclose(cost(real), torch.tensor([-law.log_prob(n) for n in (2, 4, 1)]))
    assert cost.symbols(real) == 7 + 3
    assert LengthCost(None)(real).tolist() == [0, 0, 0] and LengthCost(None).symbols(real) == 7
