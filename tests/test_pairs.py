"""Pairs: read from records and parallel files, held out by source, packed side by side; refused with a sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.data.canvas import pack_sources
from mezzotint.data.pairs import Columns, load_pairs, read_pairs
from mezzotint.data.tokenizer import train_tokenizer
from mezzotint.data.tokens import Pairs, build_tokens
from mezzotint.errors import DataError
from mezzotint.prepare import bistro_pairs, bistro_texts
from mezzotint.types import Canvas

BOTH = [(f"quelle {i}", f"target {i * i}") for i in range(40)]
COLUMNS = Columns("de", "en")


def records(folder: Path, name: str, pairs: list[tuple[str, str]]) -> Path:
    path = folder / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"de": a, "en": b, "n": 1}) + "\n" for a, b in pairs))
    elif path.suffix == ".json":
        path.write_text(json.dumps([{"en": b, "de": a} for a, b in pairs]))
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table({"de": [a for a, _ in pairs], "en": [b for _, b in pairs]})
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        path.write_text("".join(f"{a}{mark}{b}\n" for a, b in [("de", "en"), *pairs]))
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet"])
def test_records_give_both_sides_in_order_and_blank_ones_are_told(tmp_path: Path, name: str) -> None:
    path = records(tmp_path, name, [BOTH[0], ("leer", " "), ("", "blank"), *BOTH[1:]])
    (read, texts), files, notes = read_pairs([path], COLUMNS)
    assert list(zip(read, texts, strict=True)) == BOTH
    assert files[0].path == str(path) and "2 of 42 pairs" in notes[0]


def test_two_text_files_are_parallel(tmp_path: Path) -> None:
    for name, side in (("de.txt", 0), ("en.txt", 1)):
        (tmp_path / name).write_text("".join(pair[side] + "\n" for pair in BOTH))
    files = [tmp_path / "de.txt", tmp_path / "en.txt"]
    (read, texts), found, _ = read_pairs(files, Columns())
    assert list(zip(read, texts, strict=True)) == BOTH and [f.path for f in found] == list(map(str, files))
    with (tmp_path / "en.txt").open("a") as file:
        file.write("one more\n")
    with pytest.raises(DataError, match=r"de\.txt has 40 lines and .*en\.txt 41"):
        read_pairs(files, Columns())


def test_no_source_is_on_both_sides_and_no_pair_is_lost_or_broken(tmp_path: Path) -> None:
    pairs = [(f"quelle {i % 60}", f"target {i}") for i in range(300)]
    corpus = load_pairs([records(tmp_path, "a.jsonl", pairs)], None, COLUMNS)
    train = list(zip(corpus.train_from, corpus.train, strict=True))
    valid = list(zip(corpus.valid_from, corpus.valid, strict=True))
    assert sorted(train + valid) == sorted(pairs) and train and valid
    assert not set(corpus.train_from) & set(corpus.valid_from)
    assert [pair for pair in pairs if pair in set(train)] == train


def test_named_held_out_files_are_taken_whole(tmp_path: Path) -> None:
    held = records(tmp_path, "b.jsonl", BOTH[:3])
    corpus = load_pairs([records(tmp_path, "a.jsonl", BOTH)], [held], COLUMNS)
    assert list(zip(corpus.valid_from, corpus.valid, strict=True)) == BOTH[:3] and len(corpus.train) == 40
    assert corpus.all_train == [a for a, _ in BOTH] + [b for _, b in BOTH]


def test_bistro_pairs_are_the_bistro_texts_with_what_they_say() -> None:
    read, texts = bistro_pairs("test")
    assert texts == bistro_texts("test")
    assert all(line.startswith("name = ") for line in read)


def test_a_missing_field_is_blamed_on_its_record(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"de": "a", "en": "b"}\n{"de": "c"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: there is no field 'en'; the record has 'de'"):
        read_pairs([path], COLUMNS)


def test_sources_are_given_closed_and_never_empty() -> None:
    canvas = pack_sources([np.array([5, 6, 7]), np.array([], dtype=np.int64)], [3, 4], 16, end=0, pad=1)
    assert canvas.ids.tolist() == [[5, 6, 7, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1, 1, 1]]
    assert torch.equal(canvas.real, canvas.given) and canvas.real.sum(1).tolist() == [4, 1]
    assert not canvas.free.any() and canvas.index.tolist() == [3, 4]


def test_pairs_too_long_on_either_side_go_together(tmp_path: Path) -> None:
    texts = ["a b", "a b c d", "a", "b c"]
    others = ["c d e", "c", "d e f g h", "d"]
    tokenizer = train_tokenizer("word", [*texts * 2, *others * 2], [])
    pairs = Pairs(build_tokens(texts, tokenizer, tmp_path), build_tokens(others, tokenizer, tmp_path))
    assert pairs.sizes.tolist() == [5, 5, 6, 3] and pairs.lengths.tolist() == [3, 1, 5, 1]
    kept, left = pairs.within(3, 4)
    assert left == 2 and [tokenizer.decode(row) for row in kept.source] == ["a b", "b c"]
    assert [tokenizer.decode(row) for row in kept.target] == ["c d e", "d"]


def test_rows_of_a_canvas_keep_their_sources() -> None:
    ids = torch.arange(12).view(4, 3)
    every = torch.ones_like(ids, dtype=torch.bool)
    canvas = Canvas(ids, ~every, every, torch.arange(4), source=Canvas(ids + 50, every, every, torch.arange(4) + 7))
    for rows in (torch.tensor([3, 0, 0]), slice(1, 3)):
        part = canvas.rows(rows)
        assert torch.equal(part.source.ids, part.ids + 50) and torch.equal(part.source.index, part.index + 7)
    moved = replace(canvas).to("meta")
    assert moved.source.ids.device.type == "meta" and moved.source.index.device.type == "cpu"
