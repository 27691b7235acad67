"""QE-CDLM: unquantised it is Diffusion-LM to the bit; quantised, what has few values, and that all of it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mezzotint.data.lengths import Lengths
from mezzotint.errors import UsageError
from mezzotint.net.quantized import QuantizedLinear
from mezzotint.recipes.qe_cdlm import base, tiny
from mezzotint.rng import Rng
from mezzotint.spec.diffusion_lm import DiffusionLMSpec
from mezzotint.spec.qe_cdlm import QECDLMSpec
from mezzotint.spec.quantize import Kind, Quantize, QuantizeSpec
from mezzotint.spec.recipe import Corpus
from mezzotint.spec.transformer import Positions, TransformerSpec
from mezzotint.systems.diffusion_lm import DiffusionLM
from mezzotint.systems.qe_cdlm import QECDLM, network
from mezzotint.types import Canvas, Decoder, Ending, Layout, Request

V, L, W = 11, 9, 4
COMMON = {
    "vocab": V, "canvas": L, "ending": Ending.LENGTH, "width": W,
    "net": TransformerSpec(dim=16, depth=1, heads=2, positions=Positions.EDGES, neighbours=3),
}  # fmt: skip
LENGTHS = Lengths.from_lengths([3, 9, 9, 5], 9)


FULL = QuantizeSpec(quantize=Quantize.NONE)


def system(few: QuantizeSpec = FULL, **settings) -> QECDLM:
    made = QECDLM(QECDLMSpec(**COMMON, few=few, **settings), LENGTHS)
    made.initialise(0)
    return made


def texts(rows: int = 4) -> Canvas:
    g = torch.Generator().manual_seed(3)
    real = torch.arange(L) < torch.tensor([9, 4, 7, 1] * rows)[:rows, None]
    ids = torch.randint(0, V, (rows, L), generator=g) * real
    return Canvas(ids, torch.zeros_like(real), real, torch.arange(rows))


def test_unquantised_it_is_diffusion_lm_to_the_bit():
    theirs, ours = DiffusionLM(DiffusionLMSpec(**COMMON), LENGTHS), system()
    theirs.initialise(0)
    weights = theirs.net.state_dict()
    assert list(weights) == list(ours.net.state_dict())
    assert all(torch.equal(weights[name], tensor) for name, tensor in ours.net.state_dict().items())
    rng, batch = Rng(0, range(4), "train/1", 4), texts()
    (one,), (other,) = theirs.losses(batch, rng), ours.losses(batch, rng)
    assert torch.equal(one.total, other.total)
    one.total.backward(), other.total.backward()
    grads = [{k: p.grad for k, p in made.net.named_parameters()} for made in (theirs, ours)]
    assert all(torch.equal(grads[0][k], grads[1][k]) for k in grads[0] if grads[0][k] is not None)
    with torch.no_grad():
        assert torch.equal(theirs.nll(batch, rng), ours.nll(batch, rng))
        for decoder in (Decoder.EXACT, Decoder.DDIM):
            (*_, a), (*_, b) = (m.sample(Request(batch, steps=5, seed=2, decoder=decoder)) for m in (theirs, ours))
            assert torch.equal(a.ids, b.ids)


@pytest.mark.parametrize("quantize", list(Quantize))
def test_what_is_quantised_and_how_deep(quantize):
    made = system(QuantizeSpec(quantize=quantize))
    rounded = [name for name, m in made.net.named_modules() if isinstance(m, QuantizedLinear)]
    few = quantize in (Quantize.PROJECTIONS, Quantize.BOTH)
    assert rounded == (["body.enter", "body.time", "body.leave"] if few else [])
    values = [len(row.unique()) for row in made.net.space.vectors.detach()]
    assert max(values) <= 3 if quantize in (Quantize.TABLE, Quantize.BOTH) else min(values) == W
    # Blocks, norms and places are never touched.
    assert all(not isinstance(m, QuantizedLinear) for m in made.net.body.blocks.modules())


def test_the_layers_of_the_ablation():
    """Two layers in full, one layer in full, one and two layers quantised."""
    full, few = FULL, QuantizeSpec(quantize=Quantize.PROJECTIONS)
    for spec, layers, shapes in ((full, 0, 6), (full, 1, 3), (few, 0, 3), (few, 2, 6)):
        made = system(spec, layers=layers).net.body
        assert (
            sum(isinstance(m, torch.nn.Linear) for p in (made.enter, made.time, made.leave) for m in p.modules())
            == shapes
        )


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_learns_from_every_weight_and_writes(kind):
    made, batch = system(QuantizeSpec(quantize=Quantize.BOTH, kind=kind)), texts()
    losses = []
    optimiser = torch.optim.Adam(made.net.parameters(), lr=1e-2)
    for step in range(40):
        (loss,) = made.losses(batch, Rng(0, range(4), f"train/{step}", 4))
        optimiser.zero_grad()
        (loss.total / loss.count).backward()
        if step == 0:
            # A row of signs beyond 1 gets none; every other weight does.
            reached = {name for name, p in made.net.named_parameters() if p.grad is not None and bool(p.grad.any())}
            assert reached == {name for name, _ in made.net.named_parameters()}
        optimiser.step()
        losses.append(float(loss.total.detach() / loss.count))
    assert sum(losses[-10:]) < sum(losses[:10])
    with torch.no_grad():
        assert bool(made.nll(batch, Rng(0, range(4), "", 4)).isfinite().all())
        *_, last = made.sample(Request(batch, steps=4, forbidden=(0,)))
    assert last.done and not bool((last.ids[batch.free] == 0).any())


def test_the_published_shapes_of_one_layer_each():
    few = QuantizeSpec(quantize=Quantize.PROJECTIONS)
    spec = replace(base(Corpus(vocab=821, canvas=64, layout=Layout.TEXTS)).spec, width=16, few=few)
    with torch.device("meta"):
        body = network(spec).body
    assert [tuple(part.weight.shape) for part in (body.enter, body.time, body.leave)] == [
        (768, 16),
        (768, 128),
        (16, 768),
    ]


def test_the_spec_takes_settings_and_keeps_its_bounds():
    recipe = tiny(Corpus(vocab=300, canvas=32, layout=Layout.TEXTS))
    changed = recipe.with_settings({"quantize": "table", "kind": "pow2", "whole": "2"}).spec
    assert changed.few == QuantizeSpec(quantize=Quantize.TABLE, kind=Kind.POW2, whole=2)
    assert QECDLMSpec.from_json(changed.to_json()) == changed
    for wrong in ({"chain": 1}, {"width": 0}, {"layers": 3}, {"ending": Ending.SYMBOL}):
        with pytest.raises(UsageError):
            replace(recipe.spec, **wrong)
