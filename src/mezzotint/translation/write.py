"""From sources to texts with a run that writes from a source: candidates, a choice among them, and what was wrong.

    run = mezzotint.load("runs/de-en")
    [t.text for t in mezzotint.translate(run, ["Ein Hund rennt."])]

Every line has a translation, in order. One that cannot be read has an empty one and a sentence, and disturbs no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from mezzotint.checks import check_decoder
from mezzotint.data.canvas import pack, pack_sources
from mezzotint.drafts import Draft
from mezzotint.errors import CapabilityError, RunError, UsageError, few, unknown
from mezzotint.guidance.choose import TranslationRanking, best_scored, most_agreed, sentence_bleu
from mezzotint.rng import Rng
from mezzotint.run import Run
from mezzotint.spec.base import member
from mezzotint.tasks import Task
from mezzotint.types import Can, Canvas, Decoder, Ending, Frame, Request, Sketch, Translator

CHUNK = 1024
"""Lines that are read before the first of them is written: sorted by length, they make batches without padding."""
ROWS = 160
"""Candidates that are written at once."""


@dataclass(frozen=True)
class DecoderDefaults:
    """The default settings of a decoder."""

    candidates: tuple[int, int] = (5, 2)
    choose: TranslationRanking = TranslationRanking.MBR
    temperature: float = 1.0


DEFAULTS = {
    Decoder.BEAM: DecoderDefaults((1, 5), TranslationRanking.LIKELIHOOD),
    Decoder.MASK_PREDICT: DecoderDefaults((5, 1), TranslationRanking.LIKELIHOOD, 0.0),
}
"""A system's own decoder is the first of these that it has, else the exact one; others have `DecoderDefaults()`.

Five lengths, the likeliest token everywhere, and the likeliest text: Ghazvininejad et al. 2019, arXiv:1904.09324, §3.3.
"""
NOISE_SHARE = 0.5
"""The share of each step's noise that a walk of vectors adds where a length has several texts; where it has one, none.

On 300 lines of Multi30k's valid, German to English: with all, half and none of it 22.2, 24.1 and 25.8 BLEU of one
candidate, with all and half of it 26.6 and 26.8 of 5x2 by MBR.
"""


@dataclass(frozen=True)
class Translation:
    """What was written from one source."""

    source: str
    text: str
    candidates: tuple[str, ...] = ()
    """All texts that it was chosen from, in the order in which they were tried."""
    score: float = 0.0
    """Mean log probability of the symbols of the chosen one under the run itself, its length one of them if drawn."""
    scores: tuple[float, ...] = ()
    """The same of all candidates."""
    nfe: int = 0
    """Network evaluations of all candidates together, a chooser's among them."""
    index: int = 0
    """Which line it is, from 0; its stream of random numbers too."""
    note: str | None = None
    """A sentence, where something was wrong with the source."""


@dataclass(frozen=True)
class TranslationSettings:
    """How sources are translated."""

    lengths: int
    each: int
    choose: TranslationRanking
    decoder: Decoder
    steps: int = 20
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    scorer: Run | None = None

    @property
    def candidates(self) -> int:
        return self.lengths * self.each


def asked_of(
    run: Run,
    candidates: tuple[int, int] | None = None,
    choose: str | None = None,
    decoder: str | None = None,
    scorer: Run | None = None,
    **options: float,
) -> TranslationSettings:
    """The settings of a translation, by default those of the run's own decoder: two texts of each of five lengths, of
    which the others choose one, unless `DEFAULTS` has others. Raises UsageError or CapabilityError."""
    card = run.card
    if Can.TRANSLATE not in card.can:
        raise CapabilityError(f"{run.name} is a run of {card.name}, which cannot write from a source")
    own = next((rule for rule in DEFAULTS if rule in card.decoders), Decoder.EXACT)
    chosen = member(Decoder, "decoder", decoder or own)
    usual = DEFAULTS.get(chosen, DecoderDefaults())
    check_decoder(card, chosen, None, None)
    lengths, each = candidates or usual.candidates
    if min(lengths, each) < 1:
        raise UsageError(f"candidates are at least one length and one text of each, not {lengths}x{each}")
    by = member(TranslationRanking, "chooser", choose) if choose else usual.choose
    if by is TranslationRanking.AR and scorer is None:
        raise UsageError("to choose by ar, name the run that scores: a run of ar-seq2seq, as scorer")
    if scorer is not None and not (scorer.card.exact and Can.TRANSLATE in scorer.card.can):
        raise RunError(f"{scorer.folder} is a run of {scorer.card.name}; a scorer must be a run of ar-seq2seq")
    for name in options:
        if name not in ("steps", "seed", "temperature", "top_p"):
            raise unknown("argument", name, ["steps", "seed", "temperature", "top_p"])
    is_walk = chosen is Decoder.EXACT and Decoder.DDIM in card.decoders
    temperature = (NOISE_SHARE if each > 1 else 0.0) if is_walk else usual.temperature
    return TranslationSettings(
        lengths, each, by, chosen, int(options.get("steps", 20)), int(options.get("seed", 0)),
        options.get("temperature", temperature), options.get("top_p", 1.0), scorer,
    )  # fmt: skip


