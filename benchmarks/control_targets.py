"""What is wanted of texts in benchmarks.control, by corpus, and how it is judged whether they are so.

bistro: what held-out texts are, judged by the grammar. e2e: the fields of the published targets of Diffusion-LM (Li et
al. 2022, arXiv:2205.14217; shared/data/control_targets) whose values are strings of a text, their parts of speech, and
lengths from 10 to 40. There success is what that paper's code counts: the value's string stands in the text, the length
is exact; and, where it counts words, all have the part of speech that the tagger of benchmarks/tagger.py tells.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.data import ORIGINALS, PLAIN
from benchmarks.tagger import Tagger, has_tagger, tagger

E2E_FIELDS = {"name": "name", "near": "near", "food": "food", "area": "area", "Type": "eatType"}
"""Published names of fields and those of the data. Of a price or a rating a text says the value in many ways, and
whether children are welcome is no string of it at all."""
POS_AND_FIELD = "target_compose_pos_attr"
"""The published targets with parts of speech and a field at once."""
SHORTEST, LONGEST = 10, 40


@dataclass(frozen=True)
class Corpus:
    """A corpus, as control is measured on it."""

    name: str
    tasks: Mapping[str, Sequence[str]]
    """The parts of each task."""
    targets: Callable[[str, int, int], list[Any]]
    """(part, how many, the longest text) -> what is wanted; the same for all arms."""
    annotated: Callable[[], str | Path]
    """What classifiers learn from."""
    judge: str | None = None
    """The folder of the judge of fluency; None: the bundled one."""
    analyse: Callable[[str], Any] | None = None
    """What a text is; None: what the grammar finds."""
    scored: Callable[[Any], Any] = lambda wanted: wanted
    """What of everything wanted the analysis is asked for."""
    tagger: Callable[[], Tagger] | None = None
    """What tells parts of speech, and has learned to; None: whatever analyses."""

    def analysis_of(self, part: str) -> tuple[Callable[[str], Any], str | None]:
        """What analyses texts of a part, and what the rows call it where it was trained."""
        from mezzotint.evaluate.control import by_grammar

        if self.tagger is not None and "pos" in part.split("+"):
            return by_tagger(self.tagger()), self.tagger().name
        return self.analyse or by_grammar, None


# ---- bistro ----------------------------------------------------------------------------------------------------------


def bistro_targets(task: str, n: int, max_words: int) -> list[Any]:
    """The first n held-out texts of at most so many words, each as something wanted."""
    from mezzotint.data import bistro

    examples = (example for example in bistro.corpus("test", 20 * n) if len(example.words) <= max_words)
    found = (target_of(task, example, k) for k, example in enumerate(examples))
    return list(dict.fromkeys(target for target in found if target is not None))[:n]


def target_of(task: str, example: Any, k: int) -> Any:
    """What a text is, of one task; None where it has none of it. `k` chooses among several."""
    from mezzotint import Wanted

    fields = [(name, value) for name, value in vars(example.fields).items() if value is not None and name != "name"]
    phrases = [span for span in example.spans if span[2] != "S"]
    says = {"says": (fields[k % len(fields)],)} if fields else None
    facts_of: dict[str, Callable[[], dict[str, Any] | None]] = {
        "semantic": lambda: says,
        "pos": lambda: {"pos": example.tags},
        "tree": lambda: {"tree": (len(example.words), example.spans)},
        "spans": lambda: {"spans": (phrases[k % len(phrases)],)} if phrases else None,
        "length": lambda: {"length": len(example.words)},
        "semantic+length": lambda: says and {**says, "length": len(example.words)},
        "semantic+pos": lambda: says and {**says, "pos": example.tags},
    }
    facts = facts_of[task]()
    return None if facts is None else Wanted(**facts)


# ---- e2e -------------------------------------------------------------------------------------------------------------


def e2e_targets(part: str, n: int, max_words: int) -> list[Any]:
    """n published targets, spread over all fields; lengths spread over what is published, as far as there is room."""
    from mezzotint import Wanted

    if "pos" in part.split("+"):
        return e2e_pos_targets(part, n, max_words)
    with lzma.open(ORIGINALS / "control_targets" / "target_attribute.jsonl.xz", "rt", encoding="utf-8") as file:
        fields = [pair for pair in map(parse_field, file) if pair is not None]
    chosen = [fields[k * len(fields) // n] for k in range(n)]
    lengths = [SHORTEST + k * (min(LONGEST, max_words) - SHORTEST) // max(n - 1, 1) for k in range(n)]
    facts_of: Mapping[str, Callable[[int], dict[str, Any]]] = {
        "semantic": lambda k: {"says": (chosen[k],)},
        "length": lambda k: {"length": lengths[k]},
        "semantic+length": lambda k: {"says": (chosen[k],), "length": lengths[k]},
    }
    return list(dict.fromkeys(Wanted(**facts_of[part](k)) for k in range(n)))


def e2e_pos_targets(part: str, n: int, max_words: int) -> list[Any]:
    """n published sequences of parts of speech that have room and were learned, spread over all; for semantic+pos those
    that come with a field that is asked. Most of those of target_pos are of sentences of the training split, and are
    left out."""
    from mezzotint import Wanted

    known = learned_tags()
    if part == "pos":
        seen = learned_sentences()
        pairs = published_tags("target_pos")
        candidates: list[tuple[Any, Any]] = [
            (tags, ()) for words, tags in pairs if letters_of(" ".join(words)) not in seen
        ]
    else:
        both = zip(published_tags(POS_AND_FIELD, whole=True), targets(POS_AND_FIELD), strict=True)
        parsed = ((tags, parse_field(json.dumps(one["attr"]))) for (_, tags), one in both if tags)
        candidates = [(tags, (pair,)) for tags, pair in parsed if pair is not None]
    chosen = list(
        dict.fromkeys(Wanted(pos=p, says=s) for p, s in candidates if len(p) <= max_words and known >= set(p))
    )
    return [chosen[k * len(chosen) // n] for k in range(min(n, len(chosen)))]


def letters_of(text: str) -> str:
    """Its letters and digits alone: what two spellings of a sentence have in common."""
    return "".join(character for character in text.lower() if character.isalnum())


@cache
def learned_sentences() -> frozenset[str]:
    """The training texts of e2e, bare."""
    with annotated_e2e().open(encoding="utf-8") as file:
        return frozenset(letters_of(json.loads(line)["text"]) for line in file)


@cache
def learned_tags() -> frozenset[str]:
    """The parts of speech that the tagger finds in the training texts of e2e."""
    with annotated_e2e().open(encoding="utf-8") as file:
        return frozenset(tag for line in file for tag in json.loads(line).get("tags", ()))


def targets(name: str) -> list[Any]:
    """The published targets of a file; SystemExit with a sentence where they are not at hand."""
    path = ORIGINALS / "control_targets" / f"{name}.jsonl.xz"
    if not path.exists():
        raise SystemExit(f"the published targets are not beside the repository ({name}); see docs/log.md")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def published_tags(name: str = "target_pos", whole: bool = False) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The words of the targets of a file and their tags, without START, END and the line's end. Those with a word that
    is not one of ours (19.99) are left out; with `whole` both are empty there."""
    sentences = []
    for target in targets(name):
        pairs = [pair for pair in zip(target["words_"], target["pos"], strict=True) if pair[0].strip()][1:-1]
        words, tags = tuple(word for word, _ in pairs), tuple(tag for _, tag in pairs)
        is_ours = tuple(split(" ".join(words))) == words
        if is_ours or whole:
            sentences.append((words, tags) if is_ours else ((), ()))
    return sentences


