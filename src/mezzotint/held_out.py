"""The texts that a run is scored on, and those it learned from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.checks import names_bistro
from mezzotint.data.canvas import pack, room
from mezzotint.data.corpus import is_plain, load_corpus, read
from mezzotint.data.labels import read_labelled
from mezzotint.data.tokens import build_tokens, cache_folder, windows
from mezzotint.errors import DataError, HubError, UsageError, unknown
from mezzotint.evaluate.diversity import TrainingText
from mezzotint.prepare import bistro_texts
from mezzotint.run import Run
from mezzotint.types import Canvas, Layout

ROWS = 64
"""Of a batch."""


class Texts:
    """Held-out texts as rows of a run's canvas, shortest first."""

    def __init__(self, run: Run, data: Sequence[str | Path] = (), field: str | None = None) -> None:
        """Those of `held_out_texts`."""
        self.run = run
        self.layout = Layout(run.config["data"]["layout"])
        texts = held_out_texts(run, data, field)
        tokens = build_tokens(texts, run.tokenizer, cache_folder())
        self.notes: list[str] = []
        if self.layout is Layout.WINDOWS:
            tokens = windows(tokens, run.spec.canvas, run.tokenizer.end)
        most = run.spec.canvas if self.layout is Layout.WINDOWS else room(run.spec.canvas, run.spec.ending)
        order = np.argsort(tokens.lengths, kind="stable")
        fitting = [int(i) for i in order if tokens.lengths[i] <= most]
        if len(fitting) < len(tokens):
            self.notes.append(f"{len(tokens) - len(fitting)} of {len(tokens)} texts are too long and left out")
        if not fitting:
            raise DataError(f"no held-out text fits this run's canvas of {run.spec.canvas} tokens")
        self.rows = [tokens[i] for i in fitting]
        self.order = fitting
        self.texts = texts
        share = self._unknown_share()
        if share:
            self.notes.append(f"{share:.2%} of tokens are unknown words")

    def _unknown_share(self) -> float:
        unk = self.run.tokenizer.unk
        if unk is None:
            return 0.0
        return float(np.mean(np.concatenate(self.rows) == unk))

    @property
    def symbols(self) -> NDArray[np.float64]:
        """(n,) tokens, and one for the end of a text."""
        return np.array([len(r) for r in self.rows], dtype=np.float64) + (self.layout is Layout.TEXTS)

    @cached_property
    def characters(self) -> NDArray[np.float64]:
        """(n,) characters of each row, and one for the end of a text."""
        if self.layout is Layout.TEXTS:
            return np.array([len(self.texts[i]) + 1 for i in self.order], dtype=np.float64)
        return np.array([len("".join(self.run.tokenizer.surfaces(r))) for r in self.rows], dtype=np.float64)

    @property
    def written(self) -> list[str]:
        """Each row as text, unknown words included."""
        if self.layout is Layout.TEXTS:
            return [self.texts[i] for i in self.order]
        return [self.run.tokenizer.decode(row.tolist()) for row in self.rows]

    def some(self, n: int) -> Texts:
        """n of them, chosen by a fixed shuffle."""
        return self._of(sorted(np.random.default_rng(0).permutation(len(self.rows))[:n].tolist()))

    def only(self, texts: Collection[int]) -> Texts:
        """Those with these indices among the held-out texts."""
        return self._of([place for place, text in enumerate(self.order) if text in texts])

    def _of(self, places: Sequence[int]) -> Texts:
        part = copy(self)
        part.rows, part.order = [self.rows[i] for i in places], [self.order[i] for i in places]
        part.__dict__.pop("characters", None)
        return part

    def batches(self) -> Iterator[Canvas]:
        spec, tokenizer = self.run.spec, self.run.tokenizer
        for begin in range(0, len(self.rows), ROWS):
            part = self.rows[begin : begin + ROWS]
            index = self.order[begin : begin + ROWS]
            yield pack(part, index, spec.ending, spec.canvas, tokenizer.end, tokenizer.pad).to(self.run.device)

    @property
    def count(self) -> int:
        """How many texts there are in the form in which samples come."""
        return len(self.texts) if self.layout is Layout.TEXTS else len(self.rows)

    def like_samples(self, n: int) -> list[str]:
        """n held-out texts, the first of a fixed shuffle, in the form in which samples come."""
        chosen = np.random.default_rng(0).permutation(self.count)[:n]
        if self.layout is Layout.TEXTS:
            return [self.texts[i] for i in chosen]
        return [self.run.tokenizer.decode(self.rows[i].tolist()) for i in chosen]