def translate(
    run: Run, texts: Iterable[str], *, batch_size: int | None = None, **options: Any
) -> Iterator[Translation]:
    """A translation of each text, in order; `options` as for `asked_of`.

    A text that is blank, or longer than what the run reads, gives an empty translation with a note. Words that the run
    does not know are read as unknown ones, and noted.
    """
    settings = asked_of(run, **options)
    return _translate_all(run, texts, settings, batch_size or max(1, ROWS // settings.candidates))


def translating(run: Run, text: str, **options: Any) -> Iterator[Draft | Translation]:
    """The candidates of one text on their way, draft after draft, and last the translation: `translate`'s of it alone.

    UsageError for a text that cannot be read.
    """
    settings = asked_of(run, **options)
    ids, note = _encode_source(run, text)
    if ids is None:
        raise UsageError(f"the source cannot be read: {note}")
    sketch, request = _sketch(run, [ids], [0], settings)
    for frame in run.system.sample(request):
        last = frame
        yield run.detokenizer.draft(Task(sketch.canvas, request), frame)
    (translation,) = _choose([text], _all_candidates(run, sketch, last, settings), settings)
    yield replace(translation, note=note)


def _translate_all(run: Run, texts: Iterable[str], settings: TranslationSettings, size: int) -> Iterator[Translation]:
    numbered = enumerate(texts)
    while chunk := list(islice(numbered, CHUNK)):
        translations: dict[int, Translation] = {}
        readable = []
        for index, text in chunk:
            ids, note = _encode_source(run, text)
            if ids is None:
                translations[index] = Translation(text, "", index=index, note=note)
            else:
                readable.append((index, text, ids, note))
        readable.sort(key=lambda line: len(line[2]))
        for begin in range(0, len(readable), size):
            part = readable[begin : begin + size]
            candidates = _write_batch(run, [line[2] for line in part], [line[0] for line in part], settings)
            chosen = _choose([line[1] for line in part], candidates, settings)
            for (index, _, _, note), translation in zip(part, chosen, strict=True):
                translations[index] = replace(translation, index=index, note=note)
        yield from (translations[index] for index, _ in chunk)


def _encode_source(run: Run, text: str) -> tuple[list[int] | None, str | None]:
    """The ids of a source, and a note on what is wrong with it; no ids where it cannot be read."""
    if not text or text.isspace():
        return None, "there is nothing in it to translate"
    try:
        ids = run.tokenizer.encode(text)
    except UsageError as error:
        return None, str(error)
    most = run.source_canvas - 1
    if len(ids) > most:
        return None, f"it is {len(ids)} tokens long, and this run reads at most {most}"
    unknown_words = run.tokenizer.unknown_words(text)
    return ids, f"this run does not know {few(unknown_words)}" if unknown_words else None


@dataclass(frozen=True)
class Candidates:
    """The candidates of one source."""

    texts: list[str]
    scores: list[float]
    nfe: int


def _write_batch(
    run: Run, rows: Sequence[list[int]], index: Sequence[int], settings: TranslationSettings
) -> list[Candidates]:
    """The candidates of some sources."""
    sketch, request = _sketch(run, rows, index, settings)
    for frame in run.system.sample(request):
        last = frame
    return _all_candidates(run, sketch, last, settings)


def _sketch(
    run: Run, rows: Sequence[list[int]], index: Sequence[int], settings: TranslationSettings
) -> tuple[Sketch, Request]:
    """Where the candidates of some sources are written, and the request that writes them."""
    tokenizer, system = run.tokenizer, run.system
    assert isinstance(system, Translator)
    source = pack_sources([np.array(row) for row in rows], index, run.source_canvas, tokenizer.end, tokenizer.pad)
    sketch = system.sketch(source.to(run.device), settings.lengths, settings.each)
    canvas = sketch.canvas
    closing = () if run.spec.ending is Ending.LENGTH else (tokenizer.end,)
    request = Request(
        canvas, steps=settings.steps, seed=settings.seed, temperature=settings.temperature, top_p=settings.top_p,
        decoder=settings.decoder, forbidden=tuple(sorted(tokenizer.special - set(closing))),
        read=sketch.read, drafts=False,
    )  # fmt: skip
    return sketch, request


def _all_candidates(run: Run, sketch: Sketch, frame: Frame, settings: TranslationSettings) -> list[Candidates]:
    """The candidates in the last frame, source by source."""
    n = settings.candidates
    return [_candidates_of(run, sketch, frame, slice(i, i + n)) for i in range(0, len(frame.ids), n)]


def _candidates_of(run: Run, sketch: Sketch, frame: Frame, rows: slice) -> Candidates:
    """The candidates in some rows of the last frame, those of one source."""
    known = (sketch.canvas.real & frame.known)[rows].cpu()
    ids, confidence = frame.ids[rows].cpu(), frame.confidence[rows].cpu().double()
    texts = [run.tokenizer.decode(row[k].tolist()) for row, k in zip(ids, known, strict=True)]
    nats = [float(p[k].clamp(min=1e-30).log().sum()) for p, k in zip(confidence, known, strict=True)]
    symbols = known.sum(1).tolist()
    if sketch.log_p is None:
        scores = [n / k for n, k in zip(nats, symbols, strict=True)]
    else:  # Departure: that a text is as long as it is, is one more symbol; the papers' code leaves the length out
        log_p = sketch.log_p[rows].cpu().double()
        scores = [(n + c) / (k + 1) for n, c, k in zip(nats, log_p.tolist(), symbols, strict=True)]
    return Candidates(texts, scores, int(frame.nfe[rows].sum()))


def _choose(
    texts: Sequence[str], candidates: Sequence[Candidates], settings: TranslationSettings
) -> Iterator[Translation]:
    scorer = settings.scorer if settings.choose is TranslationRanking.AR else None
    scorer_scores = _score_candidates(scorer, texts, candidates) if scorer else None
    pick: Callable[[int, Candidates], int] = {
        TranslationRanking.MBR: lambda row, each: most_agreed(each.texts, sentence_bleu()),
        TranslationRanking.AR: lambda row, each: best_scored(scorer_scores[row] if scorer_scores else each.scores),
        TranslationRanking.LIKELIHOOD: lambda row, each: best_scored(each.scores),
    }[settings.choose]
    for row, each in enumerate(candidates):
        place = pick(row, each)
        nfe = each.nfe + (len(each.texts) if scorer_scores else 0)
        yield Translation(texts[row], each.texts[place], tuple(each.texts), each.scores[place], tuple(each.scores), nfe)


@torch.no_grad()
def _score_candidates(scorer: Run, texts: Sequence[str], candidates: Sequence[Candidates]) -> list[list[float]]:
    """Mean log probability of the symbols of each candidate under another run, which tokenizes for itself."""
    pairs = [(source, text) for source, each in zip(texts, candidates, strict=True) for text in each.texts]
    scores = iter(log_p_of(scorer, pairs))
    return [[next(scores) for _ in each.texts] for each in candidates]


@torch.no_grad()
def log_p_of(scorer: Run, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Mean log p of the symbols of texts given their sources; minus infinity where a side is too long for the run."""
    tokenizer = scorer.tokenizer
    rows = [(tokenizer.encode(source), tokenizer.encode(text)) for source, text in pairs]
    fits = [i for i, (a, b) in enumerate(rows) if len(a) < scorer.source_canvas and len(b) < scorer.spec.canvas]
    scores = [float("-inf")] * len(pairs)
    fits.sort(key=lambda i: len(rows[i][1]))
    for begin in range(0, len(fits), ROWS):
        part = fits[begin : begin + ROWS]
        canvas = pair_canvas(scorer, [rows[i] for i in part], part)
        nll = scorer.system.nll(canvas, Rng(0, part))
        for i, nats, symbols in zip(part, nll.tolist(), canvas.real.sum(1).tolist(), strict=True):
            scores[i] = -nats / symbols
    return scores


def pair_canvas(run: Run, rows: Sequence[tuple[list[int], list[int]]], index: Sequence[int]) -> Canvas:
    """The canvas of some sources with their texts, as in training, on the run's device."""
    spec, end, pad = run.spec, run.tokenizer.end, run.tokenizer.pad
    texts = pack([np.array(text, dtype=np.int64) for _, text in rows], index, spec.ending, spec.canvas, end, pad)
    source = pack_sources([np.array(ids, dtype=np.int64) for ids, _ in rows], index, run.source_canvas, end, pad)
    return replace(texts, source=source).to(run.device)


def _chooser_named(name: str) -> TranslationRanking:
    try:
        return TranslationRanking(name)
    except ValueError:
        raise unknown("chooser", name, [chooser.value for chooser in TranslationRanking]) from None
