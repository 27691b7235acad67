"""From texts to rows of tokens: what a system needs to know of its data, and the recipe that follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mezzotint import hub
from mezzotint.checks import KINDS, check_tokenizer, names_bistro
from mezzotint.data import bistro
from mezzotint.data.canvas import canvas_length, pack, pack_sources, room
from mezzotint.data.corpus import Corpus, load_corpus
from mezzotint.data.foreign import FILE, ROLES
from mezzotint.data.lengths import Lengths
from mezzotint.data.pairs import Columns, load_pairs
from mezzotint.data.tokenizer import Tokenizer, train_tokenizer
from mezzotint.data.tokens import Pairs, Tokens, build_tokens, cache_folder, windows, without_long
from mezzotint.errors import DataError
from mezzotint.spec.recipe import FROM_TOKENIZER, Recipe
from mezzotint.training import folder as files
from mezzotint.types import Canvas, Ending, Layout, SourceSpec, SystemSpec

BISTRO_TEXTS = {"train": 20_000, "valid": 1_000, "test": 1_000}


@dataclass(frozen=True)
class Prepared:
    """A corpus as a system trains on it."""

    tokenizer: Tokenizer
    train: Tokens | Pairs
    valid: Tokens | Pairs
    lengths: Lengths | None
    layout: Layout
    notes: tuple[str, ...] = ()
    """Sentences on what was left out."""

    def for_tuning(self, most: int) -> Prepared:
        """For a run that is tuned to these texts: their own lengths, at most `most`, instead of the run's; and a note
        of the share of unknown words."""
        assert isinstance(self.train, Tokens), "only texts by themselves are tuned to"
        lengths = None if self.lengths is None else Lengths.from_lengths(self.train.lengths, most)
        unknown = sum(int((row == self.tokenizer.unk).sum()) for row in self.train) if self.tokenizer.unk else 0
        share = unknown / max(int(self.train.lengths.sum()), 1)
        note = f"{share:.1%} of these tokens are words that the run does not know, and never writes"
        return replace(self, lengths=lengths, notes=(*self.notes, note) if unknown else self.notes)


def corpus_of(
    data: Sequence[str | Path],
    valid: Sequence[str | Path] | None,
    field: str | None,
    layout: Layout,
    columns: Columns | None = None,
) -> Corpus:
    """The texts that --data and --valid name: files, or the bundled corpus; with `columns`, pairs."""
    if columns is not None:
        return _bistro_corpus() if names_bistro(data) else load_pairs(data, valid, columns)
    if names_bistro(data):
        return Corpus(bistro_texts("train"), bistro_texts("valid"), (), ())
    return load_corpus(data, valid, field, layout)


def bistro_texts(split: str) -> list[str]:
    """The bundled corpus as it is used here: 20,000 texts to train on, 1,000 each for "valid" and "test"."""
    return list(bistro.texts(split, BISTRO_TEXTS[split]))


def bistro_pairs(split: str) -> tuple[list[str], list[str]]:
    """The lines of fields and the texts that say them: those texts that `bistro_texts` has."""
    sources, texts = zip(*bistro.pairs(split, BISTRO_TEXTS[split]), strict=True)
    return list(sources), list(texts)


def _bistro_corpus() -> Corpus:
    (train_from, train), (valid_from, valid) = bistro_pairs("train"), bistro_pairs("valid")
    return Corpus(train, valid, (), (), train_from, valid_from)


def prepare(
    recipe: Recipe, corpus: Corpus, layout: Layout, tokenizer: Tokenizer, run: Path | None = None
) -> tuple[Recipe, Prepared]:
    """Tokens in rows that fit, and the recipe with the vocabulary and the canvas that follow from them.

    `run` is the folder of a run whose canvas and lengths are kept. Raises DataError where no row fits.
    """
    train, valid = (build_tokens(t, tokenizer, cache_folder()) for t in (corpus.train, corpus.valid))
    spec = _with_tokenizer(recipe.spec, tokenizer)
    if layout is Layout.WINDOWS:
        rows = (windows(train, spec.canvas, tokenizer.end), windows(valid, spec.canvas, tokenizer.end))
        return Recipe(spec, recipe.training), Prepared(tokenizer, *rows, None, layout)
    spec = spec if run else replace(spec, canvas=canvas_length(train.lengths, spec.ending, spec.canvas))
    most = room(spec.canvas, spec.ending)
    train_rows: Tokens | Pairs
    valid_rows: Tokens | Pairs
    train_rows, long_train = without_long(train, most)
    valid_rows, long_valid = without_long(valid, most)
    if corpus.train_from is not None and corpus.valid_from is not None:
        assert isinstance(spec, SourceSpec), "pairs are for systems that write from a source"
        from_both = (corpus.train_from, corpus.valid_from)
        source, source_valid = (build_tokens(t, tokenizer, cache_folder()) for t in from_both)
        spec = replace(spec, source_canvas=canvas_length(source.lengths, Ending.SYMBOL, spec.source_canvas))
        limits = room(spec.source_canvas, Ending.SYMBOL), most
        train_rows, long_train = Pairs(source, train).within(*limits)
        valid_rows, long_valid = Pairs(source_valid, valid).within(*limits)
    if not len(train_rows) or not len(valid_rows):
        raise DataError(f"no text is short enough for a canvas of {spec.canvas} tokens; use --layout windows")
    limit = f"{most} tokens" if corpus.train_from is None else f"{most} tokens, or their sources than {limits[0]},"
    notes = corpus.notes + tuple(
        f"{number:,} of {len(rows):,} {which} texts are longer than {limit} and were left out"
        for which, number, rows in (("training", long_train, train), ("held-out", long_valid, valid))
        if number
    )
    lengths = None
    if spec.ending is Ending.LENGTH:
        lengths = lengths_in(run) if run else Lengths.from_lengths(train_rows.lengths, most)
    return Recipe(spec, recipe.training), Prepared(tokenizer, train_rows, valid_rows, lengths, layout, notes)


def lengths_in(run: Path) -> Lengths:
    """The lengths in a run's folder; RunError where they are not there."""
    return Lengths.from_json(files.read_json(run / files.LENGTHS))


