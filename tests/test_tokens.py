"""The token cache: what comes out is what the tokenizer says, whatever happened to the folder before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mezzotint.data import tokens as module
from mezzotint.data.tokenizer import Tokenizer, train_tokenizer
from mezzotint.data.tokens import Tokens, build_tokens, cache_folder, windows, without_long
from mezzotint.errors import DataError

few = settings(max_examples=40, deadline=None)

TEXTS = ["The cat sat.", "a cat", "the end\nof a cat 🙂", "x"]
TOKENIZER = train_tokenizer("bpe", TEXTS * 3, TEXTS)


def rows(tokens: Tokens) -> list[list[int]]:
    return [row.tolist() for row in tokens]


def never(*_: object) -> None:
    raise AssertionError("the cache was not used")


def test_rows_are_the_ids_of_the_texts(tmp_path: Path) -> None:
    tokens = build_tokens(TEXTS, TOKENIZER, tmp_path)
    assert rows(tokens) == TOKENIZER.encode_all(TEXTS)
    assert tokens.lengths.tolist() == [len(row) for row in rows(tokens)]
    assert tokens[0].dtype == np.int64 and isinstance(tokens.ids, np.memmap)


def test_the_second_time_nothing_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rows(build_tokens(TEXTS, TOKENIZER, tmp_path))
    monkeypatch.setattr(Tokenizer, "encode_each", never)
    assert rows(build_tokens(TEXTS, TOKENIZER, tmp_path)) == first


def test_other_texts_or_another_tokenizer_are_another_cache(tmp_path: Path) -> None:
    other = train_tokenizer("word", TEXTS * 3, TEXTS)
    cases = [
        (TEXTS, TOKENIZER),
        (TEXTS, other),
        (TEXTS[::-1], TOKENIZER),
        (["ab", "c"], TOKENIZER),
        (["a", "bc"], TOKENIZER),
    ]
    for texts, tokenizer in cases * 2:
        assert rows(build_tokens(texts, tokenizer, tmp_path)) == tokenizer.encode_all(texts)
    assert len(list(tmp_path.iterdir())) == len(cases)


@pytest.mark.parametrize("name", ["ids.npy", "offsets.npy", "meta.json"])
@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: b"", lambda data: b"null", None])
def test_a_damaged_cache_is_built_again(tmp_path: Path, name: str, damage) -> None:
    build_tokens(TEXTS, TOKENIZER, tmp_path)
    (file,) = tmp_path.glob(f"*/{name}")
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    assert rows(build_tokens(TEXTS, TOKENIZER, tmp_path)) == TOKENIZER.encode_all(TEXTS)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_cache_of_another_format_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_tokens(TEXTS, TOKENIZER, tmp_path)
    (file,) = tmp_path.glob("*/meta.json")
    file.write_text(file.read_text().replace('"format": 1', '"format": 0'))
    monkeypatch.setattr(Tokenizer, "encode_each", never)
    with pytest.raises(AssertionError, match="not used"):
        build_tokens(TEXTS, TOKENIZER, tmp_path)


def test_offsets_that_do_not_fit_the_ids_are_damage(tmp_path: Path) -> None:
    build_tokens(TEXTS, TOKENIZER, tmp_path)
    (file,) = tmp_path.glob("*/offsets.npy")
    np.save(file, np.load(file)[::-1].copy())
    assert rows(build_tokens(TEXTS, TOKENIZER, tmp_path)) == TOKENIZER.encode_all(TEXTS)


@pytest.mark.parametrize("step", ["_flat", "_install"])
def test_a_build_that_is_cut_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, stop)
    with pytest.raises(KeyboardInterrupt):
        build_tokens(TEXTS, TOKENIZER, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_was_faster_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = module._flat

    def slow(texts: list[str], tokenizer: Tokenizer):
        monkeypatch.setattr(module, "_flat", flat)
        build_tokens(texts, tokenizer, tmp_path)
        return flat(texts, tokenizer)

    monkeypatch.setattr(module, "_flat", slow)
    assert rows(build_tokens(TEXTS, TOKENIZER, tmp_path)) == TOKENIZER.encode_all(TEXTS)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"token cache .*file cannot be written .*; set MEZZOTINT_CACHE"):
        build_tokens(TEXTS, TOKENIZER, tmp_path / "file")


def test_ids_are_as_narrow_as_the_vocabulary_allows(tmp_path: Path) -> None:
    for size, dtype, top in ((2**16, np.uint16, 2**16 - 1), (2**16 + 1, np.uint32, 2**16)):
        fake = SimpleNamespace(size=size, end=0, fingerprint=str(size), encode_each=lambda texts, top=top: [[top]])
        tokens = build_tokens(["x"], fake, tmp_path)
        assert tokens.ids.dtype == dtype and rows(tokens) == [[top]]


def in_memory(texts: list[list[int]]) -> Tokens:
    flat = [i for row in texts for i in [*row, 0]]
    stops = np.cumsum([len(row) + 1 for row in texts]) - 1
    return Tokens(np.array(flat, dtype=np.uint16), stops - [len(row) for row in texts], stops)


documents = st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=9), min_size=1, max_size=9)


@given(documents, st.integers(1, 12))
@example([[5], [6]], 4)
@few
def test_windows_are_the_joined_documents_cut_without_overlap(texts: list[list[int]], length: int) -> None:
    joined = [i for row in texts for i in [*row, 0]]
    if len(joined) < length:
        with pytest.raises(DataError, match=f"{len(joined)} tokens of text, fewer than one window of {length}"):
            windows(in_memory(texts), length, 0)
        return
    cut = rows(windows(in_memory(texts), length, 0))
    assert {len(row) for row in cut} == {length} and len(cut) == len(joined) // length
    assert [i for row in cut for i in row] == joined[: len(cut) * length]


@given(documents, st.integers(1, 12))
@few
def test_only_long_rows_are_left_out_and_counted(texts: list[list[int]], cap: int) -> None:
    kept, skipped = without_long(in_memory(texts), cap)
    assert rows(kept) == [row for row in texts if len(row) <= cap]
    assert skipped == len(texts) - len(kept)


def test_the_cache_folder_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MEZZOTINT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mezzotint"
