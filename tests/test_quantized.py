"""Weights of few values: the rules on given numbers, how gradients pass, and packing to the last bit."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file

from mezzotint.errors import RunError, UsageError
from mezzotint.net.codes import pack
from mezzotint.net.quantized import (
    Binary,
    Levels,
    Octaves,
    PowersOfTwo,
    QuantizedLinear,
    Ternary,
    projections,
    quantizer_of,
)
from mezzotint.space.quantized import QuantizedEmbedding
from mezzotint.spec.quantize import Kind, Quantize, QuantizeSpec
from mezzotint.training.quantized_file import read_packed, write_packed

KINDS = [Binary(), Ternary(), PowersOfTwo(0, 4), Levels(4)]


def weights(rows: int = 6, columns: int = 33, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)).to(dtype)


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers])


def test_the_rules_on_given_numbers():
    below_one = PowersOfTwo(0, 4)
    assert below_one.largest == 0.9375
    assert below_one(row(0.01, 0.3, 0.36, 0.8, -1.5)).tolist() == [[0.0078125, 0.25, 0.5, 0.9375, -0.9375]]
    assert below_one(row(0.0, 1e-30)).tolist() == [[0.0, 2.0**-100]]
    assert PowersOfTwo(4, 0)(row(0.8, -1.5, 3, 20)).tolist() == [[1, -2, 4, 8]]
    assert PowersOfTwo(8, 8).largest == 128 + 1 - 2**-8
    given = row(0.1, -0.2, 0.9, -1.0)
    assert Ternary()(given)[0].tolist() == pytest.approx([0, 0, 0.95, -0.95])
    assert Binary()(row(-3, -0.1, 0, 0.2)).tolist() == [[-1, -1, 0, 1]]
    assert Levels(3)(row(-1, -0.6, -0.4, 0.2, 1)).tolist() == [[-1, -1, 0, 0, 1]]


def test_ternary_rows_have_scales_of_their_own():
    rows = torch.cat([row(0.1, -0.2, 0.9, -1.0), 10 * row(0.1, -0.2, 0.9, -1.0)])
    assert torch.allclose(Ternary()(rows)[1], 10 * Ternary()(rows)[0])


def test_many_levels_are_no_quantisation():
    w = weights(dtype=torch.float64)
    gaps = [float((Levels(k)(w) - w).abs().max()) for k in (4, 256, 65_536)]
    width = float(w.max() - w.min())
    assert all(gap <= width / (2 * (k - 1)) * 1.001 for gap, k in zip(gaps, (4, 256, 65_536), strict=True))
    same = torch.full((2, 3), 0.7)
    assert torch.equal(Levels(4)(same), same)


def test_how_many_values_there_are():
    w = weights()
    assert len(Binary()(w).unique()) == 2
    assert [len(values.unique()) for values in Ternary()(w)] == [3] * len(w)
    assert len(Levels(4)(w).unique()) == 4
    powers = PowersOfTwo(0, 4)(w).abs().unique()
    assert all(math.log2(v).is_integer() or v == 0.9375 for v in powers.tolist())


@pytest.mark.parametrize("quantizer", KINDS, ids=lambda q: type(q).__name__)
def test_what_is_quantised_stays_so(quantizer):
    once = quantizer.values(weights())
    assert torch.allclose(quantizer.values(once), once)


@pytest.mark.parametrize("quantizer", KINDS, ids=lambda q: type(q).__name__)
def test_gradients_pass_as_if_nothing_were_rounded(quantizer):
    w, slope = weights().requires_grad_(), weights(seed=1)
    (quantizer(w) * slope).sum().backward()
    expected = torch.where(w.abs() <= 1, slope, 0.0) if isinstance(quantizer, Binary) else slope
    assert bool((w.abs() > 1).any()) and torch.equal(w.grad, expected)


def test_octaves_are_counted_from_the_greatest_weight_down():
    w = torch.tensor([[3.1, -1.0, 0.4], [0.3, -0.26, 0.0]])
    assert torch.equal(Octaves(4)(w), torch.tensor([[4.0, -1.0, 0.5], [0.0, 0.0, 0.0]]))
    assert torch.equal(Octaves(5)(w), torch.tensor([[4.0, -1.0, 0.5], [0.25, -0.25, 0.0]]))
    assert len(Octaves(7)(torch.randn(64, 64)).unique()) <= 15, "four bits tell them apart"
    assert torch.equal(Octaves(7)(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_zero_weights_get_finite_values_and_gradients():
    for quantizer in KINDS:
        w = torch.zeros(2, 3, requires_grad=True)
        out = quantizer(w)
        out.sum().backward()
        assert torch.equal(out, torch.zeros(2, 3)) and torch.equal(w.grad, torch.ones(2, 3))


def test_a_spec_names_its_quantiser_and_refuses_none():
    kinds = {Kind.BINARY: Binary, Kind.TERNARY: Ternary, Kind.POW2: PowersOfTwo, Kind.LEVELS: Levels}
    found = {kind: type(quantizer_of(QuantizeSpec(quantize=Quantize.BOTH, kind=kind))) for kind in Kind}
    assert found == kinds
    with pytest.raises(UsageError, match="leaves all in full"):
        QuantizeSpec(quantize=Quantize.NONE, kind=Kind.POW2)
    assert QuantizeSpec(quantize=Quantize.BOTH).of_table and QuantizeSpec(quantize=Quantize.BOTH).of_projections
    assert not QuantizeSpec(quantize=Quantize.TABLE).of_projections and not QuantizeSpec().of_table
    for wrong in ({"levels": 1}, {"whole": 0, "fraction": 0}, {"whole": -1}):
        with pytest.raises(UsageError):
            QuantizeSpec(**wrong)


# ---- layers ----------------------------------------------------------------------------------------------------------


def test_a_layer_multiplies_with_the_values_and_keeps_its_bias():
    layer = QuantizedLinear(5, 3, Ternary())
    layer.initialise(torch.Generator().manual_seed(0))
    torch.nn.init.normal_(layer.bias)
    x = weights(2, 5)
    assert torch.equal(layer(x), torch.nn.functional.linear(x, Ternary().values(layer.weight), layer.bias))


def test_signs_begin_within_reach_of_the_gradient_and_others_small():
    layers = [QuantizedLinear(400, 30, quantizer) for quantizer in (Binary(), Ternary())]
    for layer in layers:
        layer.initialise(torch.Generator().manual_seed(0))
    assert 0.99 < float(layers[0].weight.detach().abs().max()) <= 1
    assert float(layers[1].weight.detach().std()) == pytest.approx(0.05, rel=0.05)


def test_projections_have_the_layers_asked_for():
    for layers, shapes in ((1, [(7, 3)]), (2, [(5, 3), (7, 5)])):
        made = projections(lambda i, o: QuantizedLinear(i, o, Ternary()), layers)(3, 5, 7, torch.nn.Tanh)
        found = [tuple(m.weight.shape) for m in made.modules() if isinstance(m, QuantizedLinear)]
        assert found == shapes and made(torch.zeros(2, 3)).shape == (2, 7)


def test_a_quantised_table_is_read_and_learned_through_its_quantiser():
    space = QuantizedEmbedding(9, 4, Ternary())
    space.initialise(torch.Generator().manual_seed(0))
    assert not torch.equal(space.vectors, space.table)
    assert torch.equal(space.vectors, Ternary().values(space.table))
    ids = torch.tensor([[1, 1, 8]])
    assert torch.equal(space.clean(ids), space.vectors[ids])
    space.clean(ids).sum().backward()
    assert space.table.grad.sum(1).tolist() == [0, 8, 0, 0, 0, 0, 0, 0, 4]
    x = weights(2, 4)
    assert torch.equal(space.logits(x), x @ space.vectors.T)


# ---- packing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(6, 33), (1, 1), (5, 8)])
@pytest.mark.parametrize("quantizer", [*KINDS, Levels(200)], ids=lambda q: type(q).__name__)
def test_packing_gives_back_every_bit(quantizer, shape, dtype):
    w = weights(*shape, dtype=dtype)
    packed = pack(w, quantizer)
    assert packed.unpack().dtype == dtype and torch.equal(packed.unpack(), quantizer.values(w))


def test_packed_sizes():
    w = weights(64, 128)
    sizes = {type(q).__name__: (pack(w, q).bits, pack(w, q).size) for q in KINDS}
    codes = 64 * 128 // 8
    assert sizes["Binary"] == (1, codes + 2 * 4)
    assert sizes["Ternary"] == (2, 2 * codes + 3 * 4 + 64 * 4)
    assert sizes["Levels"] == (2, 2 * codes + 4 * 4)
    assert pack(w, Levels(65_536)) is None
    # A sign of exactly 0 is a third value, and takes a second bit.
    zero = w.clone()
    zero[0, 0] = 0
    assert pack(zero, Binary()).bits == 2 and float(pack(zero, Binary()).unpack()[0, 0]) == 0


def network(quantizer, seed: int = 0) -> torch.nn.Module:
    net = torch.nn.Module()
    net.table, net.layer = QuantizedEmbedding(50, 32, quantizer), QuantizedLinear(32, 64, quantizer)
    net.plain = torch.nn.Linear(4, 4)
    for part in (net.table, net.layer):
        part.initialise(torch.Generator().manual_seed(seed))
    return net


@pytest.mark.parametrize("quantizer", [*KINDS, Levels(65_536)], ids=lambda q: type(q).__name__)
def test_a_packed_file_gives_the_very_same_network(quantizer, tmp_path):
    one, other = network(quantizer), network(quantizer, seed=1)
    write_packed(tmp_path / "small", {"model": one})
    read_packed(tmp_path / "small", {"model": other})
    x = weights(3, 32)
    assert torch.equal(one.table.vectors, other.table.vectors) and torch.equal(one.layer(x), other.layer(x))
    assert torch.equal(one.plain.weight, other.plain.weight)


def test_a_packed_file_is_as_small_as_its_codes(tmp_path):
    count = 50 * 32 + 32 * 64
    others = 4 * (50 + 64 + 20)  # biases, and the layer that is not quantised
    sizes = {bits: write_packed(tmp_path / "a", {"m": network(q)}) for bits, q in ((1, Binary()), (2, Ternary()))}
    scales = {1: 0, 2: 4 * (50 + 64)}
    for bits, size in sizes.items():
        header = size - count * bits // 8 - others - scales[bits]
        assert 0 < header < 1500


def test_packed_files_that_are_damaged_are_refused_in_a_sentence(tmp_path):
    path, net = tmp_path / "small", {"m": network(Ternary())}
    with pytest.raises(RunError, match="missing"):
        read_packed(path, net)
    path.write_bytes(b"nothing")
    with pytest.raises(RunError, match="damaged"):
        read_packed(path, net)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(RunError, match="no packed network"):
        read_packed(path, net)
    for shapes in ('{"m.table.table": [50, 32]}', '{"m.table.table": 3}', "[]"):
        save_file({"a": torch.zeros(2)}, path, metadata={"shapes": shapes})
        with pytest.raises(RunError, match="damaged"):
            read_packed(path, net)
    write_packed(path, net)
    wider = {"m": torch.nn.Module()}
    with pytest.raises(RunError, match="unknown"):
        read_packed(path, wider)