def lengths_of(run: Path, config: Mapping[str, Any]) -> Lengths | None:
    """The lengths that a run draws from, if it draws any; RunError where they are not there."""
    texts = config["data"].get("layout") == Layout.TEXTS.value
    return lengths_in(run) if texts and config["spec"].get("ending") == Ending.LENGTH.value else None


def tokenizer_named(name: str, corpus: Corpus) -> Tokenizer:
    """The tokenizer that --tokenizer names: one to be trained, a tokenizer.json, its folder, or its name on a hub."""
    check_tokenizer(name)
    if name in KINDS:
        return train_tokenizer(name, corpus.all_train, corpus.all_valid)
    if Path(name).exists():
        return Tokenizer.foreign(name)
    repository, revision = hub.parse(name) or (name, None)
    return Tokenizer.foreign(hub.fetch(repository, (FILE, *ROLES), revision), where=name)


def _with_tokenizer(spec: SystemSpec, tokenizer: Tokenizer) -> SystemSpec:
    """The spec with those of its fields set that follow from the tokenizer."""
    values = dict(zip(FROM_TOKENIZER, (tokenizer.size, tokenizer.end, tokenizer.pad), strict=True))
    return replace(spec, **{name: value for name, value in values.items() if name in spec.settings()})


def batch_canvas(
    tokens: Tokens | Pairs, rows: Sequence[int], index: Sequence[int], spec: SystemSpec, tokenizer: Tokenizer
) -> Canvas:
    """The canvas of some rows of `tokens`, with the random streams `index`."""
    texts = tokens.target if isinstance(tokens, Pairs) else tokens
    canvas = pack([texts[i] for i in rows], index, spec.ending, spec.canvas, tokenizer.end, tokenizer.pad)
    if not isinstance(tokens, Pairs):
        return canvas
    assert isinstance(spec, SourceSpec), "pairs are for systems that write from a source"
    source_rows = [tokens.source[i] for i in rows]
    return replace(canvas, source=pack_sources(source_rows, index, spec.source_canvas, tokenizer.end, tokenizer.pad))
