"""What is wanted of texts in benchmarks.control, by corpus, and how it is judged whether they are so.

bistro: what held-out texts are, judged by the grammar. e2e: the fields of the published targets of Diffusion-LM (Li et
al. 2022, arXiv:2205.14217; shared/data/control_targets) whose values are strings of a text, and lengths from 10 to 40.
There success is what that paper's code counts: the value's string stands in the text, and the length is exact.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import ORIGINALS, PLAIN

E2E_FIELDS = {"name": "name", "near": "near", "food": "food", "area": "area", "Type": "eatType"}
"""Published names of fields and those of the data. Of a price or a rating a text says the value in many ways, and
whether children are welcome is no string of it at all."""
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


# ---- bistro ----------------------------------------------------------------------------------------------------------


def of_bistro(task: str, n: int, most: int) -> list[Any]:
    """The first n held-out texts of at most so many words, each as something wanted."""
    from mezzotint.data import bistro

    some = (one for one in bistro.corpus("test", 20 * n) if len(one.words) <= most)
    found = list(dict.fromkeys(wanted for k, one in enumerate(some) if (wanted := wanted_of(task, one, k)) is not None))
    return found[:n]


def wanted_of(task: str, one: Any, k: int) -> Any:
    """What a text is, of one task; None where it has none of it. `k` chooses among several."""
    from mezzotint import Wanted

    fields = [(name, value) for name, value in vars(one.fields).items() if value is not None and name != "name"]
    phrases = [span for span in one.spans if span[2] != "S"]
    said = {"says": (fields[k % len(fields)],)} if fields else None
    asked: dict[str, Callable[[], dict[str, Any] | None]] = {
        "semantic": lambda: said,
        "pos": lambda: {"pos": one.tags},
        "tree": lambda: {"tree": (len(one.words), one.spans)},
        "spans": lambda: {"spans": (phrases[k % len(phrases)],)} if phrases else None,
        "length": lambda: {"length": len(one.words)},
        "semantic+length": lambda: said and {**said, "length": len(one.words)},
        "semantic+pos": lambda: said and {**said, "pos": one.tags},
    }
    facts = asked[task]()
    return None if facts is None else Wanted(**facts)


# ---- e2e -------------------------------------------------------------------------------------------------------------


def of_e2e(part: str, n: int, most: int) -> list[Any]:
    """n published targets, spread over all fields; lengths spread over what is published, as far as there is room."""
    from mezzotint import Wanted

    with lzma.open(ORIGINALS / "control_targets" / "target_attribute.jsonl.xz", "rt", encoding="utf-8") as file:
        said = [pair for pair in map(stated, file) if pair is not None]
    chosen = [said[k * len(said) // n] for k in range(n)]
    lengths = [SHORTEST + k * (min(LONGEST, most) - SHORTEST) // max(n - 1, 1) for k in range(n)]
    asked: Mapping[str, Callable[[int], dict[str, Any]]] = {
        "semantic": lambda k: {"says": (chosen[k],)},
        "length": lambda k: {"length": lengths[k]},
        "semantic+length": lambda k: {"says": (chosen[k],), "length": lengths[k]},
    }
    return list(dict.fromkeys(Wanted(**asked[part](k)) for k in range(n)))


def stated(line: str) -> tuple[str, str] | None:
    """The field and the value of a line such as ["food", ":", "Fast", "food"]; None for fields that are not asked."""
    words: list[str] = json.loads(line)
    place = words.index(":")
    name = E2E_FIELDS.get(" ".join(words[:place]))
    return None if name is None else (name, " ".join(words[place + 1 :]))


def annotated_e2e() -> Path:
    """The training texts of e2e with what they say, as a file for `mezzotint train-control`; made once."""
    path = PLAIN / "e2e-annotated.jsonl"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".part")
        aside.write_text("".join(json.dumps(record) + "\n" for record in _records()), encoding="utf-8")
        aside.rename(path)
    return path


def _records() -> Iterator[dict[str, Any]]:
    with lzma.open(ORIGINALS / "e2e" / "train.jsonl.xz", "rt", encoding="utf-8") as file:
        for line in file:
            one = json.loads(line)
            fields = dict(re.findall(r"([^,\[\]]+?)\[([^\]]*)\]", one["mr"].replace(", ", ",")))
            text = " ".join(one["ref"].split())
            # Only what stands in the text as it is: fields are often left out of it.
            yield {"text": text, "fields": {k: v for k, v in fields.items() if v in text}}


def by_strings(text: str) -> Any:
    """What the words of a text of e2e say of it: `fields` is left to `has`, see `as_strings`."""
    from mezzotint.evaluate.control import Analysis
    from mezzotint.evaluate.words import words

    return Analysis(words(text))


def as_strings(wanted: Any) -> Any:
    """What is judged where a field was wanted: that its value stands in the text."""
    from mezzotint import Wanted

    return Wanted(length=wanted.length, has=tuple(value for _, value in wanted.says))


BISTRO = Corpus(
    "bistro",
    {
        "semantic": ("semantic",), "pos": ("pos",), "tree": ("tree",), "spans": ("spans",), "length": ("length",),
        "compose": ("semantic+length", "semantic+pos"),
    },
    of_bistro,
    lambda: "bistro",
)  # fmt: skip
E2E = Corpus(
    "e2e",
    {"semantic": ("semantic",), "length": ("length",), "compose": ("semantic+length",)},
    of_e2e,
    annotated_e2e,
    "benchmarks/judges/e2e",
    by_strings,
    as_strings,
)
CORPORA = {corpus.name: corpus for corpus in (BISTRO, E2E)}
