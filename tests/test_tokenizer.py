"""What a tokenizer promises: texts come back, no text spells a special token, equal corpora give equal tokenizers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.data import tokenizer as module
from mezzotint.data.corpus import load_corpus
from mezzotint.data.template import parse_template
from mezzotint.data.tokenizer import Tokenizer, known_share, train_tokenizer
from mezzotint.errors import RunError, UsageError

few = settings(max_examples=50, deadline=None)

TEXTS = ["The cat sat, and the cat ran.", "a cat: <end> <pad> <unk>!", "the\tend\n of  the end", "\n a cat sat"] * 3
SHARED = Path(__file__).parents[2] / "shared" / "data"

BPE = train_tokenizer("bpe", TEXTS, TEXTS)
WORD = train_tokenizer("word", TEXTS, TEXTS)

any_text = st.text(max_size=40)
tricky = st.lists(
    st.sampled_from(["<end>", "<pad>", "<unk>", " ", "  ", "\n", "\r\n", "\x00", "cat", " The", "é", "🙂", "x", "."]),
    max_size=12,
).map("".join)


@given(any_text | tricky)
@few
def test_bpe_gives_every_text_back(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text
    assert BPE.decode(BPE.encode(text, virtual_space=False), virtual_space=False) == text


@given(any_text | tricky | st.lists(st.sampled_from([*WORD.surfaces(range(3, WORD.size))]), max_size=12).map("".join))
@few
def test_words_give_every_text_of_known_pieces_back(text: str) -> None:
    ids = WORD.encode(text)
    if WORD.unk not in ids:
        assert WORD.decode(ids) == text


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[2], "the cat\n  sat.\tend", " The cat", "cat  ", "\n"])
def test_known_words_and_seen_white_space_are_known_pieces(text: str) -> None:
    assert WORD.unk not in WORD.encode(text)
    assert WORD.decode(WORD.encode(text)) == text


@given(any_text | tricky)
@few
def test_no_text_encodes_to_end_or_padding(text: str) -> None:
    assert not {0, 1} & {*WORD.encode(text), *BPE.encode(text), *BPE.encode(text, virtual_space=False)}


def test_words_keep_their_case_and_the_space_before_them() -> None:
    assert WORD.surfaces(WORD.encode("The cat, the\tend.")) == [" The", " cat", ",", " the", "\t", "end", "."]
    assert WORD.surfaces(WORD.encode("cat.:.. ")) == [" cat", ".", ":", ".", ".", " "]
    assert WORD.surfaces(WORD.encode("a zebra")) == [" a", " <unk>"]
    assert WORD.decode(WORD.encode("a zebra sat")) == "a <unk> sat"


@pytest.mark.parametrize("tokenizer", [WORD, BPE])
def test_a_word_is_the_same_token_at_the_start_as_inside(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a cat")[-1:] == tokenizer.encode("cat") == tokenizer.encode(" cat", virtual_space=False)


def test_vocabulary_is_pieces_seen_twice_most_frequent_first_then_alphabetical() -> None:
    tokenizer = train_tokenizer("word", ["b a b", "c once", "c a b"], [])
    assert tokenizer.surfaces(range(tokenizer.size)) == ["<end>", "<pad>", " <unk>", " b", " a", " c"]
    assert (tokenizer.end, tokenizer.pad, tokenizer.unk, tokenizer.special) == (0, 1, 2, {0, 1, 2})
    assert (BPE.end, BPE.pad, BPE.unk, BPE.special) == (0, 1, None, {0, 1})


@pytest.mark.parametrize("tokenizer", [WORD, BPE])
def test_decoding_stops_at_the_first_end_or_padding(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a cat")
    for mark in (tokenizer.end, tokenizer.pad):
        assert tokenizer.decode(np.array([*ids, mark, *ids])) == "a cat"


@pytest.mark.parametrize("tokenizer", [WORD, BPE])
def test_spaced_says_which_surfaces_begin_with_a_space(tokenizer: Tokenizer) -> None:
    assert tokenizer.spaced.tolist() == [text[:1] == " " for text in tokenizer.surfaces(range(tokenizer.size))]
    first, *rest = tokenizer.encode("cat.")
    assert tokenizer.spaced[first] and not tokenizer.spaced[rest].any()


@given(st.lists(st.sampled_from(["cat", "\n", " ", ".", "the", "\r\n", "²", "🙂"]), max_size=30).map("".join))
@few
def test_encoding_in_parts_changes_nothing(text: str) -> None:
    whole = [t.encode_all([text, text]) for t in (WORD, BPE)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", 3)
        assert [t.encode_all([text, text]) for t in (WORD, BPE)] == whole


def test_training_in_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    document = ["\n".join(TEXTS)]
    whole = [train_tokenizer(kind, document, document).fingerprint for kind in ("word", "bpe")]
    monkeypatch.setattr(module, "_BATCH", 20)
    assert [train_tokenizer(kind, document, document).fingerprint for kind in ("word", "bpe")] == whole


def test_auto_takes_words_up_to_the_limits_and_not_beyond() -> None:
    train, valid = ["a b c d"] * 2, ["a b c d"] * 199 + ["a b c x"]
    assert known_share(train_tokenizer("word", train, valid), valid) == 1 - 1 / 800
    kinds = {
        (words, coverage): train_tokenizer("auto", train, valid, words, coverage).kind
        for words in (4, 3)
        for coverage in (1 - 1 / 800, 1 - 1 / 801)
    }
    assert kinds == {
        (4, 1 - 1 / 800): "word", (4, 1 - 1 / 801): "bpe", (3, 1 - 1 / 800): "bpe", (3, 1 - 1 / 801): "bpe"
    }  # fmt: skip


@given(st.lists(st.text("ab c", max_size=8), min_size=1, max_size=12), st.integers(0, 4))
@few
def test_looking_at_a_first_part_only_never_changes_what_auto_takes(texts: list[str], words: int) -> None:
    plain = train_tokenizer("auto", texts, texts, words, 0.0).kind
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", 4)
        assert train_tokenizer("auto", texts, texts, words, 0.0).kind == plain


def test_auto_does_not_count_the_words_of_all_of_a_large_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    train_words = module._train_words
    monkeypatch.setattr(module, "_BATCH", 20)
    monkeypatch.setattr(module, "_train_words", lambda texts: (counted.append(len(texts)), train_words(texts))[1])
    assert train_tokenizer("auto", ["a b c d"] * 50, ["a"], max_words=3).kind == "bpe"
    assert counted == [5]


def test_bpe_has_fewer_entries_for_less_text() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = " ".join(a + b + c for a in letters for b in letters for c in letters[:9])
    assert train_tokenizer("bpe", [text], []).size == 512
    assert train_tokenizer("bpe", [text] * 2, []).size == 2 * len(text) // 60 > 512
    assert train_tokenizer("bpe", [text] * 2, [], bpe_size=600).size == 600


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown tokenizer 'words'; did you mean 'word'"):
        train_tokenizer("words", TEXTS, TEXTS)


def test_words_that_are_not_in_the_vocabulary_are_named_once_each() -> None:
    known = TEXTS[0].split()[0]
    assert WORD.unknown_words(f"{known} Klingon 東京 {known} Klingon ") == ["Klingon", "東京"]
    assert WORD.unknown_words(TEXTS[0]) == WORD.unknown_words(" ") == WORD.unknown_words("") == []
    assert WORD.unknown_words(f" {known} Klingon") == ["Klingon"]
    # A full stop is never behind a space in these texts, and is known right behind a gap.
    template = parse_template(rf"Klingon {known} [2]. [1] Klingon [ ].")
    assert template.unknown_words(WORD) == ["Klingon"] and WORD.unknown_words(".") == ["."]


def test_of_pieces_words_with_a_character_that_is_in_none_are_unknown() -> None:
    assert BPE.unknown_words("Klingon, x犬y (犬) Жук 犬! x犬y") == ["x犬y", "犬", "Жук"]
    assert BPE.unknown_words(" ".join(TEXTS[:3])) == BPE.unknown_words("") == BPE.unknown_words("Klingon") == []


@pytest.mark.parametrize("tokenizer", [WORD, BPE])
def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="half a surrogate pair"):
        tokenizer.encode("a \ud800 cat")


def test_equal_texts_give_equal_tokenizers_in_another_process_too() -> None:
    code = (
        "import sys, json; from mezzotint.data.tokenizer import train_tokenizer; texts = json.load(sys.stdin);"
        "print(*(train_tokenizer(k, texts, texts).fingerprint for k in ('word', 'bpe')))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(TEXTS), env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [WORD.fingerprint, BPE.fingerprint], done.stderr


@pytest.mark.parametrize("tokenizer", [WORD, BPE])
def test_a_saved_tokenizer_comes_back(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    text = "the <end> of the\n cat 🙂"
    assert loaded.fingerprint == tokenizer.fingerprint and loaded.encode(text) == tokenizer.encode(text)
    assert (loaded.kind, loaded.size, loaded.unk) == (tokenizer.kind, tokenizer.size, tokenizer.unk)


def test_saving_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "tokenizer.json"
    WORD.save(place)
    before = place.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        BPE.save(place)
    assert place.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def _other_order(values: dict) -> dict:
    values["model"]["vocab"]["<end>"], values["model"]["vocab"]["<pad>"] = 1, 0
    return values


def _a_hole(values: dict) -> dict:
    del values["model"]["vocab"][" cat"]
    return values


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:-40], lambda text: "[]", lambda text: "", lambda text: text.replace("WordLevel", "WordPiece")]
    + [lambda text, change=change: json.dumps(change(json.loads(text))) for change in (_other_order, _a_hole)],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage) -> None:
    place = tmp_path / "tokenizer.json"
    WORD.save(place)
    place.write_text(damage(place.read_text()))
    with pytest.raises(RunError, match=r"tokenizer\.json is damaged or is not"):
        Tokenizer.load(place)


def test_a_missing_or_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none\.json is missing"):
        Tokenizer.load(tmp_path / "none.json")
    with pytest.raises(RunError, match="cannot be read"):
        Tokenizer.load(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="cannot be read"):
        Tokenizer.load(tmp_path / "bytes.json")


def test_auto_takes_words_for_e2e() -> None:
    paths = [SHARED / "e2e" / f"{part}.jsonl.xz" for part in ("train", "valid")]
    if not all(path.exists() for path in paths):
        pytest.skip("the E2E texts are not beside the repository")
    corpus = load_corpus(paths[:1], paths[1:], field="ref")
    tokenizer = train_tokenizer("auto", corpus.train[::3], corpus.valid)
    assert tokenizer.kind == "word" and 0.995 < known_share(tokenizer, corpus.valid) < 1
    for text, ids in zip(corpus.train[:500], tokenizer.encode_all(corpus.train[:500]), strict=True):
        assert tokenizer.unk in ids or tokenizer.decode(ids) == text
