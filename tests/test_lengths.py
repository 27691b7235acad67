"""The distribution of lengths is one: what is drawn has the probability that is paid for."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.data.lengths import Lengths
from mezzotint.errors import RunError, UsageError

few = settings(max_examples=40, deadline=None)

some = st.lists(st.integers(1, 12), max_size=30).flatmap(
    lambda seen: st.integers(max([1, *seen]), 14).map(lambda longest: Lengths.from_lengths(seen, longest))
)


@given(some, st.data())
@few
def test_probabilities_of_all_lengths_sum_to_one(lengths: Lengths, data: st.DataObject) -> None:
    part = lengths.given(data.draw(st.integers(1, lengths.longest)))
    for each in (lengths, part):
        assert math.isclose(sum(math.exp(each.log_prob(n)) for n in range(-1, 20)), 1.0, rel_tol=1e-12)


@given(some, st.data())
@few
def test_quantiles_fall_on_each_length_with_its_probability(lengths: Lengths, data: st.DataObject) -> None:
    part = lengths.given(data.draw(st.integers(1, lengths.longest)))
    below = 0.0
    for n in range(1, part.longest + 1):
        share = math.exp(part.log_prob(n))
        if share > 1e-9:
            assert part.draw(min(below + share * 1e-3, 1 - 2**-53)) == part.draw(below + share * 0.999) == n
        below += share


@given(some, st.floats(0, 1, exclude_max=True))
@few
def test_every_draw_is_possible(lengths: Lengths, u: float) -> None:
    part = lengths.given(lengths.longest)
    assert lengths.log_prob(lengths.draw(u)) > -math.inf
    assert part.draw(u) == lengths.longest and part.log_prob(lengths.longest) == 0.0


def test_a_tenth_is_added_to_every_count() -> None:
    lengths = Lengths.from_lengths(np.array([2, 2, 5]), 6)
    assert [lengths.log_prob(n) for n in (1, 2, 5)] == pytest.approx(np.log(np.array([0.1, 2.1, 1.1]) / 3.6))
    assert lengths.log_prob(0) == lengths.log_prob(7) == lengths.log_prob(-1) == -math.inf


@given(some, st.data())
@few
def test_given_at_least_is_the_conditional_distribution(lengths: Lengths, data: st.DataObject) -> None:
    low = data.draw(st.integers(1, lengths.longest))
    part = lengths.given(low)
    tail = math.log(sum(math.exp(lengths.log_prob(n)) for n in range(low, lengths.longest + 1)))
    for n in range(1, lengths.longest + 1):
        assert part.log_prob(n) == (pytest.approx(lengths.log_prob(n) - tail) if n >= low else -math.inf)
    assert part.given(1) == part


@given(some, st.data())
@few
def test_tilted_lengths_are_raised_by_as_many_nats_as_are_said(lengths: Lengths, data: st.DataObject) -> None:
    """Bayes' rule; between the lengths that are said on a straight line, and only among those that are possible."""
    part = lengths.given(data.draw(st.integers(1, lengths.longest)))
    at = sorted({part.least, part.longest})
    nats = [data.draw(st.floats(-900, 5)) for _ in at]
    tilted = part.tilted(at, nats)
    said = {n: float(np.interp(n, at, nats)) for n in range(part.least, part.longest + 1)}
    raised = {n: part.log_prob(n) + said[n] for n in said}
    total = np.logaddexp.reduce(list(raised.values()))
    for n in range(part.longest + 2):
        expected = math.exp(raised[n] - total) if n in raised else 0.0
        assert math.exp(tilted.log_prob(n)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_more_than_the_longest_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 6 tokens, and 7 are needed"):
        Lengths.from_lengths([2], 6).given(7)


@given(some)
@few
def test_json_gives_the_same_distribution_back(lengths: Lengths) -> None:
    for each in (lengths, lengths.given(lengths.longest)):
        assert Lengths.from_json(json.loads(json.dumps(each.to_json()))) == each


@pytest.mark.parametrize(
    "values",
    [{}, {"counts": []}, {"counts": "12"}, {"counts": [1, -1]}, {"counts": [1.5]}, {"counts": [True]}]
    + [{"counts": [1, 2], "least": least} for least in (0, 3, "1", None)],
)
def test_damaged_json_is_refused(values: dict) -> None:
    with pytest.raises(RunError, match="lengths of this run are damaged"):
        Lengths.from_json(values)
