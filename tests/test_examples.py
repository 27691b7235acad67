"""Every fenced example of the README and of the pages runs, as it stands, on a few words and with tiny networks.

A document's commands run in order in a folder of their own, which holds the files that they name; runs that a document
uses and does not make are made beforehand. Trainings get two steps of a tiny network, the bundled corpus is 200
texts, and sixteen texts stand for a thousand.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mezzotint
from mezzotint import prepare
from mezzotint.cli.main import COMMANDS, main
from mezzotint.cli.parse import parse
from mezzotint.data import bistro
from tests import checkpoints

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
LEFT_OUT = ("log.md", "results.md", "commands.md")
TRAINING = {"train", "train-embeddings", "distill", "finetune", "train-control", "latent prior"}
TINY = ["--set", "dim=32", "--set", "depth=1", "--set", "heads=2", "--set", "batch=8", "--set", "validations=1"]
LAUNCHERS = ("torchrun", "accelerate")
ELSEWHERE = ("compare", "demo", "doctor", "reproduce")
"""Commands that take long and are run elsewhere: by .ci/run, and by tests of their own."""
MADE = {
    "reviews": "train mdlm --data reviews.txt",
    "ar": "train ar --data reviews.txt",
    "judge": "train ar --data reviews.txt --seed 1",
    "vae": "train adavae --data reviews.txt --backbone runs/ar",
    "de-en": "train ar-seq2seq --data pairs.jsonl --source de --target en",
}
"""Runs that documents use without making them."""


def fences(path: Path) -> list[tuple[str, str]]:
    """The language and the text of each fenced block; of a thousand texts sixteen are enough."""
    text = re.sub(r"(\bn=|-n )1000\b", r"\g<1>16", path.read_text(encoding="utf-8"))
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def lines(text: str) -> Iterator[list[str]]:
    """The words of each command, its comment left out; a line that ends with a backslash goes on."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>")
        lexer.whitespace_split = True
        if words := list(lexer):
            yield words


def mezzotint_words(words: list[str]) -> list[str] | None:
    """What `mezzotint` is told, also where a launcher starts it; None for another program."""
    if words[0] in LAUNCHERS:
        return words[words.index("mezzotint") + 1 :] if "mezzotint" in words else None
    return words[1:] if words[0] == "mezzotint" else None


def command_of(words: list[str]) -> str:
    """The name of a command, which may be two words."""
    return " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]


def shown() -> list[tuple[Path, str, str]]:
    return [(page, kind, text) for page in PAGES if page.name not in LEFT_OUT for kind, text in fences(page)]


