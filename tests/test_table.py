"""Standard errors follow their formulas, and tables show what they were given."""

from __future__ import annotations

import json
import math
from statistics import stdev

import numpy as np
import pytest

from mezzotint.errors import UsageError
from mezzotint.evaluate.table import (
    Score,
    bootstrap_stderr,
    figures,
    jackknife_stderr,
    ratio,
    records,
    render,
)


def test_mean_and_its_standard_error() -> None:
    score = Score.mean("x", [1.0, 2.0, 3.0, 6.0])
    assert score.value == 3.0
    assert score.stderr == pytest.approx(stdev([1, 2, 3, 6]) / 2)
    assert score.n == 4


def test_one_text_has_no_standard_error_and_none_has_no_mean() -> None:
    assert Score.mean("x", [4.0]) == Score("x", 4.0, None, 1)
    assert math.isnan(Score.mean("x", []).value)
    assert bootstrap_stderr([1.0]) is None
    assert jackknife_stderr([1.0]) is None


def test_ratio_weighs_texts_by_their_size() -> None:
    assert Score.ratio("x", [1.0, 0.0], [1.0, 9.0]).value == pytest.approx(0.1)
    assert math.isnan(Score.ratio("x", [0.0, 0.0], [0.0, 0.0]).value)


def test_bootstrap_agrees_with_the_formula_for_a_mean() -> None:
    values = np.random.default_rng(1).normal(size=300)
    exact = values.std(ddof=1) / math.sqrt(300)
    assert bootstrap_stderr(values, seed=0) == pytest.approx(exact, rel=0.1)


def test_bootstrap_of_a_ratio_agrees_with_the_delta_method() -> None:
    rng = np.random.default_rng(2)
    whole = rng.integers(5, 30, size=400).astype(float)
    part = 2 * whole + rng.normal(size=400) * whole
    residual = part - part.sum() / whole.sum() * whole
    exact = math.sqrt((residual**2).sum()) / whole.sum()
    assert bootstrap_stderr(np.column_stack([part, whole]), ratio, seed=0) == pytest.approx(exact, rel=0.1)


def test_bootstrap_shrinks_like_one_over_root_n() -> None:
    values = np.random.default_rng(3).exponential(size=6400)
    small, large = bootstrap_stderr(values[:400], seed=0), bootstrap_stderr(values, seed=0)
    assert small is not None and large is not None
    assert small / large == pytest.approx(4, rel=0.2)


def test_bootstrap_is_a_function_of_its_seed() -> None:
    values = np.arange(20.0)
    assert bootstrap_stderr(values, seed=5) == bootstrap_stderr(values, seed=5)
    assert bootstrap_stderr(values, seed=5) != bootstrap_stderr(values, seed=6)


def test_jackknife_of_a_mean_is_the_formula() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    without = (values.sum() - values) / 3
    assert jackknife_stderr(without) == pytest.approx(values.std(ddof=1) / 2)


@pytest.mark.parametrize(
    ("value", "stderr", "expected"),
    [
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (1.23456, None, "1.235"),
        (104.9, None, "104.9"),
        (104.94, 2.31, "104.9 ± 2.3"),
        (0.0, 0.0, "0"),
        (-0.5, 0.1, "-0.50 ± 0.10"),
        (12345.6, 230.0, "12346 ± 230"),
        (float("nan"), None, "–"),
    ],
)
def test_figures_are_as_precise_as_they_are_known(value: float, stderr: float | None, expected: str) -> None:
    assert figures(value, stderr) == expected


def test_render_sets_columns_side_by_side() -> None:
    ours = [Score("judge_nll", 1.5, 0.1, 64, "judge a 12345678"), Score("valid_share", 0.75, None, 60, "4 unread")]
    data = [Score("judge_nll", 1.25, 0.05, 64, "judge a 12345678")]
    lines = render({"16 steps": ours, "data": data}).splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["16", "steps", "(n", "64)", "data", "(n", "64)"],
        ["judge_nll", "1.50", "±", "0.10", "1.250", "±", "0.050"],
        ["valid_share", "0.7500", "(n", "60)"],
    ]
    assert lines[1].index("1.250") == lines[0].index("data")
    assert lines[3:] == ["  judge_nll: judge a 12345678", "  valid_share (16 steps): 4 unread"]


def test_render_refuses_two_judges() -> None:
    a, b = Score("judge_nll", 1.0, None, 1, judge="a 1"), Score("judge_nll", 1.0, None, 1, judge="b 2")
    with pytest.raises(UsageError, match="a 1, b 2"):
        render({"x": [a], "data": [b]})


def test_records_are_plain_json() -> None:
    found = records({"data": [Score("x", float("nan"), float("inf"), 3, "not reached")]})
    assert json.loads(json.dumps(found, allow_nan=False)) == [
        {"column": "data", "name": "x", "value": None, "stderr": None, "n": 3, "note": "not reached", "judge": ""}
    ]
