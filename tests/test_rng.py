"""Every example has its own stream, and no two uses share numbers."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.rng import Rng


@given(st.integers(0, 2**63), st.lists(st.integers(0, 2**40), min_size=1, max_size=5, unique=True))
@settings(max_examples=50, deadline=None)
def test_a_rows_numbers_depend_on_neither_batch_nor_shape(seed, index):
    together = Rng(seed, index, "use").uniform(4, 3).view(len(index), 12)
    alone = torch.cat([Rng(seed, [i], "use").uniform(20) for i in index])
    assert torch.equal(together, alone[:, :12])


def test_numbers_are_uniform_and_streams_unrelated():
    u = Rng(0, range(400), "a").uniform(500)
    counts = torch.histc(u.flatten(), 100, 0, 1)
    chi = float(((counts - 2000) ** 2 / 2000).sum())
    assert 50 < chi < 165
    others = (Rng(0, range(400), "b"), Rng(1, range(400), "a"), Rng(0, range(400, 800), "a"))
    for other in (*(o.uniform(500) for o in others), u.roll(1, 0), u.roll(1, 1)):
        correlation = float(torch.corrcoef(torch.stack([u.flatten(), other.flatten()]))[0, 1])
        assert abs(correlation) < 5 / 200_000**0.5


def test_normals_are_standard_normal():
    z = Rng(3, range(200)).normal(500).flatten()
    assert bool(z.isfinite().all())
    for moment, expected, tolerance in ((1, 0, 0.016), (2, 1, 0.025), (3, 0, 0.06), (4, 3, 0.16)):
        assert abs(float((z**moment).mean()) - expected) < tolerance


def test_stratified_times_put_one_draw_in_each_stratum_of_the_global_batch():
    whole = Rng(5, range(8), "t", total=8).stratified()
    assert torch.equal((whole * 8).floor().sort().values, torch.arange(8.0, dtype=torch.float64))
    parts = [Rng(5, range(i, i + 4), "t", total=8).stratified() for i in (0, 4)]
    assert torch.equal(torch.cat(parts), whole)


def test_every_place_of_a_batch_gets_every_time_in_the_long_run():
    u = torch.stack([Rng(0, range(6), f"train/{step}", total=6).stratified() for step in range(2000)])
    assert bool(((u.mean(0) - 0.5).abs() < 5 * (1 / 12 / 2000) ** 0.5).all())
    assert bool((u.std(0) > 0.27).all())


def test_without_a_batch_times_are_independent_whatever_the_index():
    u = Rng(0, range(10_000, 14_000), "bound").stratified()
    assert float(u.min()) >= 0 and float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 5 * (1 / 12 / 4000) ** 0.5


def test_purposes_are_paths():
    assert Rng(0, [0]).at("a").at(1) == Rng(0, [0], "/a/1")
    assert not torch.equal(Rng(0, [0]).at("a").uniform(4), Rng(0, [0]).at("b").uniform(4))
