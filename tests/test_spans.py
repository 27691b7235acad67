"""Which positions are given in training."""

from __future__ import annotations

from itertools import pairwise

import torch

from mezzotint.data.spans import given_either, given_singly, given_spans
from mezzotint.rng import Rng

LENGTHS = torch.tensor([40, 7, 1, 2] * 2000)
REAL = torch.arange(40) < LENGTHS[:, None]


def runs(row: list[bool]) -> int:
    return 1 + sum(a != b for a, b in pairwise(row))


def test_spans_have_the_law_of_the_paper():
    given = given_spans(REAL, 5, Rng(0, range(len(REAL))))
    assert not bool((given & ~REAL).any())
    whole = given[LENGTHS == 40]
    spans = torch.tensor([runs(row) for row in whole.tolist()])
    empty = ~whole.any(1)
    assert set(spans.tolist()) == {1, 2, 3, 4, 5}
    for n in range(1, 6):
        assert abs(float((spans == n).float().mean()) - 0.2) < 0.03
    assert torch.equal(empty, spans == 1)
    assert abs(float(whole[~empty].float().mean()) - 0.5) < 0.02
    assert abs(float(whole[~empty, 0].float().mean()) - 0.5) < 0.04


def test_one_span_gives_nothing_and_short_texts_get_what_they_can_have():
    assert not bool(given_spans(REAL, 1, Rng(0, range(len(REAL)))).any())
    given = given_spans(REAL, 5, Rng(0, range(len(REAL))))
    assert not bool(given[LENGTHS == 1].any())
    two = given[LENGTHS == 2][:, :2]
    assert bool((two.sum(1) <= 1).all())


def test_cuts_fall_everywhere_alike():
    given = given_spans(REAL[::4], 2, Rng(1, range(2000)))
    cut = torch.tensor([next(i for i in range(1, 40) if r[i] != r[0]) for r in given.tolist() if any(r)])
    counts = torch.bincount(cut, minlength=40)[1:].double()
    expected = counts.sum() / 39
    assert float(((counts - expected) ** 2 / expected).sum()) < 39 + 4 * (2 * 39) ** 0.5


def test_a_text_is_cut_alike_in_any_batch():
    whole = given_spans(REAL[:8], 5, Rng(3, range(8)))
    alone = given_spans(REAL[5:6], 5, Rng(3, [5]))
    assert torch.equal(whole[5], alone[0])


def test_given_singly_every_share_is_as_likely_and_no_place_is_preferred():
    given = given_singly(REAL, Rng(0, range(len(REAL))))
    assert not bool((given & ~REAL).any())
    counts = torch.bincount(given[LENGTHS == 7].sum(1), minlength=8).double()
    # A uniform rate makes every number of given positions as likely: 2,000 texts over 8 numbers.
    assert float(((counts - 250) ** 2 / 250).sum()) < 7 + 4 * 14**0.5
    places = given[LENGTHS == 40].double().mean(0)
    assert float((places - 0.5).abs().max()) < 0.05


def test_a_share_of_the_texts_is_given_singly():
    rng = Rng(0, range(len(REAL)))
    assert torch.equal(given_either(REAL, 5, 0.0, rng), given_spans(REAL, 5, rng))
    assert torch.equal(given_either(REAL, 5, 1.0, rng), given_singly(REAL, rng))
    mixed = given_either(REAL, 5, 0.25, rng)
    in_spans = (mixed == given_spans(REAL, 5, rng)).all(1)
    assert abs(float((~in_spans[LENGTHS == 40]).double().mean()) - 0.25) < 0.04
