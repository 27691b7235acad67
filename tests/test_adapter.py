"""Adapters and slots on blocks that stay as they are, and GPT-2's weights in our own network."""

from __future__ import annotations

import pytest
import torch

import mezzotint
from mezzotint.data.tokenizer import Tokenizer
from mezzotint.errors import HubError, RunError, UsageError
from mezzotint.net.adapter import Adapter, Graft
from mezzotint.net.attention import Cache
from mezzotint.net.gpt2 import from_transformers, read_gpt2
from mezzotint.net.transformer import Transformer
from mezzotint.spec.transformer import Gelu, Positions, TransformerSpec
from tests.test_foreign import source, stored

V, L, D, H = 11, 9, 16, 2


def network(**settings) -> Transformer:
    spec = TransformerSpec(**{"dim": D, "depth": 3, "heads": H, "causal": True, **settings})
    net = Transformer(spec, V, V, L + 4).initialise(torch.Generator().manual_seed(0)).double()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.empty_like(p).normal_(0, 0.2, generator=g))
    return net


GPT2 = {"biases": True, "gelu": Gelu.TANH, "rotary": False, "positions": Positions.START}
OURS = {"neighbours": 5}


def adapter(started: bool = True) -> Adapter:
    made = Adapter(D, 3).double()
    made.initialise(generator := torch.Generator().manual_seed(2))
    if started:
        torch.nn.init.normal_(made.up.weight, 0, 0.02, generator)
    return made


def ids(rows: int = 3) -> torch.Tensor:
    return torch.randint(0, V, (rows, L), generator=torch.Generator().manual_seed(3))


