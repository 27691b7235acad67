"""Which of several candidates is taken: by agreement, by another model, or by the writer's own likelihood.

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
    """How one of several texts is chosen of which something is wanted: among those that miss the least of it."""

    BEST = "best"
    """The one of which classifiers say with the greatest probability that it is as wanted."""
    MBR = "mbr"
    """The one that agrees most with the others."""


class TranslationRanking(Enum):
    """How one of several candidates is chosen."""

    MBR = "mbr"
    AR = "ar"
    LIKELIHOOD = "likelihood"


def most_agreed(texts: Sequence[str], utility: Utility) -> int:
    """The place of the text with the greatest mean utility where each of the others is the reference; the first of
    equals. Equal texts are compared once.

    Departure: in Difformer's code (Gao et al. 2022, arXiv:2212.09412) the candidate is the reference and the others are
    the hypotheses; as it is here is how the risk is defined.
    """
    counts = Counter(texts)
    if len(counts) == 1:
        return 0
    total = {text: sum(n * utility(text, other) for other, n in counts.items()) for text in counts}
    least = {text: total[text] - utility(text, text) for text in counts}  # none is a reference of its own
    return texts.index(max(least, key=least.__getitem__))


def most_wanted(texts: Sequence[str], missed: Sequence[int], chances: Sequence[float], by: ControlRanking) -> int:
    """The place of the text that is taken, the first of equals: of each is given how much of what was wanted it misses,
    and the log-probability (nats) that it is so."""
    least = [place for place, count in enumerate(missed) if count == min(missed)]
    if by is ControlRanking.BEST:
        return least[best_scored([chances[place] for place in least])]
    return least[most_agreed([texts[place] for place in least], sentence_bleu())]


def best_scored(scores: Sequence[float]) -> int:
    """The place of the greatest score; the first of equals."""
    return max(range(len(scores)), key=scores.__getitem__)


@cache
def sentence_bleu() -> Utility:
    """BLEU of single sentences (sacrebleu: exponential smoothing, only the orders that there are), 0 to 100."""
    from sacrebleu.metrics.bleu import BLEU

    bleu: Any = BLEU(effective_order=True)
    return lambda hypothesis, reference: float(bleu.sentence_score(hypothesis, [reference]).score)


@cache
def sentence_chrf() -> Utility:
    """chrF2 of single sentences (sacrebleu), 0 to 100."""
    from sacrebleu.metrics.chrf import CHRF

    chrf: Any = CHRF()
    return lambda hypothesis, reference: float(chrf.sentence_score(hypothesis, [reference]).score)
