"""How varied texts are, and how much they repeat themselves, each other, and the training texts.

Perplexity flatters whoever repeats, so none of these numbers stands alone, and each is only read beside the same
number of the held-out data, over *as many texts*: distinct_2, self_bleu and duplicates all move with the size of the
sample. Texts are strings, already cut at the first end or padding symbol; words are those of `evaluate.words`.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mezzotint.errors import UsageError
from mezzotint.evaluate.table import Numbers, Score, bootstrap_stderr, jackknife_stderr
from mezzotint.evaluate.words import words

SELF_BLEU_TEXTS = 200
"""At most so many hypotheses and so many references in self-BLEU."""

_MIX = np.uint64(0x9E3779B97F4A7C15)


class TrainingText:
    """An index of the words and trigrams of the training texts, for what a sample copies from them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._ids: dict[str, int] = {}
        flat, lines = array("q"), []
        for text in texts:
            text_words = words(text)
            flat.extend(self._ids.setdefault(word, len(self._ids) + 1) for word in text_words)
            flat.append(0)
            lines.append(f" {' '.join(text_words)} ")
        self._text = "\n".join(lines)
        self._trigrams = np.unique(_trigrams(np.array(flat, dtype=np.int64)))

    def count_seen(self, text_words: Sequence[str]) -> int:
        """How many of the len(text_words) - 2 trigrams of these words occur in a training text.

        Trigrams are compared by a 64-bit hash: a false match among ten million is a matter of one in 10^12.
        """
        codes = _trigrams(np.array([self._ids.get(word, 0) for word in text_words], dtype=np.int64))
        return int((np.searchsorted(self._trigrams, codes, "right") > np.searchsorted(self._trigrams, codes)).sum())

    def contains(self, text_words: Sequence[str]) -> bool:
        """Whether these words stand, one after another, inside one training text."""
        known = self.count_seen(text_words) == max(0, len(text_words) - 2)
        return known and f" {' '.join(text_words)} " in self._text


def diversity(texts: Sequence[str], training: TrainingText | None = None, *, seed: int = 0) -> Iterator[Score]:
    """All scores of this module; those against the training texts only where these are given.

    Raises UsageError for no texts.
    """
    if not texts:
        raise UsageError("there are no texts to score; ask for at least one")
    split = [words(text) for text in texts]
    yield entropy_words(split)
    yield distinct_2(split)
    if len(texts) > 1:
        yield self_bleu(split, seed=seed)
    yield rep_4(split)
    yield from lengths(split, seed=seed)
    yield duplicates(texts)
    if training is not None:
        yield unseen_trigrams(split, training, seed=seed)
        yield copied(split, training)


def entropies(split: Sequence[Sequence[str]]) -> Numbers:
    """(n,) nats: the entropy of the histogram of words inside each text; 0 for a text without words."""
    return np.array([_entropy(Counter(text_words)) for text_words in split])


def entropy_words(split: Sequence[Sequence[str]]) -> Score:
    """Mean over texts of the entropy, in nats, of the histogram of words inside one text.

    This is what papers on masked diffusion call entropy (there over tokens). It sees a text that repeats itself, not
    texts that repeat each other: distinct_2, self_bleu and duplicates see those, so no pooled entropy is added.
    """
    return Score.mean("entropy_words", entropies(split))


def distinct_2(split: Sequence[Sequence[str]]) -> Score:
    """Distinct bigrams over bigrams of the whole sample (Li et al. 2016); bigrams do not cross texts."""
    grams = [_ngrams(text_words, 2) for text_words in split]
    holders = Counter(gram for text_grams in grams for gram in set(text_grams))
    total = np.array([len(text_grams) for text_grams in grams])
    unique = np.array([sum(holders[gram] == 1 for gram in set(text_grams)) for text_grams in grams])
    others = total.sum() - total
    if not total.sum():
        return Score("distinct_2", float("nan"), None, len(split), "no text has two words")
    without_one = (len(holders) - unique) / np.where(others, others, np.nan)
    return Score("distinct_2", len(holders) / int(total.sum()), jackknife_stderr(without_one), len(split))


