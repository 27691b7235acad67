"""Whether texts satisfy their constraints, by an analysis that neither guided nor chose them.

Success per task as Li et al. 2022 (Diffusion-LM), arXiv:2205.14217, §6 and its code count it, always as a mean over all
texts. Where paper and code differ (length), both stand side by side. Departure: a text that has no analysis, because it
is no sentence of the grammar, is a failure where the paper's parsers find something in anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mezzotint.data import bistro
from mezzotint.evaluate.table import Score
from mezzotint.evaluate.words import words
from mezzotint.spec.wanted import Span, Wanted, occurs

NEAR = 2
"""How many words off a length may be (the paper); its code wants it exact."""


@dataclass(frozen=True)
class Analysis:
    """A text analysed; None for what cannot be told of it."""

    words: Sequence[str]
    """Words and punctuation marks."""
    fields: Mapping[str, str] | None = None
    tags: Sequence[str] | None = None
    spans: Sequence[Span] | None = None


Analyse = Callable[[str], Analysis]


def by_grammar(text: str) -> Analysis:
    """The gold judge of the bundled corpus: the grammar's own analysis; of what it does not derive, the words only."""
    analysis = bistro.judge(text).analysis
    if analysis is None:
        return Analysis(words(text))
    fields = {name: value for name, value in vars(analysis.fields).items() if value is not None}
    return Analysis(analysis.words, fields, analysis.tags, analysis.spans)


def successes(wanted: Wanted, analysis: Analysis, text: str) -> dict[str, float]:
    """Success of a text at each task that `wanted` sets, 0 or 1, and `success`, at all of them.

    `semantic`: the field has this value. `pos`: all words have their part of speech. `tree`: exactly these
    labelled brackets; `bracket_f1` beside it. `spans`: every phrase is one of the text's. `length`: exact, and
    `success_near` within two words. `has`, `without`: the words.
    """
    outcomes: dict[str, bool] = {}
    if wanted.length is not None:
        outcomes["length"] = len(analysis.words) == wanted.length
    if wanted.says:
        outcomes["semantic"] = analysis.fields is not None and all(analysis.fields.get(k) == v for k, v in wanted.says)
    if wanted.pos:
        outcomes["pos"] = analysis.tags is not None and tuple(analysis.tags) == wanted.pos
    if wanted.spans:
        outcomes["spans"] = analysis.spans is not None and set(wanted.spans) <= set(analysis.spans)
    if wanted.tree is not None:
        exact = analysis.spans is not None and Counter(analysis.spans) == Counter(wanted.tree[1])
        outcomes["tree"] = exact and len(analysis.words) == wanted.tree[0]
    if wanted.has:
        outcomes["has"] = all(occurs(phrase, text) for phrase in wanted.has)
    if wanted.without:
        outcomes["without"] = not any(occurs(phrase, text) for phrase in wanted.without)
    scores = {name: float(holds) for name, holds in outcomes.items()} | {"success": float(all(outcomes.values()))}
    if wanted.length is not None:
        scores["success_near"] = float(abs(len(analysis.words) - wanted.length) <= NEAR)
    if wanted.tree is not None:
        scores["bracket_f1"] = bracket_f1(analysis.spans or (), wanted.tree[1])
    if wanted.pos:
        pairs = zip(analysis.tags or (), wanted.pos, strict=False)
        scores["pos_words"] = sum(a == b for a, b in pairs) / len(wanted.pos)
    return scores


def bracket_f1(found: Sequence[Span], wanted: Sequence[Span]) -> float:
    """F1 of labelled brackets, each counted as often as it stands; 1 where there are none on either side."""
    both = sum((Counter(found) & Counter(wanted)).values())
    return 2 * both / (len(found) + len(wanted)) if found or wanted else 1.0


def control_scores(wanted: Sequence[Wanted], texts: Sequence[str], analyse: Analyse = by_grammar) -> Iterator[Score]:
    """Each score as the mean over the targets of the mean over their texts: texts[i] was written for wanted[i].

    What is wanted of one target has to be wanted of all, though not the same of it. Standard errors are over targets:
    the texts of one are not independent.
    """
    assert len(wanted) == len(texts), "every text has a target"
    by_target: dict[Wanted, list[dict[str, float]]] = {}
    for target, text in zip(wanted, texts, strict=True):
        by_target.setdefault(target, []).append(successes(target, analyse(text), text))
    targets = list(by_target.values())
    for name in targets[0][0] if targets else ():
        means = [sum(scores[name] for scores in rows) / len(rows) for rows in targets]
        yield Score.mean(name, means, f"{len(texts)} texts")
