"""What else is written from a source: `tatoeba-de-en`, `aeslc-subject`, `e2e-pairs`, `bistro-pairs`.

    python -m benchmarks.pairs bistro train ar; … train difformer; … train cmlm
    python -m benchmarks.pairs bistro score ar --split test; … score difformer --split test
    python -m benchmarks.pairs aeslc train ar; … as above
    python -m benchmarks.pairs tatoeba score difformer --split iwslt

Commands, arms and options are those of `benchmarks.multi30k`, which says how to go on and how to choose. In tatoeba the
split `iwslt` is of the official IWSLT14 test set: talks, which a model of everyday sentences has never met, their lines
of at most ten words, since most are longer than any that it learned from. aeslc is private mail: no text of it is
printed, and none that is written from it is kept. Mails longer than 511 tokens are left out of its training; such a one
gives an empty subject. e2e is written from its fields, each set of them once, and what is written may follow any of its
references, of which the test split has 7 for each. bistro is written from what a text says; `success` is the share that
says all of it and nothing else, by its grammar.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.arms import Task
from benchmarks.data import ORIGINALS
from benchmarks.multi30k import main


def _files(folder: str, **more: str) -> dict[str, Path]:
    files = {split: f"{folder}/{split}" for split in ("train", "valid", "test")} | more
    return {split: ORIGINALS / f"{file}.jsonl.xz" for split, file in files.items()}


TASKS = {
    "tatoeba": Task(
        "tatoeba-de-en", _files("tatoeba_en_de", iwslt="iwslt14_de_en/test"), "de", "en", words={"iwslt": 10}
    ),
    "aeslc": Task(
        "aeslc-subject", _files("aeslc"), "email", "subject", private=True,
        settings={"source_canvas": "512", "canvas": "32"},
    ),
    "e2e": Task("e2e-pairs", _files("e2e"), "mr", "ref", several=True),
    "bistro": Task("bistro-pairs", dict.fromkeys(("train", "valid", "test"), Path("bistro")), None, None),
}  # fmt: skip


if __name__ == "__main__":
    main(__doc__, TASKS)