def self_bleu(split: Sequence[Sequence[str]], *, seed: int = 0) -> Score:
    """How much like each other the texts are, 0 to 100: mean sentence BLEU-4 of some against others.

    Texygen (Zhu et al. 2018) scores every text against all others. Here a fixed draw (by `seed`) parts the sample into
    at most 200 hypotheses and as many other texts as their references, so that hypotheses do not depend on each other
    and sacrebleu counts the references once. Smoothing is sacrebleu's default, with effective order, over our words.
    The standard error is over hypotheses, the references held fixed. Needs two texts.
    """
    from sacrebleu.metrics.bleu import BLEU

    half = min(SELF_BLEU_TEXTS, len(split) // 2)
    picked = np.random.default_rng(seed).permutation(len(split))[: 2 * half]
    lines = [" ".join(split[i]) for i in picked]
    bleu = BLEU(references=[[line] for line in lines[half:]], tokenize="none", effective_order=True, force=True)
    scores = [bleu.corpus_score([line], None).score for line in lines[:half]]
    return Score.mean("self_bleu", scores, f"{half} texts against {half} others; {bleu.get_signature()}")


def rep_4(split: Sequence[Sequence[str]]) -> Score:
    """Repetition: share of a text's 4-grams that it said before, mean over texts with a 4-gram.

    seq-rep-4 of Welleck et al. 2020, "Neural Text Generation with Unlikelihood Training", section 6.
    """
    grams = [_ngrams(found, 4) for found in split if len(found) >= 4]
    short = len(split) - len(grams)
    note = f"{short} of {len(split)} texts have fewer than four words" if short else ""
    return Score.mean("rep_4", [1 - len(set(text_grams)) / len(text_grams) for text_grams in grams], note)


def lengths(split: Sequence[Sequence[str]], *, seed: int = 0) -> Iterator[Score]:
    """Mean and median number of words of a text."""
    counts = np.array([len(text_words) for text_words in split], dtype=np.float64)
    yield Score.mean("words_mean", counts)
    stderr = bootstrap_stderr(counts, np.median, seed=seed)
    yield Score("words_median", float(np.median(counts)), stderr, len(split))


def duplicates(texts: Sequence[str]) -> Score:
    """Share of texts equal, character by character, to an earlier text of the sample."""
    counts, n = Counter(texts), len(texts)
    is_unique = np.array([counts[text] == 1 for text in texts])
    without_one = 1 - (len(counts) - is_unique) / (n - 1) if n > 1 else is_unique
    return Score("duplicates", 1 - len(counts) / n, jackknife_stderr(without_one), n)


def unseen_trigrams(split: Sequence[Sequence[str]], training: TrainingText, *, seed: int = 0) -> Score:
    """Share of the sample's word trigrams that stand in no training text; trigrams do not cross texts."""
    total = np.array([max(0, len(text_words) - 2) for text_words in split])
    seen = np.array([training.count_seen(text_words) for text_words in split])
    note = "" if total.sum() else "no text has three words"
    return Score.ratio("unseen_trigrams", total - seen, total, note, seed=seed)


def copied(split: Sequence[Sequence[str]], training: TrainingText) -> Score:
    """Share of texts that stand word for word in a training text, as the whole of it or a part.

    Held-out texts of a small world do so too: the data's own value is the one to compare with.
    """
    return Score.mean("copied", [bool(text_words) and training.contains(text_words) for text_words in split])


def _ngrams(text_words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(text_words[i:] for i in range(n)), strict=False))


def _entropy(histogram: Counter[str]) -> float:
    shares = np.array(list(histogram.values())) / max(1, histogram.total())
    return float(-(shares * np.log(shares)).sum()) + 0.0


def _trigrams(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Hashes of the runs of three ids without a 0, which parts texts and stands for an unknown word."""
    is_trigram = (ids[:-2] > 0) & (ids[1:-1] > 0) & (ids[2:] > 0)
    wide = ids.astype(np.uint64)
    return np.asarray(((wide[:-2] * _MIX + wide[1:-1]) * _MIX + wide[2:])[is_trigram], dtype=np.uint64)
