"""Published checkpoints become runs: names, sets of weights, configurations, tokenizers, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers
from torch.nn import functional as F

import mezzotint
from mezzotint.cli.main import main
from mezzotint.data.canvas import frame_rows
from mezzotint.data.tokenizer import Tokenizer, train_tokenizer
from mezzotint.errors import RunError, UsageError
from mezzotint.importing.tokenizer import tokenizer_from
from mezzotint.training import create as creation
from mezzotint.types import Canvas, Noised
from tests.checkpoints import (
    CONFIG,
    DEPTH,
    DIM,
    END,
    HEADS,
    LENGTH,
    VOCAB,
    frequencies,
    gpt2_json,
    prefixed,
    save_lightning,
    shapes,
    weights,
)

HF = {"model_type": "mdlm", "model_length": LENGTH, "n_heads": HEADS, "hidden_dim": DIM, "n_blocks": DEPTH,
      "cond_dim": 129, "vocab_size": VOCAB + 1, "dropout": 0.1, "time_conditioning": False}  # fmt: skip
"""A config.json as in the project's Hugging Face folder."""
INERT = {"teacher.blocks.0.norm1.weight": torch.ones(3), "discriminator.output_layer.main.0.weight_u": torch.ones(2),
         "reward_baseline": torch.tensor(0.0), "backbone.rotary_emb.inv_freq": frequencies()}  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))


