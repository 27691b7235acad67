"""Tokenizers made elsewhere: they keep their ids, give every text back, or are refused with what they lose."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Engine

import mezzotint
from mezzotint.checks import check_tokenizer
from mezzotint.data.template import Given, parse_template
from mezzotint.data.tokenizer import Tokenizer, train_tokenizer
from mezzotint.errors import HubError, RunError, UsageError
from mezzotint.spec.ar import ARSpec
from mezzotint.spec.transformer import TransformerSpec
from mezzotint.systems.ar import AR
from mezzotint.types import Canvas, Ending, Request
from tests.fake_hub import Hub, reach, serving

few = settings(max_examples=40, deadline=None)
TEXTS = 4 * ["The old pub near the river is cold.", "the new pub, by the sea,  is warm.", "It is 1234 cafés 🙂."]
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
LLAMA = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def trained(special: list[str], pre: Any, alphabet: Any = ALPHABET, **model: Any) -> Engine:
    engine = Engine(models.BPE(**model))
    engine.pre_tokenizer, engine.decoder = pre, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=sorted(alphabet), show_progress=False
    )
    engine.train_from_iterator(TEXTS, trainer)
    return engine


def gpt2() -> Engine:
    """The end is the last id, and nothing else is special."""
    engine = trained([], pre_tokenizers.ByteLevel(add_prefix_space=False))
    engine.add_special_tokens(["<|endoftext|>"])
    engine.post_processor = processors.ByteLevel(trim_offsets=False)
    return engine


def llama() -> Engine:
    """Words are split by a pattern, digits by threes; whole words are looked up first; a beginning is put in front."""
    split = pre_tokenizers.Split(Regex(LLAMA), "isolated")
    bare = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    engine = trained([], pre_tokenizers.Sequence([split, bare]), ignore_merges=True)
    engine.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "The", "word"])
    begin = engine.token_to_id("<|begin_of_text|>")
    engine.post_processor = processors.TemplateProcessing("<|begin_of_text|> $A", None, [("<|begin_of_text|>", begin)])
    return engine


def roberta() -> Engine:
    """Special tokens come first, padding has its own, and a space is put before the text."""
    first = pre_tokenizers.ByteLevel(add_prefix_space=True)
    engine = trained(["<s>", "<pad>", "</s>", "<unk>"], first, unk_token="<unk>")
    engine.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    engine.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    engine.enable_padding(pad_id=1, pad_token="<pad>")
    return engine


def neox() -> Engine:
    """Composes accents, drops pieces at random, and has ordinary tokens for runs of spaces."""
    engine = trained(["<|endoftext|>", "<|padding|>"], pre_tokenizers.ByteLevel(add_prefix_space=False), dropout=0.5)
    engine.normalizer = normalizers.NFC()
    engine.add_tokens(["  ", "    ", "<tool>"])
    engine.enable_truncation(3)
    return engine


MADE: dict[str, Callable[[], Engine]] = {"gpt2": gpt2, "llama": llama, "roberta": roberta, "neox": neox}


@cache
def source(name: str) -> str:
    return str(MADE[name]().to_str())


@cache
def adopted(name: str) -> Tokenizer:
    return Tokenizer.parse(source(name), name)


def stored(folder: Path, text: str, **beside: Any) -> Path:
    (folder / "tokenizer.json").write_text(text)
    for name, value in beside.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return folder


added = ["<|endoftext|>", "<|begin_of_text|>", "</s>", "<pad>", "<mask>", "The", "word", "<tool>", "<unk>", "    "]
pieces = [*added, " ", "The", " pub", "\n", "\r\n", "e\u0301", "é", "\u2581", "🙂", "12345"]
tricky = st.lists(st.sampled_from(pieces), max_size=12).map("".join)
any_text = st.text(max_size=40) | tricky


# ---- what they do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
@given(text=any_text)
@few
def test_every_text_comes_back_and_none_encodes_to_an_added_token(name: str, text: str) -> None:
    tokenizer = adopted(name)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and not set(ids) & tokenizer.special
    assert all(0 <= i < tokenizer.size for i in ids)
    inside = tokenizer.encode(text, virtual_space=False)
    assert tokenizer.decode(inside, virtual_space=False) == text and not set(inside) & tokenizer.special


@pytest.mark.parametrize("name", MADE)
@given(text=st.text("aeTh pub.,1234\n🙂é", max_size=30))
@few
def test_ids_are_those_of_the_library_it_came_from(name: str, text: str) -> None:
    if name == "roberta" and text[:1] in ("", " "):
        return  # it takes a space at the start for the one that it would put there, and so loses it
    if name == "neox" and "  " in text:
        return  # it has added tokens for runs of spaces
    theirs = Engine.from_str(source(name))
    theirs.no_padding()
    theirs.no_truncation()
    theirs.model.dropout = None
    assert adopted(name).encode(text) == theirs.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", MADE)
def test_ends_padding_and_sizes_are_its_own(name: str) -> None:
    theirs, tokenizer = Engine.from_str(source(name)), adopted(name)
    assert tokenizer.size == theirs.get_vocab_size() and tokenizer.is_foreign and tokenizer.unk is None
    end, pad, lead = {
        "gpt2": ("<|endoftext|>", "<|endoftext|>", ""),
        "llama": ("<|end_of_text|>", "<|end_of_text|>", ""),
        "roberta": ("</s>", "<pad>", " "),
        "neox": ("<|endoftext|>", "<|endoftext|>", ""),
    }[name]
    assert (tokenizer.end, tokenizer.pad, tokenizer.lead) == (theirs.token_to_id(end), theirs.token_to_id(pad), lead)
    assert tokenizer.surfaces([tokenizer.end, tokenizer.pad]) == [end, pad] and not tokenizer.spaced[tokenizer.end]
    ids = tokenizer.encode("The pub")
    for mark in (tokenizer.end, tokenizer.pad):
        assert tokenizer.decode([*ids, mark, *ids]) == "The pub"


def test_what_a_text_can_spell_is_no_special_token() -> None:
    """`The` was added, but merges make it, so it stays; `word` can only be looked up whole, and is hidden from that."""
    tokenizer = adopted("llama")
    assert tokenizer.surfaces(tokenizer.encode("The")) == ["The"]
    assert sorted(tokenizer.surfaces(tokenizer.special)) == ["<|begin_of_text|>", "<|end_of_text|>", "word"]
    assert (
        not set(tokenizer.encode("word")) & tokenizer.special and tokenizer.decode(tokenizer.encode("word")) == "word"
    )


@pytest.mark.parametrize("name", MADE)
def test_it_comes_back_from_the_run_it_was_saved_in(name: str, tmp_path: Path) -> None:
    tokenizer = adopted(name)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    facts = ("size", "end", "pad", "special", "lead", "kind", "fingerprint", "is_foreign")
    assert [getattr(loaded, fact) for fact in facts] == [getattr(tokenizer, fact) for fact in facts]
    assert loaded.encode_all(TEXTS) == tokenizer.encode_all(TEXTS)
    loaded.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == json.loads((tmp_path / "tokenizer.json").read_text())


@pytest.mark.parametrize("name", MADE)
def test_the_file_in_the_run_says_the_same_to_any_other_reader(name: str, tmp_path: Path) -> None:
    """With the end after each text, and padding: what the format has for them."""
    tokenizer = adopted(name)
    tokenizer.save(tmp_path / "tokenizer.json")
    theirs = Engine.from_file(str(tmp_path / "tokenizer.json"))
    texts = ["The old pub.", "It is 1234"]
    ours = [[*ids, tokenizer.end] for ids in tokenizer.encode_all(texts)]
    width = max(map(len, ours))
    padded = [ids + [tokenizer.pad] * (width - len(ids)) for ids in ours]
    assert [encoding.ids for encoding in theirs.encode_batch(texts)] == padded


def test_equal_ids_with_another_end_are_another_tokenizer(tmp_path: Path) -> None:
    one = Tokenizer.parse(source("roberta"), "r", end="</s>")
    other = Tokenizer.parse(source("roberta"), "r", end="<s>")
    assert one.fingerprint != other.fingerprint and one.encode("a") == other.encode("a") and other.end == 0


# ---- where it says what ends a text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("beside", "end", "pad"),
    [
        ({}, "<|endoftext|>", "<|endoftext|>"),
        ({"tokenizer_config": {"eos_token": "<|padding|>"}}, "<|padding|>", "<|padding|>"),
        ({"special_tokens_map": {"pad_token": {"content": "<|padding|>"}}}, "<|endoftext|>", "<|padding|>"),
        (
            {
                "special_tokens_map": {"eos_token": "<tool>"},
                "tokenizer_config": {"eos_token": {"content": "<|padding|>"}},
            },
            "<|padding|>",
            "<|padding|>",
        ),
        ({"tokenizer_config": {"eos_token": None, "pad_token": "[PAD]"}}, "<|endoftext|>", "<|endoftext|>"),
        ({"tokenizer_config": []}, "<|endoftext|>", "<|endoftext|>"),
    ],
)
def test_files_beside_it_say_what_ends_and_pads(tmp_path: Path, beside: dict[str, Any], end: str, pad: str) -> None:
    tokenizer = Tokenizer.foreign(stored(tmp_path, source("neox"), **beside))
    assert tokenizer.surfaces([tokenizer.end, tokenizer.pad]) == [end, pad]
    assert Tokenizer.foreign(tmp_path / "tokenizer.json").fingerprint == tokenizer.fingerprint


def test_the_tokenizer_of_a_run_serves_as_it_is(tmp_path: Path) -> None:
    words = train_tokenizer("word", TEXTS, TEXTS)
    words.save(tmp_path / "tokenizer.json")
    taken = Tokenizer.foreign(tmp_path)
    assert (taken.fingerprint, taken.kind, taken.is_foreign) == (words.fingerprint, "word", False)


# ---- what is refused -------------------------------------------------------------------------------------------------


def changed(**parts: Any) -> str:
    engine = gpt2()
    for name, part in parts.items():
        setattr(engine, name, part)
    return str(engine.to_str())


def wordpiece() -> str:
    engine = Engine(models.WordPiece({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    return str(engine.to_str())


def without(*names: str) -> str:
    values = json.loads(source("gpt2"))
    for name in names:
        values["model"]["vocab"].pop(name, None)
    values["model"]["merges"] = []
    return json.dumps(values)


def unnamed() -> str:
    return str(trained([], pre_tokenizers.ByteLevel(add_prefix_space=False)).to_str())


def spelt() -> str:
    engine = trained([], pre_tokenizers.ByteLevel(add_prefix_space=False))
    engine.add_special_tokens(["the"])
    return str(engine.to_str())


metaspace = pre_tokenizers.Metaspace()
byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
dropping = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "removed"), byte_level])
SUFFIXED = json.loads(source("gpt2"))
SUFFIXED["model"]["end_of_word_suffix"] = "</w>"
BAD: dict[str, tuple[Callable[[], str], str]] = {
    "WordPiece": (wordpiece, "is a WordPiece tokenizer; only byte-level BPE"),
    "lower case": (
        lambda: changed(normalizer=normalizers.Lowercase()),
        "changes a text before it reads it (Lower",
    ),
    "in a sequence": (
        lambda: changed(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.StripAccents()])),
        "changes a text before it reads it (StripAccents)",
    ),
    "SentencePiece": (lambda: changed(pre_tokenizer=metaspace), "does not read texts as bytes"),
    "no splitting": (
        lambda: json.dumps({**json.loads(source("gpt2")), "pre_tokenizer": None}),
        "does not read texts as",
    ),
    "white space": (
        lambda: changed(pre_tokenizer=pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), byte_level])),
        "does not read texts as bytes",
    ),
    "dropped spaces": (lambda: changed(pre_tokenizer=dropping), "leaves out what stands between words"),
    "another decoder": (lambda: changed(decoder=decoders.Fuse()), "does not write texts as bytes"),
    "suffixes": (lambda: json.dumps(SUFFIXED), "marks the edges of words"),
    "bytes": (lambda: without("!", "Ġ"), "lacks some of the 256 bytes"),
    "no end": (unnamed, "does not say which token ends a text; tokenizer_config.json beside it can, as eos_token"),
    "damaged": (lambda: source("gpt2")[:-40], "is damaged or is no tokenizer.json"),
    "no tokenizer": (lambda: "[]", "is damaged or is no tokenizer.json"),
    "merges of nothing": (
        lambda: source("gpt2").replace('"merges":[', '"merges":[["qq","zz"],'),
        "is damaged or",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_would_lose_something_is_refused_with_what(tmp_path: Path, case: str) -> None:
    made, said = BAD[case]
    with pytest.raises(UsageError) as caught:
        Tokenizer.foreign(stored(tmp_path, made()))
    assert str(caught.value).startswith(f"{tmp_path} {said}") and "\n" not in str(caught.value)


def test_an_end_that_a_text_can_spell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ends or pads texts with a token that a text can spell"):
        Tokenizer.foreign(stored(tmp_path, spelt(), tokenizer_config={"eos_token": "the"}))


def test_a_run_does_not_take_what_it_cannot_have_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"tokenizer\.json is damaged or is not"):
        Tokenizer.load(stored(tmp_path, wordpiece()) / "tokenizer.json")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        with pytest.raises(UsageError, match=r"has no tokenizer\.json that can be read"):
            Tokenizer.foreign(path)


# ---- in runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, mezzotint.Run]]:
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        (root / "texts.txt").write_text("\n".join(f"{text} {text} {i}" for i, text in enumerate(TEXTS * 3)))
        (root / "words").mkdir()
        stored(root / "words", source("roberta"))
        small = {"dim": "16", "depth": "1", "heads": "2", "batch": "4"}
        made = {}
        for name, system, more in (("mdlm", "mdlm", {}), ("fill", "mdlm", {"ending": "fill"}), ("ar", "ar", {})):
            how = {"tokenizer": str(root / "words"), "max_steps": 2, "settings": small | more}
            list(mezzotint.train(system, [root / "texts.txt"], out=root / name, **how))
            made[name] = mezzotint.load(root / name)
        yield made


@pytest.mark.parametrize("name", ["mdlm", "fill", "ar"])
def test_runs_with_it_write_and_never_write_an_added_token(runs: dict[str, mezzotint.Run], name: str) -> None:
    run = runs[name]
    assert run.tokenizer.is_foreign and run.spec.vocab == run.tokenizer.size
    for sample in run.generate(6, steps=4, temperature=3.0):
        assert not set(sample.ids) & run.tokenizer.special
        assert run.tokenizer.decode(sample.ids) == sample.text
    written = run.generate(2, prefix="The e\u0301 <mask> 🙂", steps=4)
    assert all(sample.text.startswith("The e\u0301 <mask> 🙂") for sample in written)


@pytest.mark.parametrize("name", ["mdlm", "fill"])
@pytest.mark.parametrize("template", ["The [2] pub</s> by\n", "[3], e\u0301 [1]<s> 🙂[1] ", "  [2] x", "a  [1]"])
def test_given_text_comes_back_byte_for_byte(runs: dict[str, mezzotint.Run], name: str, template: str) -> None:
    parts = [re.escape(part.text) if isinstance(part, Given) else ".*" for part in parse_template(template).pieces]
    for sample in runs[name].infill(template, n=3, steps=3):
        assert re.fullmatch("".join(parts), sample.text, re.DOTALL), sample.text


def test_an_ar_run_starts_and_ends_with_its_tokenizers_end(runs: dict[str, mezzotint.Run]) -> None:
    spec = runs["ar"].spec
    assert (spec.end, spec.pad) == (2, 1) == (runs["ar"].tokenizer.end, runs["ar"].tokenizer.pad)
    saved = json.loads((runs["ar"].folder / "config.json").read_text())["spec"]
    assert (saved["end"], saved["pad"]) == (2, 1)
    del saved["end"], saved["pad"]
    assert (ARSpec.from_json(saved).end, ARSpec.from_json(saved).pad) == (0, 1), "runs of before have ours"


def test_the_symbol_before_the_first_token_is_the_end(runs: dict[str, mezzotint.Run]) -> None:
    net = TransformerSpec(dim=8, depth=1, heads=2, causal=True)
    ids = torch.tensor([[5, 3]])
    yes, no = torch.ones_like(ids, dtype=torch.bool), torch.zeros_like(ids, dtype=torch.bool)
    canvas = Canvas(ids, no, yes, torch.zeros(1, dtype=torch.int64))
    for end in (0, 4):
        system = AR(ARSpec(vocab=6, canvas=4, ending=Ending.SYMBOL, net=net, end=end))
        system.initialise(1)
        logits = system.net(torch.tensor([[end, 5]])).log_softmax(-1)
        expected = -torch.stack([logits[0, 0, 5], logits[0, 1, 3]])
        torch.testing.assert_close(system.token_nll(canvas)[0], expected)


def test_a_text_is_written_from_the_end_symbol_to_the_end_symbol() -> None:
    """A network that knows one successor of each symbol: 4 5 3 4, and 0 nothing but itself."""
    follows = torch.tensor([0, 1, 2, 4, 5, 3])
    net = TransformerSpec(dim=8, depth=1, heads=2, causal=True)
    system = AR(ARSpec(vocab=6, canvas=8, ending=Ending.SYMBOL, net=net, end=4, pad=2))
    system.net = lambda fresh, at, cache, grafts: 50.0 * torch.eye(6)[follows[fresh[at]]]
    blank = torch.zeros((1, 5), dtype=torch.int64)
    canvas = Canvas(blank, blank.bool(), ~blank.bool(), torch.zeros(1, dtype=torch.int64))
    *_, last = system.sample(Request(canvas))
    assert last.ids.tolist() == [[5, 3, 4, 2, 2]] and last.known.tolist() == [[True, True, True, False, False]]


def test_a_gap_at_the_start_demands_nothing_where_no_space_is_put_there() -> None:
    template = parse_template("[2] x [1]y[1]")
    for name, first in (("roberta", 1), ("gpt2", 0)):
        ids, given, start = template.fill(adopted(name), [2, 1, 1])
        gaps = [demand for demand, fixed in zip(start, given, strict=True) if not fixed]
        assert gaps == [first, 0, 1, -1]
        assert template.text(adopted(name), ids) == " x y"


def test_what_follows_from_the_tokenizer_cannot_be_set(tmp_path: Path) -> None:
    for name in ("vocab", "end", "pad"):
        with pytest.raises(UsageError, match=f"unknown setting '{name}'"):
            mezzotint.check_settings("ar", settings={name: "3"})


# ---- how it is named -------------------------------------------------------------------------------------------------


def test_names_are_kinds_paths_or_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stored(tmp_path, "{}")
    for name in ("auto", "word", "bpe", "gpt2", "t5-small", "jane/words", "jane/words@v2", ".", "tokenizer.json"):
        check_tokenizer(name)
    for name in ("words", "Word", "bp", "./none", "a/b/c", "", "no such"):
        with pytest.raises(UsageError, match=f"unknown tokenizer '{name}'"):
            check_tokenizer(name)


def test_a_tokenizer_is_fetched_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mezzotint.data.corpus import Corpus
    from mezzotint.prepare import tokenizer_named

    corpus = Corpus(TEXTS, TEXTS, (), ())
    monkeypatch.chdir(tmp_path)
    with serving() as hub:
        reach(hub, monkeypatch, tmp_path)
        _on(hub)
        assert tokenizer_named("gpt2", corpus).fingerprint == adopted("gpt2").fingerprint
        assert tokenizer_named("jane/words", corpus).end == 1
        assert not any("model.safetensors" in asked for asked in hub.asked)
        with pytest.raises(UsageError, match=r"^jane/slow has no tokenizer\.json that can be read"):
            tokenizer_named("jane/slow", corpus)
        with pytest.raises(UsageError, match=r"^jane/bert is a WordPiece tokenizer"):
            tokenizer_named("jane/bert", corpus)
        with pytest.raises(HubError, match="gpt3 is not on the hub"):
            tokenizer_named("gpt3", corpus)


def _on(hub: Hub) -> None:
    weights = {"model.safetensors": b"much"}
    hub.repo("models/gpt2", {"tokenizer.json": source("gpt2").encode(), **weights})
    said = {"tokenizer_config.json": b'{"eos_token": "<|padding|>"}'}
    hub.repo("models/jane/words", {"tokenizer.json": source("neox").encode(), **said, **weights})
    hub.repo("models/jane/slow", {"vocab.txt": b"the", **weights})
    hub.repo("models/jane/bert", {"tokenizer.json": wordpiece().encode()})
