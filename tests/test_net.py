"""The transformer's invariances: padding, batch, cache, causality, and the two forms of attention."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mezzotint.net import attention
from mezzotint.net.attention import Cache, Rotary, attend, visibility
from mezzotint.net.transformer import Transformer
from mezzotint.spec.transformer import Positions, TransformerSpec

V, L = 11, 9


def network(**settings) -> Transformer:
    spec = TransformerSpec(dim=16, depth=2, heads=2, **settings)
    net = Transformer(spec, V + 1, V, L + 4).initialise(torch.Generator().manual_seed(0)).double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("bias") or "modulation" in name:
                p.normal_(0, 0.3, generator=g)
    return net


def ids(rows: int) -> torch.Tensor:
    return torch.randint(0, V + 1, (rows, L), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("positions", list(Positions))
@pytest.mark.parametrize("condition", [0, 8])
@pytest.mark.parametrize("neighbours", [0, 5])
@torch.no_grad()
def test_padding_and_batch_change_nothing(positions, condition, neighbours):
    net = network(positions=positions, condition=condition, neighbours=neighbours)
    x, lengths = ids(4), [9, 5, 1, 7]
    real = torch.arange(L) < torch.tensor(lengths)[:, None]
    sigma = torch.tensor([0.1, 2.0, 0.7, 5.0], dtype=torch.float64) if condition else None
    together = net(x, sigma, real)
    for b, n in enumerate(lengths):
        alone = net(x[b : b + 1, :n], None if sigma is None else sigma[b : b + 1])
        assert torch.allclose(together[b, :n], alone[0], atol=1e-12)
    noisy = torch.where(real, x, (x + 3) % V)
    assert torch.equal(net(noisy, sigma, real)[real], together[real])


@torch.no_grad()
def test_logits_at_some_places_are_those_of_all():
    net, x = network(condition=8), ids(3)
    sigma = torch.rand(3, dtype=torch.float64)
    rows, places = torch.tensor([0, 2, 2]), torch.tensor([4, 0, 8])
    assert torch.allclose(net(x, sigma, at=(rows, places)), net(x, sigma)[rows, places], atol=1e-12)


@pytest.mark.parametrize("positions", [Positions.NONE, Positions.START])
@pytest.mark.parametrize("neighbours", [0, 4])
@torch.no_grad()
def test_cached_is_naive(positions, neighbours):
    net, x = network(causal=True, positions=positions, neighbours=neighbours), ids(3)
    whole = net(x)
    cache = Cache(2)
    cache.reserve(L)
    pieces = [net(x[:, :4], cache=cache), net(x[:, 4:6], cache=cache)]
    cache.rows(torch.tensor([2, 0]))
    pieces = [p[[2, 0]] for p in pieces] + [net(x[[2, 0], a:b], cache=cache) for a, b in ((6, 7), (7, L))]
    assert torch.allclose(torch.cat(pieces, dim=1), whole[[2, 0]], atol=1e-12)


@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_a_factored_lookup_is_the_lookup_of_the_product(tied):
    narrow, wide = network(factor=3, tied=tied), network(tied=tied)
    shared = {k: v for k, v in narrow.state_dict().items() if k not in ("embed.weight", "widen.weight")}
    wide.load_state_dict(shared | {"embed.weight": narrow.embed.weight @ narrow.widen.weight.T})
    assert torch.allclose(narrow(ids(3)), wide(ids(3)), atol=1e-12)
    assert narrow.embed.weight.shape == (V + 1, 3)


@torch.no_grad()
def test_a_factored_lookup_begins_as_large_as_another():
    spec = TransformerSpec(dim=64, depth=1, heads=2, factor=8)
    net = Transformer(spec, 2000, 2000, L).initialise(torch.Generator().manual_seed(0))
    assert float((net.embed.weight @ net.widen.weight.T).std()) == pytest.approx(0.02, rel=0.05)


@torch.no_grad()
def test_neighbours_are_those_on_either_side_or_those_before():
    for causal, reached in ((False, [3, 4, 5]), (True, [4, 5, 6])):
        net = network(causal=causal, neighbours=3)
        vectors = torch.zeros(1, L, 16, dtype=torch.float64)
        vectors[0, 4] = 1
        mixed = net.neighbours(vectors, None, None) - vectors
        assert mixed[0].abs().sum(-1).nonzero()[:, 0].tolist() == reached


@torch.no_grad()
def test_a_causal_network_does_not_look_ahead_and_another_does():
    x = ids(2)
    y = x.clone()
    y[:, 6:] = (y[:, 6:] + 1) % V
    causal, both = network(causal=True, neighbours=3), network(neighbours=3)
    assert torch.equal(causal(x)[:, :6], causal(y)[:, :6])
    assert not torch.allclose(both(x)[:, :6], both(y)[:, :6])


@torch.no_grad()
def test_edges_tell_the_places_of_a_masked_canvas_apart_and_rotary_alone_cannot():
    masks = torch.full((1, 6), V)
    alike = network()(masks)[0]
    assert torch.allclose(alike, alike[:1].expand_as(alike), atol=1e-12)
    apart = network(positions=Positions.EDGES)(masks)[0]
    assert (apart[:, None] - apart[None]).abs().amax(-1)[~torch.eye(6, dtype=torch.bool)].min() > 1e-4


def test_rotary_scores_depend_on_the_distance_only():
    q, k = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turn = Rotary(8, 20, q)
    scores = turn(q.expand(20, 8)) @ turn(k.expand(20, 8)).T
    for offset in (-3, 0, 4):
        diagonal = scores.diagonal(offset)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal))
    assert torch.allclose(Rotary(8, 3, q, first=5)(q.expand(3, 8)), turn(q.expand(20, 8))[5:8])


def test_written_out_attention_is_the_fused_one(monkeypatch):
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, 7, 8, generator=g, dtype=torch.float64) for _ in range(3))
    real = torch.arange(7) < torch.tensor([[7], [4]])
    for causal in (False, True):
        bias = visibility(real, causal, 7, q)
        fused = attend(q, k, v, bias)
        assert torch.allclose(fused, F.scaled_dot_product_attention(q, k, v, attn_mask=bias))
        monkeypatch.setitem(attention.WRITTEN_OUT, torch.float64, 7)
        monkeypatch.setattr(attention.F, "scaled_dot_product_attention", None)
        assert torch.allclose(fused, attend(q, k, v, bias))
        monkeypatch.undo()


@torch.no_grad()
def test_fresh_conditioned_networks_ignore_the_time():
    spec = TransformerSpec(dim=16, depth=2, heads=2, condition=8)
    net = Transformer(spec, V, V, L).initialise(torch.Generator().manual_seed(0))
    x = ids(2) % V
    assert torch.equal(net(x, torch.zeros(2)), net(x, torch.full((2,), 3.0)))