def folder(path: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any] | None = None) -> Path:
    """A Hugging Face folder with a tokenizer."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(HF if config is None else config))
    (path / "tokenizer.json").write_text(gpt2_json())
    save_file(tensors, path / "model.safetensors")
    return path


def taken(run: Path) -> dict[str, torch.Tensor]:
    """The weights of a run under their published names."""
    names = json.loads((run / "import.json").read_text())["used"]
    found = load_file(run / "model.safetensors")
    return {theirs: found[f"model.{name}"] for theirs, name in names.items()}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_lightning_file_becomes_a_run_that_writes_and_is_scored(tmp_path):
    raw, averaged = weights(0), weights(1)
    path = save_lightning(
        tmp_path / "mdlm.ckpt",
        prefixed("backbone.", raw) | {"backbone.rotary_emb.inv_freq": frequencies()},
        ema={"decay": 0.9999, "num_updates": 3, "shadow_params": list(averaged.values())},
        tokenizer=gpt2_json(),
    )
    imported = mezzotint.import_checkpoint(path, out=tmp_path / "run")
    assert same(taken(tmp_path / "run"), averaged)
    assert imported.ignored == {"backbone.rotary_emb.inv_freq": "computed anew"} and not imported.notes
    run = mezzotint.load(tmp_path / "run", precision="fp32")
    spec = run.spec
    assert (spec.vocab, spec.canvas, spec.frame, spec.mask_output) == (VOCAB, LENGTH - 2, END, True)
    assert (spec.net.dim, spec.net.depth, spec.net.heads, spec.net.condition) == (DIM, DEPTH, HEADS, 8)
    assert (spec.net.gelu.value, spec.net.tied, spec.net.dropout, spec.time_conditioning) == ("tanh", False, 0.1, False)
    assert [len(s.ids) <= LENGTH - 2 for s in run.generate(3, steps=4)] == [True] * 3
    assert run.generate(1, prefix="the cat", steps=4)[0].text.startswith("the cat")
    assert run.infill("the [2] cat", steps=4)[0].text.startswith("the")
    assert run.infill("the [1-3] cat", steps=4)[0].text.endswith(" cat")
    (tmp_path / "text.txt").write_text("\n\n".join(["the cat the cat a cat"] * 9))
    scores = {s.name: s.value for column, s in mezzotint.evaluate_run(tmp_path / "run", [tmp_path / "text.txt"], n=4)}
    assert scores["bound_nats_per_token"] > 0 and "unseen_trigrams" not in scores
    with pytest.raises(RunError, match="was imported, and there is no training of it to go on with"):
        mezzotint.resume(tmp_path / "run")


@pytest.mark.parametrize("form", ["one file", "shards", "bare", "bf16"])
def test_safetensors_become_the_same_run(tmp_path, form):
    tensors = prefixed("backbone.", weights())
    if form == "bf16":
        tensors = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    source = folder(tmp_path / "hf", tensors)
    if form == "shards":
        names = list(tensors)
        parts = {"a.safetensors": names[:7], "b.safetensors": names[7:]}
        for file, held in parts.items():
            save_file({name: tensors[name] for name in held}, source / file)
        index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
        (source / "model.safetensors.index.json").write_text(json.dumps(index))
        (source / "model.safetensors").unlink()
    elif form == "bare":
        source = source / "model.safetensors"
    mezzotint.import_checkpoint(source, out=tmp_path / "run")
    expected = {name: tensor.bfloat16().float() if form == "bf16" else tensor for name, tensor in weights().items()}
    assert same(taken(tmp_path / "run"), expected)


def test_without_a_configuration_the_flags_say_it_and_the_report_what_is_not_known(tmp_path):
    save_file(weights(), tmp_path / "w.safetensors")
    (tmp_path / "tokenizer.json").write_text(gpt2_json())
    with pytest.raises(UsageError, match="--length 1024"):
        mezzotint.import_checkpoint(tmp_path / "w.safetensors", out=tmp_path / "run")
    with pytest.raises(UsageError, match="say it with --heads"):
        mezzotint.import_checkpoint(tmp_path / "w.safetensors", out=tmp_path / "run", length=8)
    imported = mezzotint.import_checkpoint(tmp_path / "w.safetensors", out=tmp_path / "run", length=8, heads=4)
    assert (imported.spec.canvas, imported.spec.net.heads) == (6, 4)
    assert len(imported.notes) == 1 and "nothing says what process" in imported.notes[0]
    trained = weights()
    trained["output_layer.linear.bias"][-1] = 1.0
    save_file(trained, tmp_path / "w.safetensors")
    imported = mezzotint.import_checkpoint(tmp_path / "w.safetensors", out=tmp_path / "run2", length=8, heads=4)
    assert "the output for the mask was trained" in imported.notes[1]


def test_heads_are_those_of_the_rotary_buffer_where_nothing_says_it(tmp_path):
    config = {name: value for name, value in HF.items() if name != "n_heads"}
    four = weights() | {"rotary_emb.inv_freq": frequencies(4)}
    imported = mezzotint.import_checkpoint(folder(tmp_path / "hf", four, config), out=tmp_path / "run")
    assert imported.spec.net.heads == 4


def test_a_model_that_is_told_the_time_stays_one(tmp_path):
    source = folder(tmp_path / "hf", weights(), HF | {"time_conditioning": True})
    mezzotint.import_checkpoint(source, out=tmp_path / "run")
    run = mezzotint.load(tmp_path / "run", precision="fp32")
    assert run.spec.time_conditioning and run.spec.bound.value == "times"
    z = torch.full((2, 5), VOCAB)
    free = torch.zeros(2, 5, dtype=torch.bool)
    canvas = Canvas(z, free, ~free, torch.arange(2))
    with torch.no_grad():
        early, late = run.system.denoise(Noised(z, torch.tensor([0.1, 0.9])), canvas).logits
    assert not torch.allclose(early, late) and run.generate(2, steps=3)


# -- which weights -----------------------------------------------------------------------------------------------------

STUDENT = prefixed("backbone.", weights(0)) | prefixed("student_ema.", weights(1)) | INERT
SHADOW = {"shadow_params": list(weights(2).values())}


@pytest.mark.parametrize(
    ("asked", "state", "ema", "seed"),
    [
        (None, prefixed("backbone.", weights(0)), None, 0),
        (None, prefixed("backbone.", weights(0)), SHADOW, 2),
        ("ema", prefixed("backbone.", weights(0)), SHADOW, 2),
        ("raw", prefixed("backbone.", weights(0)), SHADOW, 0),
        (None, STUDENT, None, 1),
        ("ema", STUDENT, SHADOW, 1),
        ("raw", STUDENT, SHADOW, 0),
        (None, prefixed("model.backbone._orig_mod.backbone.", weights(0)), None, 0),
        (None, prefixed("student_ema._orig_mod.", weights(1)), None, 1),
    ],
)
def test_the_right_set_is_taken(tmp_path, asked, state, ema, seed):
    path = save_lightning(tmp_path / "x.ckpt", state, tokenizer=gpt2_json(), ema=ema)
    mezzotint.import_checkpoint(path, out=tmp_path / "run", weights=asked)
    assert same(taken(tmp_path / "run"), weights(seed))


def test_averages_follow_the_order_of_the_file(tmp_path):
    """norm1 and norm2 have one shape: only their order tells them apart."""
    raw = weights(0)
    order = sorted(raw, reverse=True)
    shadow = [weights(1)[name] for name in order]
    state = {f"backbone.{name}": raw[name] for name in order}
    path = save_lightning(tmp_path / "x.ckpt", state, tokenizer=gpt2_json(), ema={"shadow_params": shadow})
    mezzotint.import_checkpoint(path, out=tmp_path / "run")
    assert same(taken(tmp_path / "run"), weights(1))


def test_what_is_ignored_is_kept_with_its_reason(tmp_path):
    path = save_lightning(tmp_path / "x.ckpt", STUDENT, tokenizer=gpt2_json())
    imported = mezzotint.import_checkpoint(path, out=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "import.json").read_text())
    assert kept["ignored"].keys() == INERT.keys() | prefixed("backbone.", weights()).keys()
    assert (kept["missing"], kept["left_over"]) == ([], []) and kept["used"].keys() == shapes().keys()
    assert "30 names" in imported.lines[1]
    assert any("30 (a raw weight" in line for line in imported.lines)


def changed(**changes: Any) -> dict[str, torch.Tensor]:
    """The weights with some replaced, or taken out where they are None."""
    made: dict[str, Any] = weights() | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in made.items() if value is not None}


NOT_FINITE = torch.full((DIM,), math.nan)
DAMAGED: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "missing": (changed(blocks__1__norm2__weight=None), r"of the 30 .* 29 are there, 1 missing \(blocks.1.norm2"),
    "left over": (changed(extra=torch.ones(2)), r"30 are there, none missing, 1 left over \(extra\)"),
    "a gap": (changed(**{f"blocks__7__{k.split('.', 2)[2].replace('.', '__')}": v for k, v in weights().items()
                         if k.startswith("blocks.1.")}), r"10 left over \(blocks.7"),
    "shape": (changed(blocks__0__attn_out__weight=torch.ones(DIM, DIM + 1)), r"shape \[16, 17\], expected \[16, 16\]"),
    "table": (changed(vocab_embed__embedding=torch.ones(3)), "holds no network of MDLM's"),
    "twice": (weights() | {"model.blocks.0.norm1.weight": torch.ones(DIM)}, "blocks.0.norm1.weight twice"),
    "autoregressive": ({k: v for k, v in weights().items() if "sigma" not in k and "adaLN" not in k}, "autoregressive"),
    "whole numbers": (changed(blocks__0__norm1__weight=torch.ones(DIM, dtype=torch.int32)), "something else than"),
    "not finite": (changed(blocks__0__norm1__weight=NOT_FINITE), "blocks.0.norm1.weight holds numbers that are not"),
    "rotary": (weights() | {"rotary_emb.inv_freq": 500.0 ** -torch.linspace(0, 0.75, 4)}, "another base than 10000"),
    "rotary width": (weights() | {"rotary_emb.inv_freq": frequencies(4)}, "rotary positions for 4 heads, not 2"),
    "empty": ({"teacher.x": torch.ones(1)}, "holds no weights of a network"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_other_weights_are_refused_and_leave_nothing(tmp_path, case):
    tensors, sentence = DAMAGED[case]
    with pytest.raises(RunError, match=sentence):
        mezzotint.import_checkpoint(folder(tmp_path / "hf", tensors), out=tmp_path / "runs" / "run")
    assert not (tmp_path / "runs").exists()


# -- other models and configurations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"model_type": "duo"}, "a uniform-state diffusion model"),
        ({"model_type": "DUO", "causal": False}, "a uniform-state diffusion model"),
        ({"algo": {"name": "duo_base"}}, "a uniform-state diffusion model"),
        ({"algo": {"name": "hyperbolic_duo"}}, "a uniform-state diffusion model"),
        ({"algo": {"name": "distillation", "parameterization": "mean"}}, "the parameterization 'mean'"),
        ({"diffusion": "uniform"}, "the process 'uniform'"),
        ({"parameterization": "sedd"}, "the parameterization 'sedd'"),
        ({"causal": True}, "an autoregressive model"),
        ({"algo": {"causal_attention": True}}, "an autoregressive model"),
        ({"model_type": "bd3lm", "block_size": 4}, "a block diffusion model"),
        ({"mask_index": 103}, "the mask at 103 of"),
        ({"rope_theta": 5000.0}, "base 5000"),
        ({"n_heads": "two"}, "n_heads 'two'; expected a positive whole number"),
        ({"n_heads": True}, "n_heads True; expected a positive whole number"),
        ({"n_heads": 3}, "dim must be a multiple of twice the heads"),
        ({"time_conditioning": "no"}, "expected true or false"),
        ({"hidden_dim": 32}, "a configuration of width 32, and weights of width 16"),
        ({"n_blocks": 3}, "a configuration of depth 3, and weights of depth 2"),
        ({"vocab_size": 50}, "a configuration of vocabulary 50"),
        ({"model_length": 3}, "no window has 3 tokens"),
        ({"model_length": 1 << 30}, "no window has 1073741824 tokens"),
    ],
)
def test_what_is_no_such_model_is_refused(tmp_path, config, sentence):
    with pytest.raises((RunError, UsageError), match=sentence):
        mezzotint.import_checkpoint(folder(tmp_path / "hf", weights(), HF | config), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "config", [{"parameterization": "sedd"}, {"algo": {"name": "duo", "parameterization": "mean"}}]
)
def test_what_is_no_such_model_is_refused_in_a_lightning_file_too(tmp_path, config):
    path = save_lightning(tmp_path / "x.ckpt", weights(), CONFIG | config, tokenizer=gpt2_json())
    with pytest.raises(RunError, match="sampling it as one would write nonsense"):
        mezzotint.import_checkpoint(path, out=tmp_path / "run")


@pytest.mark.parametrize(
    "more", [{}, {"model_type": "bd3lm", "block_size": LENGTH}, {"algo": {"name": "didi_instruct"}}]
)
def test_relatives_of_mdlm_are_taken(tmp_path, more):
    tensors = weights() | {"sampling_eps_min": torch.tensor(0.0), "sampling_eps_max": torch.tensor(1.0)}
    imported = mezzotint.import_checkpoint(folder(tmp_path / "hf", tensors, HF | more), out=tmp_path / "run")
    assert len(imported.ignored) == 2 and not imported.notes


def test_a_run_of_ours_needs_no_import(tmp_path):
    mezzotint.import_checkpoint(folder(tmp_path / "hf", weights()), out=tmp_path / "run")
    for source in (tmp_path / "run", tmp_path / "run" / "model.safetensors"):
        with pytest.raises(RunError, match="is a run already"):
            mezzotint.import_checkpoint(source, out=tmp_path / "new")
    with pytest.raises(RunError, match="already holds a run"):
        mezzotint.import_checkpoint(tmp_path / "hf", out=tmp_path / "run")


@pytest.mark.parametrize("place", ["put_json", "sync"])
def test_an_import_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, place):
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(creation.files, place, full)
    with pytest.raises(RunError, match="No space"):
        mezzotint.import_checkpoint(folder(tmp_path / "hf", weights()), out=tmp_path / "runs" / "run")
    assert list((tmp_path / "runs").iterdir()) == []


# -- tokenizers --------------------------------------------------------------------------------------------------------


def test_a_tokenizer_of_gpt2s_kind_keeps_its_ids():
    tokenizer = tokenizer_from(gpt2_json(), "x", VOCAB)
    assert (tokenizer.size, tokenizer.end, tokenizer.pad, tokenizer.special) == (VOCAB, END, END, {END})
    assert tokenizer.surfaces(tokenizer.encode("the cat")) == ["t", "he", " ", "cat"]
    assert tokenizer.surfaces(tokenizer.encode(" the a cat")) == [" the", " a", " ", "cat"]
    for text in (" the cat", "the\n  cat é🙂", "<|endoftext|>", "[PAD]", ""):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and END not in ids
    assert tokenizer.decode([*tokenizer.encode("a"), END, 5]) == "a"


def test_such_a_tokenizer_comes_back_from_its_file(tmp_path):
    tokenizer = tokenizer_from(gpt2_json(), "x", VOCAB)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (loaded.fingerprint, loaded.end, loaded.is_foreign) == (tokenizer.fingerprint, END, True)


def test_merges_may_be_pairs_and_the_end_an_added_token():
    model = json.loads(gpt2_json())["model"]
    pairs = model | {"merges": [m.split(" ") for m in model["merges"]]}
    outside = model | {"vocab": {k: v for k, v in model["vocab"].items() if v != END}}
    text = "the cat <|endoftext|> sat"
    plain, *others = (tokenizer_from(gpt2_json(model=m), "x", VOCAB) for m in (model, pairs, outside))
    for other in others:
        assert (other.encode(text), other.end, other.special) == (plain.encode(text), END, {END})


def test_a_tokenizer_of_ours_serves_too(tmp_path):
    words = train_tokenizer("word", ["a b c a b c"], [])
    words.save(tmp_path / "tokenizer.json")
    save_file(weights(vocab=words.size + 1), tmp_path / "w.safetensors")
    imported = mezzotint.import_checkpoint(tmp_path / "w.safetensors", out=tmp_path / "run", length=8, heads=2)
    assert (imported.spec.frame, imported.spec.canvas) == (-1, 8)
    assert mezzotint.load(tmp_path / "run").generate(2, steps=2)


BARE = {"type": "BPE", "vocab": {"<|endoftext|>": 0}, "merges": []}
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
NAMELESS = {"type": "BPE", "vocab": {name: i for i, name in enumerate(ALPHABET)}, "merges": []}
BERT = {"type": "WordPiece", "vocab": {"[PAD]": 0, "a": 1}, "unk_token": "[UNK]"}


@pytest.mark.parametrize(
    ("text", "size", "sentence"),
    [
        (gpt2_json(), VOCAB - 1, "has 263 tokens, and the weights are for 262 and the mask; is the mask one of them?"),
        (gpt2_json(), VOCAB + 2, "has 264 tokens, and the weights are for 265 and the mask$"),
        (gpt2_json(model=BERT), 2, "is a WordPiece tokenizer; only byte-level BPE"),
        (gpt2_json(normalizer={"type": "Lowercase"}), VOCAB, "changes a text before it reads it"),
        (gpt2_json(pre_tokenizer={"type": "Sequence"}), VOCAB, "is damaged or is no tokenizer.json"),
        (gpt2_json(model=BARE), 1, "lacks some of the 256 bytes"),
        (gpt2_json(model=NAMELESS, added_tokens=[]), VOCAB, "does not say which token ends a text"),
        ("{", VOCAB, "is damaged or is no tokenizer.json"),
        ("[1]", VOCAB, "is damaged or is no tokenizer.json"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_over_is_refused(text, size, sentence):
    with pytest.raises(RunError, match=sentence):
        tokenizer_from(text, "tokenizer.json", size)


def test_a_source_without_a_tokenizer_says_how_to_name_one(tmp_path):
    source = folder(tmp_path / "hf", weights())
    (source / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(UsageError, match="has no tokenizer with it: name a tokenizer"):
        mezzotint.import_checkpoint(source, out=tmp_path / "run")
    mezzotint.import_checkpoint(source, out=tmp_path / "run", tokenizer=tmp_path / "elsewhere.json")


# -- the network -------------------------------------------------------------------------------------------------------


def naive_logits(w: dict[str, torch.Tensor], ids: torch.Tensor, sigma: float) -> torch.Tensor:
    """The published network written out for one row (L,), from its description alone: MDLM's DiT, in float64."""
    w = {name: tensor.double() for name, tensor in w.items()}
    angle = sigma * torch.exp(-math.log(10000) * torch.arange(128, dtype=torch.float64) / 128)
    features = torch.cat([angle.cos(), angle.sin()])
    c = F.silu(w["sigma_map.mlp.0.weight"] @ features + w["sigma_map.mlp.0.bias"])
    c = F.silu(w["sigma_map.mlp.2.weight"] @ c + w["sigma_map.mlp.2.bias"])
    x, E = w["vocab_embed.embedding"][ids], DIM // HEADS
    turn = torch.outer(torch.arange(len(ids)).double(), 10000.0 ** -(torch.arange(E // 2).double() / (E // 2)))

    def normed(x: torch.Tensor, name: str, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (DIM,)) * w[name] * (1 + scale) + shift

    def turned(x: torch.Tensor) -> torch.Tensor:
        a, b = x[:, : E // 2], x[:, E // 2 :]
        return torch.cat([a * turn.cos() - b * turn.sin(), b * turn.cos() + a * turn.sin()], dim=1)

    for i in range(DEPTH):
        b = f"blocks.{i}."
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            w[b + "adaLN_modulation.weight"] @ c + w[b + "adaLN_modulation.bias"]
        ).chunk(6)
        q, k, v = (normed(x, b + "norm1.weight", shift1, scale1) @ w[b + "attn_qkv.weight"].T).chunk(3, dim=1)
        heads = []
        for h in range(HEADS):
            part = slice(h * E, (h + 1) * E)
            scores = turned(q[:, part]) @ turned(k[:, part]).T / math.sqrt(E)
            heads.append(scores.softmax(1) @ v[:, part])
        x = x + gate1 * (torch.cat(heads, dim=1) @ w[b + "attn_out.weight"].T)
        inner = normed(x, b + "norm2.weight", shift2, scale2) @ w[b + "mlp.0.weight"].T + w[b + "mlp.0.bias"]
        inner = F.gelu(inner, approximate="tanh")
        x = x + gate2 * (inner @ w[b + "mlp.2.weight"].T + w[b + "mlp.2.bias"])
    o = "output_layer."
    shift, scale = (w[o + "adaLN_modulation.weight"] @ c + w[o + "adaLN_modulation.bias"]).chunk(2)
    return normed(x, o + "norm_final.weight", shift, scale) @ w[o + "linear.weight"].T + w[o + "linear.bias"]


@torch.no_grad()
@pytest.mark.parametrize("sigma", [0.0, 1.7])
def test_an_imported_network_is_the_published_one(tmp_path, sigma):
    mezzotint.import_checkpoint(folder(tmp_path / "hf", weights(3)), out=tmp_path / "run")
    net = mezzotint.load(tmp_path / "run", precision="fp32").system.players["model"].double()
    ids = torch.tensor([5, VOCAB, 0, END, 17, VOCAB])
    found = net(ids[None], torch.tensor([sigma]))[0]
    torch.testing.assert_close(found, naive_logits(weights(3), ids, sigma), rtol=1e-5, atol=1e-5)


# -- the frame ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_frame_stands_around_every_row_whatever_its_length(tmp_path):
    mezzotint.import_checkpoint(folder(tmp_path / "hf", weights()), out=tmp_path / "run")
    run = mezzotint.load(tmp_path / "run", precision="fp32")
    z = torch.tensor([[1, VOCAB, 3, 4, VOCAB], [5, VOCAB, 7, END, END]])
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    canvas = Canvas(z, torch.zeros_like(real), real, torch.arange(2))
    noised = Noised(z, torch.full((2,), 0.5))
    net = run.system.players["model"]
    whole = run.system.denoise(noised, canvas).logits
    for row, length in ((0, 5), (1, 3)):
        alone = net(torch.tensor([[END, *z[row, :length].tolist(), END]]))[0, 1:-1, :VOCAB]
        torch.testing.assert_close(whole[row, :length], alone, rtol=1e-4, atol=1e-5)
    at = (torch.tensor([0, 0, 1]), torch.tensor([1, 4, 1]))
    torch.testing.assert_close(run.system.denoise(noised, canvas, at=at).logits, whole[at], rtol=1e-4, atol=1e-5)


def test_framed_rows():
    ids = torch.tensor([[1, 2, 3], [4, 0, 0]])
    found, real = frame_rows(ids, torch.tensor([[True] * 3, [True, False, False]]), 9)
    assert found.tolist() == [[9, 1, 2, 3, 9], [9, 4, 9, 0, 9]]  # the last one is padding
    assert real.tolist() == [[True] * 5, [True, True, True, False, False]]


def test_a_network_that_knows_nothing_costs_the_logarithm_of_its_vocabulary(tmp_path):
    """The frame is given: it is neither paid for nor counted."""
    blank = changed(
        output_layer__linear__weight=torch.zeros(VOCAB + 1, DIM), output_layer__linear__bias=torch.zeros(264)
    )
    mezzotint.import_checkpoint(folder(tmp_path / "hf", blank), out=tmp_path / "run")
    (tmp_path / "text.txt").write_text("\n\n".join(["the cat the cat a cat"] * 9))
    scores = {s.name: s.value for _, s in mezzotint.evaluate_run(tmp_path / "run", [tmp_path / "text.txt"], n=2)}
    assert scores["bound_nats_per_token"] == pytest.approx(math.log(VOCAB), rel=1e-5)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_reports_and_names_what_is_next(tmp_path, capsys):
    source, run = folder(tmp_path / "hf", weights()), tmp_path / "run"
    assert main(["import", str(source), "--out", str(run)]) == 0
    told = capsys.readouterr()
    lines = [line.split(":")[0] for line in told.out.splitlines()]
    assert lines == ["read", "used", "missing", "ignored", "left over", "network", "text"]
    assert f"next:   mezzotint sample {run}" in told.err and (run / "report.html").exists()
    assert "mezzotint resume" not in (run / "report.html").read_text()
    assert main(["import", str(source), "--out", str(tmp_path / "two"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights"] == "only"
    assert main(["resume", str(run)]) == 2
    assert capsys.readouterr().err.startswith(f"mezzotint: {run} was imported")
    assert main(["import", str(source), "--out", str(tmp_path / "three"), "--weights", "ema"]) == 2
    assert "does not call it averaged; leave --weights out" in capsys.readouterr().err
