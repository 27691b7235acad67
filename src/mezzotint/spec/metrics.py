"""How pages and tables label and explain scores; benchmarks/METRICS.md defines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A score as a reader sees it."""

    name: str
    meaning: str
    label: str = ""
    """Its name in the head of a column; empty: `name` with spaces."""


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("bound_nats_per_token", "how surprising held-out text is, at most: nats a token", "nats a token"),
        Metric("bound_bits_per_char", "the same, bits a character", "bits a character"),
        Metric("judge_nll", "how surprising to the judge: nats a judge token", "judge NLL"),
        Metric("judge_nll_matched", "judge NLL at the data's own word entropy", "judge NLL, matched entropy"),
        Metric("mauve[judge]", "likeness of all texts to held-out ones, 0 to 1, as the judge sees them"),
        Metric("perplexity", "e to the power of judge NLL"),
        Metric("entropy_words", "variety of the words inside a text: nats", "word entropy"),
        Metric("distinct_2", "distinct word pairs over word pairs of the sample"),
        Metric("self_bleu", "how alike the texts are, 0 to 100", "self-BLEU"),
        Metric("rep_4", "share of runs of four words that their text said before"),
        Metric("words_mean", "words a text, mean"),
        Metric("words_median", "words a text, median"),
        Metric("duplicates", "share of texts equal to an earlier one"),
        Metric("interpolation_smoothness", "how straight walks between texts are, 0 to 1"),
        Metric("longest_step", "share of a walk's changes in its longest step"),
        Metric("unseen_trigrams", "share of runs of three words that no training text has"),
        Metric("copied", "share of texts that stand word for word in a training text"),
        Metric("valid_share", "share of texts that the grammar accepts", "accepted"),
    )
}
"""By their names; other scores are shown by name alone."""
COMPARED = ("judge_nll", "perplexity", "entropy_words", "distinct_2", "self_bleu", "unseen_trigrams", "valid_share")
"""The scores of texts in a comparison, those that were measured."""
CHARTED = ("judge_nll", "entropy_words", "unseen_trigrams", "valid_share")
"""The scores that are drawn against what texts cost: those that do not move with the size of the sample. Fluency never
stands without variety."""


def label(name: str) -> str:
    """A score in the head of a column."""
    metric = METRICS.get(name)
    return metric.label if metric and metric.label else name.replace("_", " ")
