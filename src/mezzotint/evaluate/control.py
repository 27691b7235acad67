"""Whether texts are what was wanted of them, by an analysis that neither guided nor chose them.

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
    """What a text is, as far as somebody can tell; None where it cannot be analysed."""

    words: Sequence[str]
    """Words and punctuation marks."""
    fields: Mapping[str, str] | None = None
    tags: Sequence[str] | None = None
    spans: Sequence[Span] | None = None


Analyse = Callable[[str], Analysis]


def by_grammar(text: str) -> Analysis:
    """The gold judge of the bundled corpus: the grammar's own analysis; of what it does not derive, the words only."""
    found = bistro.judge(text).analysis
    if found is None:
        return Analysis(words(text))
    said = {name: value for name, value in vars(found.fields).items() if value is not None}
    return Analysis(found.words, said, found.tags, found.spans)


def successes(wanted: Wanted, found: Analysis, text: str) -> dict[str, float]:
    """What of everything wanted a text has, 0 or 1 for each task, and `success`, all of them at once.

    `semantic`: the field is said with this value. `pos`: all words have their part of speech. `tree`: exactly these
    labelled brackets; `bracket_f1` beside it. `spans`: every phrase is one of the text's. `length`: exact, and
    `success_near` within two words. `has`, `without`: the words.
    """
    told: dict[str, bool] = {}
    if wanted.length is not None:
        told["length"] = len(found.words) == wanted.length
    if wanted.says:
        told["semantic"] = found.fields is not None and all(found.fields.get(k) == v for k, v in wanted.says)
    if wanted.pos:
        told["pos"] = found.tags is not None and tuple(found.tags) == wanted.pos
    if wanted.spans:
        told["spans"] = found.spans is not None and set(wanted.spans) <= set(found.spans)
    if wanted.tree is not None:
        exact = found.spans is not None and Counter(found.spans) == Counter(wanted.tree[1])
        told["tree"] = exact and len(found.words) == wanted.tree[0]
    if wanted.has:
        told["has"] = all(occurs(phrase, text) for phrase in wanted.has)
    if wanted.without:
        told["without"] = not any(occurs(phrase, text) for phrase in wanted.without)
    scores = {name: float(holds) for name, holds in told.items()} | {"success": float(all(told.values()))}
    if wanted.length is not None:
        scores["success_near"] = float(abs(len(found.words) - wanted.length) <= NEAR)
    if wanted.tree is not None:
        scores["bracket_f1"] = bracket_f1(found.spans or (), wanted.tree[1])
    if wanted.pos:
        pairs = zip(found.tags or (), wanted.pos, strict=False)
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
    of_target: dict[Wanted, list[dict[str, float]]] = {}
    for target, text in zip(wanted, texts, strict=True):
        of_target.setdefault(target, []).append(successes(target, analyse(text), text))
    rows = list(of_target.values())
    for name in rows[0][0] if rows else ():
        yield Score.mean(name, [sum(one[name] for one in each) / len(each) for each in rows], f"{len(texts)} texts")
