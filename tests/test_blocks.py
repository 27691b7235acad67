"""Texts longer than the canvas: the law of blocks, and where kept keys and values change nothing."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product

import pytest
import torch

from mezzotint.net.attention import Cache
from mezzotint.net.transformer import Transformer
from mezzotint.process.absorbing import Absorbing
from mezzotint.process.schedule import LogLinear
from mezzotint.rng import Rng
from mezzotint.sampler.blocks import write_blocks
from mezzotint.sampler.decoders import rule
from mezzotint.sampler.drive import Counted, drive
from mezzotint.sampler.reuse import Reuse
from mezzotint.sampler.reveal import Reveal
from mezzotint.spec.mdlm import MDLMSpec
from mezzotint.spec.transformer import Positions, TransformerSpec
from mezzotint.systems.mdlm import MDLM
from mezzotint.types import Canvas, Decoder, Ending, Noised, Prediction, Request
from tests.oracle import MaskedOracle, blank, chi_square_p

# -- blocks -----------------------------------------------------------------------------------------------------------

STAY = (0.8, 0.6)
"""A chain of two tokens: the probability that each is followed by itself; 2/3 of the tokens are 0."""


def chain(length: int) -> dict[tuple[int, ...], float]:
    law = {}
    for text in product((0, 1), repeat=length):
        p = 2 / 3 if text[0] == 0 else 1 / 3
        for a, b in pairwise(text):
            p *= STAY[a] if a == b else 1 - STAY[a]
        law[text] = p
    return law


def windowed(window: int) -> MaskedOracle:
    """The exact denoiser of any `window` tokens of the chain."""
    law = chain(window)
    return MaskedOracle(list(law), list(law.values()), 2)


def prefixed(rows: int, length: int, prefix: list[int]) -> Canvas:
    canvas = blank(rows, length)
    canvas.ids[:, : len(prefix)] = torch.tensor(prefix, dtype=torch.int64)
    canvas.given[:, : len(prefix)] = True
    return canvas


def frames(denoise, step, canvas: Canvas, steps: int, window: int, block: int, seed: int = 0):
    counted, rng = Counted(denoise, canvas), Rng(seed, canvas.index.tolist())
    return list(write_blocks(counted, step, canvas, steps, rng, counted.calls, window=window, block=block))


@pytest.mark.parametrize(("window", "block"), [(3, 2), (3, 1), (4, 3), (2, 1)])
def test_where_the_past_out_of_sight_does_not_matter_blocks_are_exact(window, block):
    step = Reveal(Absorbing(LogLinear(), 2))
    last = frames(windowed(window), step, blank(6000, 6), 100_000, window, block)[-1]
    assert chi_square_p(Counter(map(tuple, last.ids.tolist())), chain(6)) > 1e-3


@pytest.mark.parametrize("decoder", list(Decoder))
@pytest.mark.parametrize("prefix", [[], [1, 0]])
def test_a_text_that_fits_the_window_is_written_as_if_there_were_no_blocks(decoder, prefix):
    step, canvas = rule(Absorbing(LogLinear(), 2), Request(blank(1, 5), decoder=decoder)), prefixed(20, 5, prefix)
    counted = Counted(windowed(5), canvas)
    *_, plain = drive(counted, step, canvas, 3, Rng(0, range(20)), counted.calls)
    first, last = frames(windowed(5), step, canvas, 3, window=5, block=5)
    for field in ("ids", "known", "confidence", "nfe"):
        assert torch.equal(getattr(plain, field), getattr(last, field))
    assert torch.equal(first.known, canvas.given) and not first.done and last.done


def test_each_window_shows_what_was_written_before_and_costs_are_summed():
    seen, asked = [], []

    def denoise(noised, cond, previous=None, at=None):
        seen.append((noised.z.shape[1], noised.z[0].tolist(), cond.start[0].tolist()))
        asked.append(len(at[0]))
        return Prediction(torch.tensor([[0.0, 30.0]]).expand(len(at[0]), 2))

    canvas = prefixed(2, 11, [0, 0, 1])
    canvas = Canvas(
        canvas.ids, canvas.given, canvas.real, canvas.index, torch.arange(11, dtype=torch.int8).repeat(2, 1)
    )
    found = frames(denoise, Reveal(Absorbing(LogLinear(), 2)), canvas, 1, window=5, block=4)
    assert [z for _, z, _ in seen] == [[0, 0, 1, 2, 2], [1, 2, 2, 2, 2], [1, 1, 1, 2, 2]]
    assert [start for _, _, start in seen] == [list(range(5)), list(range(4, 9)), list(range(6, 11))]
    assert asked == [4, 8, 4] and found[-1].nfe.tolist() == [3, 3]
    assert [f.step for f in found] == [0, 1, 2, 3] and {f.steps for f in found} == {3}
    assert [f.known.sum(1).tolist() for f in found] == [[3, 3], [5, 5], [9, 9], [11, 11]]
    assert found[-1].ids.tolist() == [[0, 0, 1] + [1] * 8] * 2
    assert found[-1].t.tolist() == [0, 0] and [f.done for f in found] == [False] * 3 + [True]


def test_a_prefix_longer_than_the_window_is_continued():
    last = frames(windowed(3), Reveal(Absorbing(LogLinear(), 2)), prefixed(4, 9, [0, 1, 0, 1, 0, 1]), 3, 3, 2)[-1]
    assert last.ids[:, :6].tolist() == [[0, 1, 0, 1, 0, 1]] * 4 and bool(last.known.all())


@pytest.mark.parametrize("decoder", list(Decoder))
def test_rows_and_blocks_draw_from_streams_of_their_own(decoder):
    step = rule(Absorbing(LogLinear(), 2), Request(blank(1, 3), decoder=decoder))
    together = frames(windowed(3), step, blank(12, 7), 3, 3, 2)[-1]
    alone = [frames(windowed(3), step, blank(1, 7, first=i), 3, 3, 2)[-1] for i in range(12)]
    assert torch.equal(torch.cat([f.ids for f in alone]), together.ids)
    assert torch.equal(torch.cat([f.nfe for f in alone]), together.nfe)
    # Independent fair tokens: no block repeats the draws of another.
    coins = MaskedOracle(list(product((0, 1), repeat=3)), [1.0] * 8, 2)
    ids = frames(coins, Reveal(Absorbing(LogLinear(), 2)), blank(4000, 9), 100, 3, 3)[-1].ids
    for a, b in ((0, 3), (3, 6), (1, 4)):
        assert abs(float((ids[:, a] == ids[:, b]).double().mean()) - 0.5) < 0.04


# -- kept keys and values ---------------------------------------------------------------------------------------------

V, WINDOW = 7, 8


def system(depth: int, positions: Positions = Positions.NONE, condition: int = 0) -> MDLM:
    net = TransformerSpec(dim=16, depth=depth, heads=2, positions=positions, condition=condition)
    made = MDLM(MDLMSpec(vocab=V, canvas=WINDOW, ending=Ending.LENGTH, net=net), None)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.net.parameters():
            p.normal_(0, 0.4, generator=g)
    made.net.double()
    return made


def written(made: MDLM, reuse: bool, steps: int, decoder: Decoder = Decoder.EXACT, prefix: int = 3):
    canvas = prefixed(6, 21, [1, 4, 2][:prefix])
    *_, last = made.sample(
        Request(canvas, steps=steps, decoder=decoder, strength=0.3, threshold=0.5, block=3, reuse=reuse)
    )
    return last


@pytest.mark.parametrize("decoder", list(Decoder))
@pytest.mark.parametrize("positions", list(Positions))
def test_kept_keys_of_a_network_of_one_block_are_exact(decoder, positions):
    made = system(1, positions)
    whole, kept = (written(made, reuse, 6, decoder) for reuse in (False, True))
    assert torch.equal(whole.ids, kept.ids) and torch.equal(whole.nfe, kept.nfe)
    assert torch.allclose(whole.confidence, kept.confidence, atol=1e-5)


@pytest.mark.parametrize("prefix", [0, 3])
@pytest.mark.parametrize("condition", [0, 8])
def test_the_first_call_of_a_block_is_exact_at_any_depth_and_later_ones_are_not(prefix, condition):
    made = system(3, condition=condition)
    whole, kept = (written(made, reuse, 1, prefix=prefix) for reuse in (False, True))
    assert torch.equal(whole.ids, kept.ids) and torch.allclose(whole.confidence, kept.confidence, atol=1e-5)
    whole, kept = (written(made, reuse, 6, prefix=prefix) for reuse in (False, True))
    assert not torch.allclose(whole.confidence, kept.confidence, atol=1e-3)


@torch.no_grad()
def test_kept_keys_of_a_causal_network_are_exact_at_any_depth_and_in_any_rows():
    net = Transformer(TransformerSpec(dim=16, depth=3, heads=2, causal=True), V + 1, V, WINDOW)
    net.initialise(torch.Generator().manual_seed(0)).double()
    g = torch.Generator().manual_seed(2)
    calls = []

    def forward(part, at, cache):
        calls.append(tuple(part.z.shape))
        return net(part.z, at=at, cache=cache)

    reuse = Reuse(forward, 3)
    z = torch.randint(0, V, (5, WINDOW), generator=g)
    canvas = blank(5, WINDOW, first=10)
    canvas.given[:, :5] = True
    for rows in ([0, 3], [0, 1, 2, 3, 4], [4, 1, 0], [2], [3, 0]):
        chosen = torch.tensor(rows)
        z[chosen, 5:] = torch.randint(0, V + 1, (len(rows), 3), generator=g)
        at = (torch.arange(len(rows)).repeat_interleave(2), torch.tensor([5, 7]).repeat(len(rows)))
        noised = Noised(z[chosen], torch.ones(len(rows)))
        found = reuse(noised, canvas.rows(chosen), None, at).logits
        assert torch.allclose(found, net(noised.z, at=at), atol=1e-12)
    # Two rows are read first, then the other three; from then on, only what follows the prefix.
    assert calls[:3] == [(2, 8), (2, 3), (3, 8)] and all(shape[1] == 3 for shape in calls[3:])
    calls.clear()
    z[1, 4] = (z[1, 4] + 1) % V
    at = (torch.arange(5), torch.full((5,), 6))
    noised = Noised(z, torch.ones(5))
    assert torch.allclose(reuse(noised, canvas, None, at).logits, net(z, at=at), atol=1e-12)
    assert any(shape[1] == 8 for shape in calls)


@torch.no_grad()
def test_what_comes_new_sees_what_is_kept_and_itself():
    """Without causality: the same as one call in which the kept positions cannot see the new ones."""
    net = system(1).net
    z = torch.randint(0, V + 1, (3, WINDOW), generator=torch.Generator().manual_seed(0))
    cache = Cache(1)
    cache.reserve(WINDOW)
    net(z[:, :5], cache=cache)
    assert torch.allclose(net(z[:, 5:], cache=cache), net(z)[:, 5:], atol=1e-12)
    cache.length = 5
    assert torch.allclose(net(z[:, 5:].flip(0), cache=cache)[1], net(z)[1, 5:], atol=1e-12)
