"""A tagger of universal parts of speech: the judge of `pos` on e2e, and what its classifiers learn them from.

    python -m benchmarks.tagger [--epochs 6]

It is spaCy's convolutional tagger (hashed embeddings of word, prefix, suffix and shape), trained on the train splits of
ud_ewt and ud_gum together; the epoch that is best on their valid splits is kept, in runs/tagger, with what it tells
right of their test splits beside. spaCy is no dependency of Mezzotint: `pip install "spacy>=3.8,<4"`.

Words are those of mezzotint.evaluate.words, in training too: one that is a part of a treebank's word, or begins in it,
has the tag of that. So "isn't" is AUX PART PART, for the words isn, ' and t: the treebanks' is and n't.

Also said is how much of the published tags of Diffusion-LM's targets the tagger finds in the targets' own sentences:
those were made by another tagger, of other rules, and no text can be told to have a part of speech more surely.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import random
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.data import ORIGINALS

FOLDER = Path("runs/tagger")
TREEBANKS = ("ud_ewt", "ud_gum")
EPOCHS = 6
BATCH = 1000
"""Words of a batch."""
CARD = "card.json"


@dataclass(frozen=True)
class Tagged:
    """A sentence as our words, each with its universal part of speech."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


# ---- the treebanks ---------------------------------------------------------------------------------------------------


def treebank(name: str, split: str) -> list[Tagged]:
    """The sentences of a split of ud_ewt or ud_gum; SystemExit with a sentence where they are not at hand."""
    path = ORIGINALS / name / f"{split}.conllu.xz"
    if not path.exists():
        raise SystemExit(f"the benchmark data is not beside the repository ({ORIGINALS.name}/{name}); see docs/log.md")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [sentence for lines in _blocks(file) if (sentence := sentence_of(lines)).words]


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Groups of lines between empty ones."""
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line.rstrip("\n"))
        elif block:
            yield block
            block = []
    if block:
        yield block


def sentence_of(lines: Sequence[str]) -> Tagged:
    """A sentence of CoNLL-U as our words."""
    text, starts, place, within = "", [], 0, 0
    for line in lines:
        cells = line.split("\t")
        first, _, last = cells[0].partition("-")
        if not first.isdigit():  # a comment, or an empty node such as 1.1
            continue
        if last or int(first) > within:
            place = len(text)
            text += cells[1] + ("" if "SpaceAfter=No" in cells[9] else " ")
        if last:  # several words that are written as one, as in "1-2 don't": theirs are the lines that follow
            within = int(last)
            continue
        starts.append((place, cells[3]))
        place += len(cells[1])
    return cut(text, starts)


def cut(text: str, starts: Sequence[tuple[int, str]]) -> Tagged:
    """Our words of a text, each with the tag of what it begins in; `starts`: where each tag begins, in order.

    >>> cut("I can't.", [(0, "PRON"), (2, "AUX"), (4, "PART"), (7, "PUNCT")])
    Tagged(words=('I', 'can', "'", 't', '.'), tags=('PRON', 'AUX', 'PART', 'PART', 'PUNCT'))
    """
    from mezzotint.evaluate.words import words

    found, tags, place, number = words(text), [], 0, 0
    for word in found:
        place = text.index(word, place)
        while number + 1 < len(starts) and starts[number + 1][0] <= place:
            number += 1
        tags.append(starts[number][1])
        place += len(word)
    return Tagged(tuple(found), tuple(tags))


def published() -> list[Tagged]:
    """The sentences of Diffusion-LM's targets with their published tags, START, END and the line's end left out; only
    those whose words are ours."""
    from benchmarks.control_targets import published_tags

    return [Tagged(words, tags) for words, tags in published_tags()]


# ---- the tagger ------------------------------------------------------------------------------------------------------


class Tagger:
    """A trained tagger."""

    def __init__(self, language: Any, name: str) -> None:
        self.language, self.name = language, name

    def tags(self, words: Sequence[str]) -> tuple[str, ...]:
        """The universal part of speech of every word of a text."""
        return next(self.each([words]))

    def each(self, texts: Iterable[Sequence[str]]) -> Iterator[tuple[str, ...]]:
        """`tags` of each text, many at a time."""
        from spacy.tokens import Doc

        docs = (Doc(self.language.vocab, words=list(words)) for words in texts)
        yield from (tuple(token.tag_ for token in doc) for doc in self.language.pipe(docs, batch_size=256))


def has_tagger() -> bool:
    """Whether there is one, and spaCy to read it."""
    return (FOLDER / CARD).exists() and find_spec("spacy") is not None


@cache
def tagger() -> Tagger:
    """The tagger in runs/tagger; SystemExit, naming what makes it, where there is none or spaCy is not installed."""
    if not (FOLDER / CARD).exists():
        raise SystemExit(f"there is no tagger in {FOLDER}; `python -m benchmarks.tagger` trains it")
    return Tagger(_spacy().load(FOLDER), name_of(FOLDER))


def name_of(folder: Path) -> str:
    """What a tagger is called in rows and names of files: by its weights."""
    return f"tagger-{hashlib.sha256((folder / 'tagger' / 'model').read_bytes()).hexdigest()[:8]}"


def _spacy() -> Any:
    try:
        import spacy
    except ImportError:
        raise SystemExit('the tagger is spaCy\'s, which is not installed: pip install "spacy>=3.8,<4"') from None
    return spacy


def train(sentences: Sequence[Tagged], valid: Sequence[Tagged], epochs: int, seed: int = 0) -> tuple[Any, list[float]]:
    """spaCy's pipeline with averaged weights of the epoch that is best on `valid`, and its accuracy after each."""
    spacy = _spacy()
    from spacy.training import Example
    from spacy.training.batchers import minibatch_by_words
    from spacy.util import fix_random_seed

    fix_random_seed(seed)
    language = spacy.blank("en")
    language.add_pipe("tagger")
    examples = [Example(_doc(language, one.words), _doc(language, one.words, one.tags)) for one in sentences]
    optimiser = language.initialize(lambda: examples)
    order, accuracies, best = random.Random(seed), [], b""
    for epoch in range(epochs):
        order.shuffle(examples)
        for batch in minibatch_by_words(examples, size=BATCH):
            language.update(batch, drop=0.1, sgd=optimiser)
        with language.use_params(optimiser.averages):
            accuracies.append(accuracy(Tagger(language, ""), valid)[0])
            if accuracies[-1] == max(accuracies):
                best = language.to_bytes()
        print(f"epoch {epoch + 1} of {epochs}: {accuracies[-1]:.2%} of the words of the valid splits", flush=True)
    return language.from_bytes(best), accuracies