def published_spans() -> list[tuple[tuple[str, ...], tuple[Any, ...]]]:
    """The words of target_spans, without START, END and the line's end, and their phrases: first word, word after the
    last, label, as everywhere here.

    The published last word is that of the phrase itself, and START is not counted (tests/test_control_targets.py): the
    phrase [3, 5, "PP"] of "START Only feet away from Café Sicilia" is "from Café Sicilia".
    """
    sentences = []
    for target in targets("target_spans"):
        words = tuple(word for word in target["words_"] if word.strip())[1:-1]
        sentences.append((words, tuple((first, last + 1, label) for first, last, label in target["spans"])))
    return sentences


def parse_field(line: str) -> tuple[str, str] | None:
    """The field and the value of a line such as ["food", ":", "Fast", "food"]; None for fields that are not asked."""
    words: list[str] = json.loads(line)
    place = words.index(":")
    name = E2E_FIELDS.get(" ".join(words[:place]))
    return None if name is None else (name, " ".join(words[place + 1 :]))


def annotated_e2e() -> Path:
    """The training texts of e2e with what they say and, where there is a tagger, their parts of speech, as a file for
    `mezzotint train-control`; made once for each tagger."""
    has_tags = has_tagger()
    path = PLAIN / ("e2e-annotated" + (f"-{tagger().name}" if has_tags else "") + ".jsonl")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        records = list(_records())
        if has_tags:
            tags_each = tagger().each(split(record["text"]) for record in records)
            records = [{**record, "tags": list(tags)} for record, tags in zip(records, tags_each, strict=True)]
        temporary = path.with_suffix(".part")
        temporary.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        temporary.rename(path)
    return path


def split(text: str) -> list[str]:
    """The words of a text: those of every score, and of a run that writes whole words."""
    from mezzotint.evaluate.words import words

    return words(text)


def _records() -> Iterator[dict[str, Any]]:
    with lzma.open(ORIGINALS / "e2e" / "train.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            fields = dict(re.findall(r"([^,\[\]]+?)\[([^\]]*)\]", record["mr"].replace(", ", ",")))
            text = " ".join(record["ref"].split())
            # Only what stands in the text as it is: fields are often left out of it.
            yield {"text": text, "fields": {k: v for k, v in fields.items() if v in text}}


def by_strings(text: str) -> Any:
    """What the words of a text of e2e say of it: `fields` is left to `has`, see `as_strings`."""
    from mezzotint.evaluate.control import Analysis

    return Analysis(split(text))


def by_tagger(judge: Tagger) -> Callable[[str], Any]:
    """The same with the parts of speech that a tagger tells."""
    from mezzotint.evaluate.control import Analysis

    def analyse(text: str) -> Any:
        return Analysis(words := split(text), tags=judge.tags(words))

    return analyse


def as_strings(wanted: Any) -> Any:
    """What is judged where a field was wanted: that its value stands in the text."""
    from mezzotint import Wanted

    return Wanted(length=wanted.length, has=tuple(value for _, value in wanted.says), pos=wanted.pos)


BISTRO = Corpus(
    "bistro",
    {
        "semantic": ("semantic",), "pos": ("pos",), "tree": ("tree",), "spans": ("spans",), "length": ("length",),
        "compose": ("semantic+length", "semantic+pos"),
    },
    bistro_targets,
    lambda: "bistro",
)  # fmt: skip
E2E = Corpus(
    "e2e",
    {"semantic": ("semantic",), "pos": ("pos",), "length": ("length",), "compose": ("semantic+length", "semantic+pos")},
    e2e_targets,
    annotated_e2e,
    "benchmarks/judges/e2e",
    by_strings,
    as_strings,
    tagger,
)
CORPORA = {corpus.name: corpus for corpus in (BISTRO, E2E)}
