"""How good a run that writes from a source is: what it writes from held-out sources beside their texts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mezzotint.checks import names_bistro
from mezzotint.data import bistro
from mezzotint.data.pairs import Columns, load_pairs, read_pairs
from mezzotint.errors import UsageError
from mezzotint.evaluate.likelihood import costs, likelihood
from mezzotint.evaluate.overlap import overlap
from mezzotint.evaluate.table import Score
from mezzotint.prepare import bistro_pairs
from mezzotint.run import Run
from mezzotint.translation.write import Translation, asked_of, pair_canvas, translate

ROWS = 64
DRAWS = 8


def held_out_pairs(run: Run, data: Sequence[str | Path] = ()) -> tuple[list[str], list[str]]:
    """The sources and texts of some files, whose fields are those that the run was trained with.

    Without `data` those that were held out when it was trained. DataError or UsageError where they cannot be had.
    """
    source = run.config["data"]
    if names_bistro(data or source["files"]):
        return bistro_pairs("test")
    columns = Columns(**(source.get("pair") or {}))
    if not data and not source["valid"]:
        corpus = load_pairs(source["files"], None, columns)
        assert corpus.valid_from is not None
        return corpus.valid_from, corpus.valid
    try:
        pairs, _, _ = read_pairs(data or source["valid"], columns)
    except UsageError as error:
        raise UsageError(f"this run was trained on pairs in other files: {error}") from None
    return pairs


def pair_scores(run: Run, data: Sequence[str | Path], *, seed: int = 0, **options: Any) -> Iterator[Score]:
    """Likelihood of the held-out texts given their sources, and what is written from the sources beside them."""
    sources, texts = held_out_pairs(run, data)
    yield from pair_bound(run, sources, texts, seed)
    settings = asked_of(run, seed=seed, **options)
    start = time.perf_counter()
    translations = list(translate(run, sources, seed=seed, **options))
    seconds = time.perf_counter() - start
    setup = f"{settings.lengths}x{settings.each} by {settings.choose.value}, decoder {settings.decoder.value}"
    note = "; ".join([setup, *_failure_notes(translations)])
    yield Score("sentences_per_second", len(translations) / seconds, None, len(translations), note)
    yield Score.mean("nfe", [each.nfe for each in translations], "network evaluations a text, all candidates")
    yield from overlap([each.text for each in translations], [[text] for text in texts])
    if names_bistro(run.config["data"]["files"]):
        successes = [says_all(line, each.text) for line, each in zip(sources, translations, strict=True)]
        yield Score.mean("success", successes, "texts that say all fields and no others")


def pair_bound(run: Run, sources: Sequence[str], texts: Sequence[str], seed: int) -> Iterator[Score]:
    """-log p of the texts given their sources, or a bound on it, of those pairs that fit the run."""
    tokenizer = run.tokenizer
    rows = list(zip(tokenizer.encode_all(sources), tokenizer.encode_all(texts), strict=True))
    fits = [i for i, (a, b) in enumerate(rows) if len(a) < run.source_canvas and len(b) < run.spec.canvas]
    if not fits:
        return
    fits.sort(key=lambda i: len(rows[i][1]))
    parts = [fits[begin : begin + ROWS] for begin in range(0, len(fits), ROWS)]
    batches = (pair_canvas(run, [rows[i] for i in part], part) for part in parts)
    nats = costs(run.system, batches, 1 if run.card.exact else DRAWS, seed)
    note = "exact" if run.card.exact else f"{run.card.bound}, {DRAWS} draws a text"
    note += f"; {len(rows) - len(fits)} of {len(rows)} pairs are too long" if len(fits) < len(rows) else ""
    symbols = np.array([len(rows[i][1]) + 1 for i in fits], dtype=np.float64)
    characters = np.array([len(texts[i]) + 1 for i in fits], dtype=np.float64)
    yield from likelihood(nats, symbols, characters, note)


def _failure_notes(translations: Sequence[Translation]) -> Iterator[str]:
    lost = sum(each.note is not None and not each.candidates for each in translations)
    if lost:
        yield f"{lost} of {len(translations)} sources could not be read, and count as empty texts"


def says_all(line: str, text: str) -> float:
    """1 where a text says exactly the fields on a line of bistro's, by its grammar; else 0."""
    fields = bistro.judge(text).fields
    return float(fields is not None and bistro.fields_line(fields) == line)
