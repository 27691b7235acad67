"""How near texts come to references: BLEU, chrF and ROUGE as their published tools compute them, and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from mezzotint.evaluate.table import Numbers, Score, bootstrap_stderr

ROUGES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


def overlap(texts: Sequence[str], references: Sequence[str]) -> Iterator[Score]:
    """Scores of texts beside one reference each; the note of a BLEU is sacrebleu's signature."""
    assert len(texts) == len(references) and texts
    yield bleu("sacrebleu", texts, references)
    yield bleu("bleu_lower", texts, references, lowercase=True)
    yield _chrf(texts, references)
    yield from _rouge(texts, references)
    said, meant = ([len(text.split()) for text in side] for side in (texts, references))
    yield Score.ratio("length_ratio", said, meant, "words of the texts ÷ words of the references")
    same = [float(text == reference) for text, reference in zip(texts, references, strict=True)]
    yield Score.mean("exact_match", same)


def bleu(name: str, texts: Sequence[str], references: Sequence[str], **how: Any) -> Score:
    """Corpus BLEU of sacrebleu (Post 2018), with its bootstrap standard error over texts."""
    made: Any = import_module("sacrebleu.metrics.bleu").BLEU
    metric, single = made(**how), made(**how, effective_order=True)
    value = metric.corpus_score(list(texts), [list(references)]).score
    counted = [single.sentence_score(text, [said]) for text, said in zip(texts, references, strict=True)]
    rows = np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in counted], dtype=np.float64)

    def of(rows: Numbers) -> float:
        whole = rows.sum(axis=0).astype(int).tolist()
        return float(made.compute_bleu(whole[:4], whole[4:8], whole[8], whole[9]).score)

    return Score(name, float(value), bootstrap_stderr(rows, of), len(texts), str(metric.get_signature()))


def _chrf(texts: Sequence[str], references: Sequence[str]) -> Score:
    metric: Any = import_module("sacrebleu.metrics.chrf").CHRF()
    value = metric.corpus_score(list(texts), [list(references)]).score
    return Score("chrf", float(value), None, len(texts), str(metric.get_signature()))


def _rouge(texts: Sequence[str], references: Sequence[str]) -> Iterator[Score]:
    if find_spec("rouge_score") is None:
        missing = 'left out: pip install "mezzotint[rouge]"'
        yield from (Score(name, float("nan"), None, 0, missing) for name in ROUGES)
        return
    scorer: Any = import_module("rouge_score.rouge_scorer").RougeScorer(list(ROUGES.values()), use_stemmer=True)
    found = [scorer.score(said, text) for text, said in zip(texts, references, strict=True)]
    for name, theirs in ROUGES.items():
        yield Score.mean(name, [one[theirs].fmeasure for one in found], "F1, with Porter's stemmer")
