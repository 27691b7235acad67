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
    said = [len(text.split()) for text in texts]
    lengths = [[len(one.split()) for one in theirs] for theirs in references]
    meant = [min(theirs, key=lambda n: (abs(n - own), n)) for own, theirs in zip(said, lengths, strict=True)]
    yield Score.ratio("length_ratio", said, meant, "words of the texts ÷ words of the references")
    yield Score.mean("exact_match", [float(text in theirs) for text, theirs in zip(texts, references, strict=True)])


def bleu(name: str, texts: Sequence[str], references: Sequence[Sequence[str]], **how: Any) -> Score:
    """Corpus BLEU of sacrebleu (Post 2018), with its bootstrap standard error over texts."""
    made: Any = import_module("sacrebleu.metrics.bleu").BLEU
    metric, single = made(**how), made(**how, effective_order=True)
    value = metric.corpus_score(list(texts), _streams(references)).score
    counted = [single.sentence_score(text, list(theirs)) for text, theirs in zip(texts, references, strict=True)]
    rows = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in counted], dtype=np.float64)

    def of(rows: Numbers) -> float:
        whole = rows.sum(axis=0).astype(int).tolist()
        return float(made.compute_bleu(whole[:4], whole[4:8], whole[8], whole[9]).score)

    return Score(name, float(value), bootstrap_stderr(rows, of), len(texts), str(metric.get_signature()))


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
    found = [scorer.score_multi(theirs, text) for text, theirs in zip(texts, references, strict=True)]
    for name, theirs in ROUGES.items():
        yield Score.mean(name, [one[theirs].fmeasure for one in found], "F1, with Porter's stemmer")
