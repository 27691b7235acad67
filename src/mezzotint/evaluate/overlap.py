"""How near texts come to references: BLEU, chrF and ROUGE as their published tools compute them, and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import zip_longest
from typing import Any

import numpy as np

from mezzotint.evaluate.table import Numbers, Score, bootstrap_stderr

ROUGES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def overlap(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Iterator[Score]:
    """Scores of texts beside one or more references each; the note of a BLEU is sacrebleu's signature.

    Of several references ROUGE takes the best by each measure, the ratio of lengths the nearest.
    """
    assert len(texts) == len(references) and texts and all(references)
    yield bleu("sacrebleu", texts, references)
    yield bleu("bleu_lower", texts, references, lowercase=True)
    yield _chrf(texts, references)
    yield from _rouge(texts, references)
    lengths = [len(text.split()) for text in texts]
    reference_lengths = [[len(reference.split()) for reference in each] for each in references]
    pairs = zip(lengths, reference_lengths, strict=True)
    nearest = [min(each, key=lambda n: (abs(n - length), n)) for length, each in pairs]
    yield Score.ratio("length_ratio", lengths, nearest, "words of the texts ÷ words of the references")
    yield Score.mean("exact_match", [float(text in each) for text, each in zip(texts, references, strict=True)])


def bleu(name: str, texts: Sequence[str], references: Sequence[Sequence[str]], **options: Any) -> Score:
    """Corpus BLEU of sacrebleu (Post 2018), with its bootstrap standard error over texts."""
    BLEU: Any = import_module("sacrebleu.metrics.bleu").BLEU
    metric, single = BLEU(**options), BLEU(**options, effective_order=True)
    value = metric.corpus_score(list(texts), _streams(references)).score
    sentences = [single.sentence_score(text, list(each)) for text, each in zip(texts, references, strict=True)]
    rows = np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in sentences], dtype=np.float64)

    def score_of(rows: Numbers) -> float:
        totals = rows.sum(axis=0).astype(int).tolist()
        return float(BLEU.compute_bleu(totals[:4], totals[4:8], totals[8], totals[9]).score)

    return Score(name, float(value), bootstrap_stderr(rows, score_of), len(texts), str(metric.get_signature()))


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """As sacrebleu wants them: the first of all texts, the second of all, None where a text has no more."""
    return [list(stream) for stream in zip_longest(*references)]


def _chrf(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    metric: Any = import_module("sacrebleu.metrics.chrf").CHRF()
    value = metric.corpus_score(list(texts), _streams(references)).score
    return Score("chrf", float(value), None, len(texts), str(metric.get_signature()))


def _rouge(texts: Sequence[str], references: Sequence[Sequence[str]]) -> Iterator[Score]:
    if find_spec("rouge_score") is None:
        missing = 'left out: pip install "mezzotint[rouge]"'
        yield from (Score(name, float("nan"), None, 0, missing) for name in ROUGES)
        return
    scorer: Any = import_module("rouge_score.rouge_scorer").RougeScorer(list(ROUGES.values()), use_stemmer=True)
    results = [scorer.score_multi(each, text) for text, each in zip(texts, references, strict=True)]
    for name, kind in ROUGES.items():
        yield Score.mean(name, [result[kind].fmeasure for result in results], "F1, with Porter's stemmer")