def held_out_texts(run: Run, data: Sequence[str | Path] = (), field: str | None = None) -> list[str]:
    """The texts of some files; without `data` those that were held out when the run was trained.

    `field` is which of a record is the text, by default as the run was trained. DataError or UsageError where they
    cannot be had.
    """
    if field is not None and not data:
        raise UsageError(f"a field named '{field}' is looked for in files that are named; name some")
    source = run.config["data"]
    layout = Layout(source["layout"])
    if names_bistro(data or source["files"]):
        return bistro_texts("test")
    if data:
        of_run = None if all(map(is_plain, data)) else source["field"]
        return list(read(data, field or of_run, layout)[0])
    if source["valid"]:
        return list(read(source["valid"], source["field"], layout)[0])
    if not source["files"]:
        raise UsageError(f"{run.name} does not say which texts were held out when it was trained; name some")
    corpus = load_corpus(source["files"], None, source["field"], layout)
    if [file.sha256 for file in corpus.sources] != [file["sha256"] for file in source["sources"]]:
        raise DataError(f"the texts that {run.name} was trained on have changed; name held-out ones")
    return corpus.valid


def labelled(
    run: Run, to: str, data: Sequence[str | Path], label: str = "label", field: str | None = None
) -> tuple[list[str], list[str]]:
    """The texts of some files that have the label `to`, and those that have another.

    Without `data` they are the run's own training files. DataError or UsageError where they cannot be had.
    """
    paths = [str(path) for path in data or run.config["data"]["files"]]
    pairs = read_labelled(paths, label, field or run.config["data"]["field"])
    if not pairs:
        raise DataError(f"there is no labelled text in {', '.join(paths)}")
    with_label = [text for text, value in pairs if value == to]
    if not with_label or len(with_label) == len(pairs):
        others = {value for _, value in pairs} - {to}
        raise unknown("label", to, others) if others else UsageError(f"every text there has the label '{to}'")
    return with_label, [text for text, value in pairs if value != to]


def own_texts(run: Run, data: Sequence[str | Path] = (), field: str | None = None) -> list[str]:
    """The texts of some files; without `data` those that the run was trained on. DataError or UsageError."""
    source = run.config["data"]
    if not data and not source["files"]:
        raise UsageError(f"{run.name} does not say which texts it was trained on; name some")
    paths = [str(path) for path in data or source["files"]]
    if names_bistro(paths):
        return bistro_texts("train")
    texts, _ = read(paths, field or source["field"], Layout(source["layout"]))
    return list(texts)


def is_bistro(run: Run) -> bool:
    """Whether a run was trained on the bundled corpus."""
    return names_bistro(run.config["data"]["files"])


def training_text(run: Run) -> TrainingText | None:
    """The texts that a run was trained on; None where its files are gone or have changed."""
    source = run.config["data"]
    if is_bistro(run):
        return TrainingText(bistro_texts("train"))
    if not source["files"]:
        return None  # an imported run: what it was trained on is not here
    try:
        texts, origins = read(source["files"], source["field"], Layout(source["layout"]))
    except (DataError, HubError, UsageError):
        return None
    recorded = [file["sha256"] for file in source["sources"][: len(origins)]]
    return TrainingText(texts) if recorded == [file.sha256 for file in origins] else None