def ids(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


WITH_EXAMPLES = sorted({page for page, kind, _ in shown() if kind in ("", "sh", "python")})


def test_every_block_says_what_it_is() -> None:
    assert {kind for _, kind, _ in shown()} <= {"", "sh", "python", "toml", "text"}
    assert len(WITH_EXAMPLES) >= 13


def test_every_command_is_shown_somewhere() -> None:
    used = set()
    for _, kind, text in shown():
        if kind in ("", "sh"):
            for words in lines(text):
                last = words[words.index("|") + 1 :] if "|" in words else words
                if (told := mezzotint_words(last)) and told[-1] != "...":
                    used.add(command_of(told))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [name for name in COMMANDS if name not in used and f"`mezzotint {name}" not in text] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_in_a_help_text_is_a_call(name: str) -> None:
    kind, _ = COMMANDS[name]
    (words,) = lines(kind.example)
    until = words.index("<") if "<" in words else len(words)
    told = mezzotint_words(words[:until])
    assert told and command_of(told) == name
    parse(kind, name, told[len(name.split()) :])


# ---- the material ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what the documents name."""
    root = tmp_path_factory.mktemp("material")
    texts = list(bistro.texts("train", 400))
    write(root / "reviews.txt", texts)
    write(root / "hotels.txt", texts[200:])
    write(root / "test.txt", list(bistro.texts("test", 12)))
    write(root / "prose.txt", [line for i in range(0, 400, 10) for line in (" ".join(texts[i : i + 10]), "")])
    write(root / "german.txt", ["ein alter pub", "der fluss ist kalt"])
    write(root / "negative.txt", texts[:2])
    pairs = [{"de": f"ein {a} {b}", "en": f"a {a} {b}"} for a in ["pub", "fluss", "hof"] for b in ["eins", "zwei"]]
    write(root / "pairs.jsonl", [json.dumps(pair) for pair in pairs * 20])
    labels = [{"text": text, "label": "positive" if i % 2 else "negative"} for i, text in enumerate(texts[:40])]
    write(root / "labelled.jsonl", [json.dumps(label) for label in labels])
    checkpoints.save_lightning(root / "mdlm.ckpt", checkpoints.weights(), tokenizer=checkpoints.gpt2_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        for name, call in MADE.items():
            assert run([*call.split(), "--out", f"runs/{name}"]) == 0
    return root


def write(path: Path, texts: list[str]) -> None:
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")


def run(words: list[str]) -> int:
    """One command, trainings made short; the exit status."""
    name = command_of(words)
    return main(words if name not in TRAINING else short(words, name))


def short(words: list[str], name: str) -> list[str]:
    """A training of two steps of a tiny network."""
    kept, skip = [], False
    for word in words:
        skip, dropped = word in ("--minutes", "--max-steps", "--size", "--batch-size"), skip
        if not (skip or dropped):
            kept.append(word)
    own = {
        "train-control": ["--batch-size", "8"],
        "finetune": ["--set", "batch=8", "--set", "validations=1"],
        "latent prior": ["--set", "dim=16", "--set", "depth=1", "--set", "batch=8"],
        "distill": ["--set", "batch=4", "--set", "validations=1", "--set", "group=2"],
    }
    own["train"] = ["--set", "batch=8", "--set", "validations=1", "--set", "latent=4"] if "adavae" in words else TINY
    if "rnn-vae" in words:  # it has no heads
        own["train"] = [*TINY[:4], *TINY[6:]]
    return [*kept, "--max-steps", "2", *own.get(name, [*TINY])]


# ---- the documents ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=ids)
def test_every_example_runs(page: Path, material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    blocks = [(kind, text) for kind, text in fences(page) if kind in ("", "sh", "python")]
    made = set(re.findall(r"(?:--out |out=\")runs/([\w-]+)", "\n".join(text for _, text in blocks)))
    shutil.copytree(material, here, ignore=lambda folder, names: made if folder.endswith("/runs") else set())
    monkeypatch.chdir(here)
    monkeypatch.setenv("MEZZOTINT_CACHE", str(here / "cache"))
    for split, n in {"train": 200, "valid": 20, "test": 20}.items():
        monkeypatch.setitem(prepare.BISTRO_TEXTS, split, n)
    monkeypatch.setattr(mezzotint, "serve_runs", lambda *runs, **how: None)
    for kind, text in blocks:
        if kind == "python":
            if "Entry(" not in text:  # a package of one's own: tests/test_plugins.py has a whole one
                with monkeypatch.context() as patch:
                    patch.setattr(mezzotint, "train", tiny_train)
                    exec(compile(text, str(page), "exec"), {"__name__": "example"})
            continue
        for words in lines(text):
            perform(words, monkeypatch)


def tiny_train(*words: Any, train: Any = mezzotint.train, **how: Any) -> Any:
    """`mezzotint.train` with a tiny network."""
    settings = dict(word.split("=") for word in TINY[1::2])
    return train(*words, **{**how, "settings": how.get("settings", {}) | settings})


def perform(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of shell."""
    given = ""
    if "|" in words:
        said, words = words[: words.index("|")], words[words.index("|") + 1 :]
        assert said[0] == "echo"
        given = " ".join(said[1:]) + "\n"
    out: Any = None
    if "<" in words:
        given = Path(words.pop(words.index("<") + 1)).read_text(encoding="utf-8")
        words.remove("<")
    if ">" in words:
        out = Path(words.pop(words.index(">") + 1))
        words.remove(">")
    told = mezzotint_words(words)
    if told is None:
        return check_other(words)
    if told[-1] == "..." or command_of(told) in ELSEWHERE:
        assert command_of(told) in COMMANDS
        return None
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    written = io.StringIO()
    with monkeypatch.context() as patch:
        if out is not None:
            patch.setattr(sys, "stdout", written)
        assert run(told) == 0, " ".join(words)
    if out is not None:
        assert written.getvalue().count("\n") == (given.count("\n") or 16), "not a line for each text"
    return None


def check_other(words: list[str]) -> None:
    """What is not ours to run here is at least there."""
    assert words[0] in ("make", "pip", *LAUNCHERS), words
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert all(word in targets or "=" in word for word in words[1:]), words
    if words[0] == "pip":
        assert (ROOT / words[words.index("-c") + 1]).exists()
