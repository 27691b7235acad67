"""Judge scores weigh tokens, and matched entropy interpolates without guessing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mezzotint.errors import UsageError
from mezzotint.evaluate.diversity import entropies
from mezzotint.evaluate.fluency import Swept, fluency, matched_sweep, nll_at_entropy
from mezzotint.evaluate.words import words


class LengthJudge:
    """Asks 1 nat for each character and 3 for the end."""

    name, sha8 = "letters", "0123abcd"

    def token_nll(self, texts: Sequence[str]) -> list[NDArray[np.float64]]:
        return [np.array([1.0] * len(text) + [3.0]) for text in texts]


class SpreadJudge(LengthJudge):
    """Asks as many nats for every word as the text's entropy times ten, and nothing for the end."""

    def token_nll(self, texts: Sequence[str]) -> list[NDArray[np.float64]]:
        spread = entropies([words(text) for text in texts])
        return [np.full(len(text.split()) + 1, 10 * entropy) for text, entropy in zip(texts, spread, strict=True)]


def test_judge_nll_is_a_ratio_of_sums() -> None:
    nll, perplexity = fluency(["abc", "a"], LengthJudge())
    assert nll.value == pytest.approx((3 + 3 + 1 + 3) / (4 + 2))
    assert perplexity.value == pytest.approx(math.exp(10 / 6))
    assert (nll.name, perplexity.name, nll.n) == ("judge_nll", "perplexity", 2)
    assert nll.judge == perplexity.judge == "letters 0123abcd"
    assert nll.note == "judge letters 0123abcd"


def test_error_of_perplexity_follows_from_that_of_nll() -> None:
    rng = np.random.default_rng(0)
    nll, perplexity = fluency(["x" * int(n) for n in rng.integers(1, 12, size=400)], LengthJudge())
    assert nll.stderr is not None and perplexity.stderr is not None
    assert perplexity.stderr == pytest.approx(nll.stderr * perplexity.value, rel=0.05)


def test_empty_texts_are_scored_and_counted() -> None:
    nll, _ = fluency(["", "ab", ""], LengthJudge())
    assert nll.value == pytest.approx((3 + 5 + 3) / 5)
    assert nll.note.endswith("empty texts: 2 of 3")


def test_no_texts_is_an_error() -> None:
    with pytest.raises(UsageError, match="no texts"):
        list(fluency([], LengthJudge()))


LINE = [(t, 2 + t, 5 * (2 + t) - 1) for t in (0.6, 0.7, 0.8, 0.9, 1.0)]


@pytest.mark.parametrize("target", [2.6, 2.65, 2.777, 3.0])
def test_matched_entropy_is_exact_on_a_line(target: float) -> None:
    assert nll_at_entropy(LINE[::-1], target) == pytest.approx(5 * target - 1)


def test_points_are_neighbours_by_temperature() -> None:
    curve = [(0.6, 1.0, 1.0), (0.8, 3.0, 2.0), (1.0, 4.0, 9.0)]
    for order in ([0, 1, 2], [0, 2, 1], [1, 2, 0]):
        assert nll_at_entropy([curve[i] for i in order], 2.0) == 1.5


@pytest.mark.parametrize("target", [2.59, 3.01])
def test_matched_entropy_never_extrapolates(target: float) -> None:
    assert nll_at_entropy(LINE, target) is None
    sweep = [Swept(t, np.array([[entropy, nll, 1.0]]), "a 1") for t, entropy, nll in LINE]
    score = matched_sweep(sweep, target, draws=2)
    assert math.isnan(score.value)
    assert "not reached; the sweep spans 2.600 to 3.000" in score.note


def test_matched_entropy_of_too_few_points_is_not_reached() -> None:
    assert nll_at_entropy(LINE[:1], 2.6) is None and nll_at_entropy([], 2.6) is None
    assert "not reached" in matched_sweep([], 2.6).note


def test_a_curve_that_wavers_is_given_its_worst_crossing() -> None:
    assert nll_at_entropy([(0.5, 1.0, 1.0), (0.6, 3.0, 2.0), (0.7, 1.0, 9.0)], 2.0) == pytest.approx(5.5)


def texts_of(distinct: float, seed: int, n: int = 120) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(str(i) for i in rng.integers(0, 1 + round(distinct), size=12)) for _ in range(n)]


def test_sweep_interpolates_and_errs_only_off_the_curve() -> None:
    few = [Swept.of(t, texts_of(20 * t, i), SpreadJudge()) for i, t in enumerate((0.2, 0.4, 0.8))]
    many = [Swept.of(t, texts_of(20 * t, i, n=1920), SpreadJudge()) for i, t in enumerate((0.2, 0.4, 0.8))]
    target = (few[0].point[1] + few[1].point[1]) / 2
    score, sharp = matched_sweep(few, target, draws=200), matched_sweep(many, target, draws=200)
    assert score.value == pytest.approx(10 * target)
    assert score.value == nll_at_entropy([s.point for s in few], target)
    assert (score.n, score.judge) == (120, "letters 0123abcd")
    assert score.stderr is not None and score.stderr < 1e-9, "NLL here is a function of entropy alone"
    assert sharp.value == pytest.approx(10 * target)


def test_error_of_a_sweep_is_that_of_the_judge_where_entropy_is_fixed() -> None:
    rng = np.random.default_rng(0)
    rows = [np.column_stack([np.full(900, t), rng.normal(5, 1, size=900), np.ones(900)]) for t in (1.0, 2.0)]
    sweep = [Swept(1.0, rows[0], "a 1"), Swept(2.0, rows[1], "a 1")]
    middle, edge = matched_sweep(sweep, 1.5), matched_sweep(sweep, 1.0)
    assert edge.stderr == pytest.approx(1 / 30, rel=0.2)
    assert middle.stderr == pytest.approx(1 / 30 / math.sqrt(2), rel=0.2)


def test_texts_of_one_place_are_resampled_together() -> None:
    nll = np.random.default_rng(0).normal(5, 1, size=900)
    sweep = [Swept(t, np.column_stack([np.full(900, t), nll, np.ones(900)]), "a 1") for t in (1.0, 2.0)]
    assert matched_sweep(sweep, 1.5).stderr == pytest.approx(1 / 30, rel=0.2)


def test_a_sweep_that_falls_short_says_so() -> None:
    score = matched_sweep([Swept.of(t, texts_of(5 * t, 0), SpreadJudge()) for t in (0.2, 0.4)], 3.0, draws=20)
    assert math.isnan(score.value) and score.stderr is None
    assert "not reached" in score.note


def test_a_sweep_has_one_judge() -> None:
    texts = np.ones((3, 3))
    with pytest.raises(UsageError, match="one judge"):
        matched_sweep([Swept(0.5, texts, "a 1"), Swept(1.0, texts, "b 2")], 1.0)
