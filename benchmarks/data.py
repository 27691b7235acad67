"""The corpora of the benchmarks, as plain files under runs/data: made once from the compressed originals."""

from __future__ import annotations

import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mezzotint

ORIGINALS = Path(__file__).parents[2] / "shared" / "data"
PLAIN = Path("runs/data")
PIECES = {"roc": 2048}
"""Entries of the tokenizer where a corpus is too small for what `auto` makes of it: of 8,192 pieces and 212,000 tokens
most would be seen a few times, and one word in 25 of held-out stories is new to a vocabulary of words."""


@dataclass(frozen=True)
class Data:
    """Files for --data, or the name of the bundled corpus."""

    train: str | Path
    valid: str | Path | None
    test: str | Path
    tokenizer: str = "auto"
    """What --tokenizer is to be."""


def corpus_files(name: str) -> Data:
    """The files of a corpus; SystemExit with a sentence where the originals are not at hand."""
    if name == "bistro":
        return Data("bistro", None, "bistro")
    if not ORIGINALS.exists():
        raise SystemExit(f"the benchmark data is not beside the repository ({ORIGINALS.name}/{name}); see docs/log.md")
    sources = SOURCES[name]
    kind = "jsonl" if name == "yelp" else "txt"
    files = [_write_lines(PLAIN / f"{name}-{split}.{kind}", sources(split)) for split in ("train", "valid", "test")]
    return Data(*files, tokenizer=_pieces(files[0], PIECES[name]) if name in PIECES else "auto")


def _pieces(train: Path, size: int) -> str:
    """The file of a byte-pair tokenizer of so many entries."""
    from mezzotint.data.tokenizer import train_tokenizer

    path = train.with_suffix(f".bpe{size}.json")
    if not path.exists():
        texts = train.read_text(encoding="utf-8").splitlines()
        train_tokenizer("bpe", texts, [], bpe_size=size).save(path)
    return str(path)


def transfer_items() -> list[dict[str, Any]]:
    """Yelp's thousand texts for attribute transfer, each with `text`, `label` and four human `refs`."""
    if not ORIGINALS.exists():
        raise SystemExit(f"the benchmark data is not beside the repository ({ORIGINALS.name}/yelp); see docs/log.md")
    return [json.loads(line) for line in _yelp("transfer_test")]


def _write_lines(path: Path, lines: Iterator[str]) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".part")
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        temporary.rename(path)
    return path


def _e2e(split: str) -> Iterator[str]:
    with lzma.open(ORIGINALS / "e2e" / f"{split}.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            yield " ".join(json.loads(line)["ref"].split())


def _prose(split: str) -> Iterator[str]:
    return _lines("prose", "train-00" if split == "train" else split)


def _roc(split: str) -> Iterator[str]:
    return _lines("roc", split)


def _lines(name: str, part: str) -> Iterator[str]:
    with lzma.open(ORIGINALS / name / f"{part}.txt.xz", "rt", encoding="utf-8") as file:
        yield from (line.rstrip("\n") for line in file)


def _ptb(split: str) -> Iterator[str]:
    with lzma.open(ORIGINALS / "ptb" / f"{split}.txt.xz", "rt", encoding="utf-8") as file:
        yield from (line.strip() for line in file)


def _yelp(split: str) -> Iterator[str]:
    """Records with a text and its label, 1 for praise and 0 for blame."""
    with lzma.open(ORIGINALS / "yelp" / f"{split}.jsonl.xz", "rt", encoding="utf-8") as file:
        yield from (line.rstrip("\n") for line in file)


def _protein(split: str, longest: int = 512) -> Iterator[str]:
    """Chains of at most so many residues, each a word of one letter."""
    with lzma.open(ORIGINALS / "protein" / f"{split}.jsonl.xz", "rt", encoding="utf-8") as file:
        chains = (json.loads(line)["seq"] for line in file)
        yield from (" ".join(chain) for chain in chains if len(chain) <= longest)


SOURCES: dict[str, Callable[[str], Iterator[str]]] = {
    "e2e": _e2e, "prose": _prose, "roc": _roc, "ptb": _ptb, "yelp": _yelp, "protein": _protein,
    "protein-short": partial(_protein, longest=128),
}  # fmt: skip


if __name__ == "__main__":
    for corpus in SOURCES:
        print(corpus_files(corpus))
    print(f"bundled: {len(mezzotint.bistro_texts('train')):,} texts")