def _doc(language: Any, words: Sequence[str], tags: Sequence[str] | None = None) -> Any:
    from spacy.tokens import Doc

    return Doc(language.vocab, words=list(words), tags=None if tags is None else list(tags))


def accuracy(one: Tagger, sentences: Sequence[Tagged]) -> tuple[float, float]:
    """The share of words whose tag is told right, and that of sentences all of whose tags are."""
    right = words = whole = 0
    for sentence, told in zip(sentences, one.each(s.words for s in sentences), strict=True):
        hits = sum(a == b for a, b in zip(sentence.tags, told, strict=True))
        right, words, whole = right + hits, words + len(told), whole + (hits == len(told))
    return right / max(words, 1), whole / max(len(sentences), 1)


def tested(one: Tagger) -> dict[str, dict[str, float]]:
    """What a tagger tells right, by corpus: the share of words, that of whole sentences, and how many words."""
    corpora = {name: treebank(name, "test") for name in TREEBANKS}
    corpora["both"] = [sentence for some in corpora.values() for sentence in some]
    corpora["control_targets"] = published()
    found = {}
    for name, sentences in corpora.items():
        words, whole = accuracy(one, sentences)
        found[name] = {"words": words, "texts": whole, "n": sum(len(s.words) for s in sentences)}
    return found


def card() -> dict[str, Any]:
    """What stands beside the tagger in runs/tagger."""
    return dict(json.loads((FOLDER / CARD).read_text(encoding="utf-8")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--sentences", type=int, help="learn from so many of each treebank only")
    given = parser.parse_args()
    splits = {split: [treebank(name, split)[: given.sentences] for name in TREEBANKS] for split in ("train", "valid")}
    some, valid = ([one for each in splits[split] for one in each] for split in ("train", "valid"))
    language, accuracies = train(some, valid, given.epochs)
    aside = FOLDER.with_name(f".{FOLDER.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.parent.mkdir(parents=True, exist_ok=True)
    language.to_disk(aside)
    found = tested(Tagger(language, ""))
    facts = {"spacy": _spacy().__version__, "epochs": given.epochs, "valid": accuracies, "tested": found}
    facts["sentences"] = len(some)
    (aside / CARD).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(FOLDER, ignore_errors=True)
    aside.rename(FOLDER)
    for name, shares in found.items():
        said = f"{shares['words']:.2%} of {shares['n']:,.0f} words, {shares['texts']:.1%} of whole texts"
        print(f"{name_of(FOLDER)}, {name}: {said}")


if __name__ == "__main__":
    main()
