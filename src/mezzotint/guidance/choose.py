"""Choosing among candidates: by agreement, by another model, or by the model's own likelihood.

Agreement is minimum Bayes risk (Kumar and Byrne 2004, "Minimum Bayes-Risk Decoding"): the text that the others,
taken for references, like best on average. Re-ranking by an autoregressive model is the noisy parallel decoding of Gu
et al. 2017, arXiv:1711.02281, §4.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from typing import Any

Utility = Callable[[str, str], float]
"""(hypothesis, reference) -> how good, more being better."""


class ControlRanking(Enum):
    """How a text is chosen under control, among the candidates that miss the least of what is wanted."""

    BEST = "best"
    """The one that classifiers find most probably as wanted."""
    MBR = "mbr"
    """The one that agrees most with the others."""


class TranslationRanking(Enum):
    """How one of several candidates is chosen."""

    MBR = "mbr"
    AR = "ar"
    LIKELIHOOD = "likelihood"


def most_agreed(texts: Sequence[str], utility: Utility) -> int:
    """The index of the text with the greatest mean utility where each of the others is the reference; the first of
    equals. Equal texts are compared once.

    Departure: in Difformer's code (Gao et al. 2022, arXiv:2212.09412) the candidate is the reference and the others are
    the hypotheses; as it is here is how the risk is defined.
    """
    counts = Counter(texts)
    if len(counts) == 1:
        return 0
    total = {text: sum(n * utility(text, other) for other, n in counts.items()) for text in counts}
    agreement = {text: total[text] - utility(text, text) for text in counts}  # none is a reference of its own
    return texts.index(max(agreement, key=agreement.__getitem__))


def most_wanted(texts: Sequence[str], num_missed: Sequence[int], log_p: Sequence[float], by: ControlRanking) -> int:
    """The index of the text to take, the first of equals, given of each how many wanted things it misses and the
    log-probability (nats) that it is as wanted."""
    candidates = [i for i, count in enumerate(num_missed) if count == min(num_missed)]
    if by is ControlRanking.BEST:
        return candidates[best_scored([log_p[i] for i in candidates])]
    return candidates[most_agreed([texts[i] for i in candidates], sentence_bleu())]


def best_scored(scores: Sequence[float]) -> int:
    """The index of the greatest score; the first of equals."""
    return max(range(len(scores)), key=scores.__getitem__)


@cache
def sentence_bleu() -> Utility:
    """BLEU of single sentences (sacrebleu: exponential smoothing, effective order), 0 to 100."""
    from sacrebleu.metrics.bleu import BLEU

    bleu: Any = BLEU(effective_order=True)
    return lambda hypothesis, reference: float(bleu.sentence_score(hypothesis, [reference]).score)