def slots(rows: int, places: int = 1, seed: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    g = torch.Generator().manual_seed(seed)
    shape = (2, rows, H, places, D // H)
    return [tuple(torch.randn(shape, generator=g, dtype=torch.float64)) for _ in range(3)]


@pytest.mark.parametrize("settings", [GPT2, OURS])
@torch.no_grad()
def test_fresh_adapters_leave_the_logits_as_they_are(settings):
    net, x = network(**settings), ids()
    quiet, loud = ([Graft(adapter(started), both=both) for both in (False, True, False)] for started in (False, True))
    assert torch.equal(net(x, grafts=quiet), net(x)) and torch.equal(net(x, grafts=[Graft()] * 3), net(x))
    assert not torch.allclose(net(x, grafts=loud), net(x))


@torch.no_grad()
def test_adapters_stand_where_the_equations_have_them():
    """He et al.: x1 = x + a, x2 = x1 + delta(x1) + mlp(x1); as AdaVAE's code runs: x1 = x + delta(x) + a as well."""
    block, delta = network(**GPT2).blocks[0], adapter()
    x = torch.randn(2, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    a = block.attention(block.norm1(x), None, None)
    for both in (False, True):
        x1 = x + a + (delta(x) if both else 0)
        expected = x1 + delta(x1) + block.mlp(block.norm2(x1))
        assert torch.allclose(block(x, None, None, None, None, 0, Graft(delta, both=both)), expected, atol=1e-12)


@torch.no_grad()
def test_a_slot_is_one_more_key_that_everybody_sees():
    """Against attention written out, over the slot and the positions up to each query's own."""
    attention = network(**GPT2).blocks[0].attention
    x = torch.randn(2, L, D, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    ((key, value), *_) = slots(2, places=2)
    causal = torch.full((1, 1, L, L), -torch.inf, dtype=torch.float64).triu(1)
    found = attention(x, None, causal, slot=(key, value))
    q, k, v = attention.qkv(x).view(2, L, 3, H, D // H).unbind(2)
    for b in range(2):
        for i in range(L):
            mixed = []
            for h in range(H):
                keys = torch.cat([key[b, h], k[b, : i + 1, h]])
                values = torch.cat([value[b, h], v[b, : i + 1, h]])
                mixed.append((keys @ q[b, i, h] / (D // H) ** 0.5).softmax(0) @ values)
            assert torch.allclose(found[b, i], attention.out(torch.cat(mixed)), atol=1e-12)


@pytest.mark.parametrize("settings", [GPT2, OURS])
@torch.no_grad()
def test_cached_is_naive_with_slots_and_rows_that_leave(settings):
    net, x, made = network(**settings), ids(), slots(3, places=2)
    grafts = [Graft(adapter(), slot) for slot in made]
    fewer = [Graft(graft.adapter, tuple(part[[2, 0]] for part in graft.slot)) for graft in grafts]
    whole = net(x, grafts=grafts)
    cache = Cache(3)
    cache.reserve(L)
    pieces = [net(x[:, :4], cache=cache, grafts=grafts), net(x[:, 4:5], cache=cache, grafts=grafts)]
    cache.rows(torch.tensor([2, 0]))
    pieces = [p[[2, 0]] for p in pieces]
    pieces += [net(x[[2, 0], a:b], cache=cache, grafts=fewer) for a, b in ((5, 6), (6, L))]
    assert torch.allclose(torch.cat(pieces, dim=1), whole[[2, 0]], atol=1e-12)
    assert not torch.allclose(whole, net(x)), "the slots are seen"
    assert cache.length == L, "slots are no positions of the text"


@pytest.mark.parametrize("settings", [GPT2, OURS])
@torch.no_grad()
def test_a_causal_network_can_look_both_ways_and_padding_changes_nothing(settings):
    net, x = network(**settings), ids()
    vectors = net.embed(x)
    lengths = torch.tensor([9, 5, 2])
    real = torch.arange(L) < lengths[:, None]
    grafts = [Graft(adapter(), slot) for slot in slots(3)][:2]
    read = net.through(vectors, None, real, grafts=grafts, causal=False)
    for b, n in enumerate(lengths.tolist()):
        own = [Graft(graft.adapter, tuple(part[b : b + 1] for part in graft.slot)) for graft in grafts]
        alone = net.through(vectors[b : b + 1, :n], None, None, grafts=own, causal=False)
        assert torch.allclose(read[b, :n], alone[0], atol=1e-12)
    other = x.clone()
    other[0, -1] = (other[0, -1] + 1) % V
    moved = (net.through(net.embed(other), None, real, grafts=grafts, causal=False) - read).abs().amax(-1)
    assert moved[0, 0] > 1e-9, "the last token changes the first state"
    assert torch.equal(net(other)[0, :-1], net(x)[0, :-1]), "and no logits before it where one looks back"


# ---- GPT-2 -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=V, n_positions=L + 4, n_embd=D, n_layer=3, n_head=H)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.empty_like(p).normal_(0, 0.3))
    return model


@torch.no_grad()
def test_logits_are_those_of_transformers(gpt2, tmp_path):
    gpt2.save_pretrained(tmp_path / "gpt2")
    net, x = read_gpt2(tmp_path / "gpt2"), ids()
    assert torch.allclose(net(x), gpt2(x).logits, atol=1e-5)
    assert net.spec.dim == D and sum(p.numel() for p in net.parameters()) == gpt2.num_parameters()
    cache = Cache(3)
    cache.reserve(L)
    cached = torch.cat([net(x[:, :4], cache=cache), net(x[:, 4:], cache=cache)], dim=1)
    assert torch.allclose(cached, gpt2(x).logits, atol=1e-5)


def test_an_adavae_stands_on_gpt2_with_its_tokenizer(gpt2, tmp_path, monkeypatch):
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "gpt2").mkdir()
    tokenizer = Tokenizer.foreign(stored(tmp_path / "gpt2", source("gpt2")))
    config = type(gpt2.config)(**{**gpt2.config.to_dict(), "vocab_size": tokenizer.size, "n_positions": 32})
    model = type(gpt2)(config).eval()
    model.save_pretrained(tmp_path / "gpt2")
    (tmp_path / "texts.txt").write_text("\n".join(f"the old pub {i} is near" for i in range(30)))
    how = {"out": tmp_path / "run", "backbone": tmp_path / "gpt2", "max_steps": 1, "settings": {"batch": "4"}}
    list(mezzotint.train("adavae", [tmp_path / "texts.txt"], **how))
    run = mezzotint.load(tmp_path / "run")
    assert run.tokenizer.end == tokenizer.end == tokenizer.pad == tokenizer.size - 1
    for block, theirs in zip(run.system.backbone.blocks, model.transformer.h, strict=True):
        assert torch.equal(block.attention.qkv.weight, theirs.attn.c_attn.weight.T)
    assert run.spec.net.biases and run.spec.reach == 32 and len(run.latent.walk("the old pub", "the river", 3)) == 3


def test_what_is_no_gpt2_of_this_shape_is_refused_with_a_sentence(gpt2, tmp_path, monkeypatch):
    from transformers import BertConfig

    state = gpt2.state_dict()
    for name, value, sentence in (
        ("activation_function", "relu", r"activation_function of its own \(relu\)"),
        ("n_inner", 7, r"n_inner of its own"),
        ("scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx"),
    ):
        config = type(gpt2.config)(**{**gpt2.config.to_dict(), name: value})
        with pytest.raises(UsageError, match=sentence):
            from_transformers(state, config)
    with pytest.raises(UsageError, match="an output layer of its own"):
        from_transformers({**state, "lm_head.weight": state["lm_head.weight"] + 1}, gpt2.config)
    with pytest.raises(RunError, match="not those that GPT-2"):
        from_transformers({**state, "transformer.wpe.weight": torch.zeros(3, D)}, gpt2.config)
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(UsageError, match="of the kind 'bert'"):
        read_gpt2(tmp_path / "bert")
    gpt2.config.save_pretrained(tmp_path / "empty")
    with pytest.raises(RunError, match="holds no GPT-2 that can be read"):
        read_gpt2(tmp_path / "empty")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="cannot be had from the hub"):
        read_gpt2("nobody/nothing")
