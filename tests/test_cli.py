"""The command: what it accepts, how it refuses, what it writes where. The library behind it is a fake."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import mezzotint
from mezzotint import Can, Card, Decoder, Draft, MezzotintError, Piece, Progress, RunError, Sample, Score
from mezzotint.cli import checking, draw, flags, generating, runs, training
from mezzotint.cli import demo as demo_page
from mezzotint.cli.main import COMMANDS, main
from mezzotint.cli.parse import flag_names, parse

PROMISED = {
    "demo": "--minutes --seed --out",
    "train": "--data --field --layout --valid --tokenizer --out --size --minutes --max-steps --batch-size"
    " --save-every --seed --device --set --source --target --embeddings --backbone --quantize --dry-run",
    "train-embeddings": "--data --field --layout --valid --tokenizer --out --size --minutes --max-steps --batch-size"
    " --save-every --seed --device --set --width",
    "resume": "--device",
    "distill": "--out --data --field --valid --minutes --max-steps --batch-size --save-every --seed --device --set",
    "sample": "-n --steps --seed --temperature --top-p --decoder --threshold --strength --guidance --guide"
    " --prefix --watch --film --json --device --length --block --reuse",
    "infill": "-n --steps --seed --temperature --top-p --decoder --threshold --strength --guidance --guide"
    " --prefix --watch --film --json --device",
    "train-control": "--data --field --minutes --max-steps --batch-size --seed --device",
    "finetune": "--data --adapter --out --field --valid --minutes --max-steps --batch-size --save-every --seed --device"
    " --set",
    "control": "--length --has --without --says --pos --span --tree --template"
    " -n --choose --candidates --steps --strength --temperature --decoder --remask --seed --watch --json --device",
    "translate": "--candidates --choose --scorer --source --steps --seed --temperature --decoder --json --device",
    "latent sample": "--seed --temperature --top-p --json --device -n --like --prior --data --label --field",
    "latent prior": "--data --field --minutes --max-steps --seed --device --set",
    "latent walk": "--seed --temperature --top-p --json --device --points",
    "latent analogy": "--seed --temperature --top-p --json --device",
    "latent transfer": "--seed --temperature --top-p --json --device --to --data --label --field --strength",
    "evaluate": "--data --field --judge --mauve --json --device",
    "compare": "--data --field --judge --steps --curve --entropy -n --out --seed --json --device",
    "doctor": "--data --field --json --device",
    "reproduce": "--all --list --size --keep --seed --json",
    "quantize": "--weights --out --data --field --json --device",
    "import": "--out --tokenizer --weights --heads --length --json",
    "serve": "--host --port --api-key --insecure --deterministic --device",
    "systems": "--json",
}

MDLM = Card(
    "mdlm", "Masked diffusion", "Sahoo et al. 2024", frozenset(Can) - {Can.TRANSLATE}, decoders=frozenset(Decoder)
)
AR = Card("ar", "Autoregressive", "", frozenset({Can.CONTINUE}))

Run = Callable[..., tuple[int, list[str], list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls the command; returns the exit status and the lines of stdout and stderr."""

    def call(*words: object) -> tuple[int, list[str], list[str]]:
        status = main([str(word) for word in words])
        found = capsys.readouterr()
        return status, found.out.splitlines(), found.err.splitlines()

    return call


@dataclass
class Library:
    """Stands in for the library: knows one run of each system, remembers what it is asked."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    texts: Sequence[str] = ("The Mill is a cheap pub near the river.", "Two\nlines \\ one.")
    progress: Sequence[Progress] = ()
    finished: bool = False
    windows: bool = False

    def asked(self, name: str) -> dict[str, Any]:
        return next(how for called, _, how in self.calls if called == name)

    def check_run(self, run: Path) -> dict[str, Any]:
        if not Path(run).is_dir():
            raise RunError(f"there is no run at {run}")
        layout = "windows" if self.windows else "texts"
        return {"system": Path(run).name, "data": {"layout": layout}, "spec": {"canvas": 128}}

    def train(self, system: str, data: Sequence[Path], **how: Any) -> Iterator[Progress]:
        self.calls.append(("train", (system, data), how))
        Path(how["out"]).mkdir(parents=True, exist_ok=True)
        return iter(self.progress)

    def resume(self, out: Path, **how: Any) -> Iterator[Progress]:
        self.calls.append(("resume", (out,), how))
        return iter(self.progress)

    def load(self, run: Path, **how: Any) -> Library:
        self.calls.append(("load", (run,), how))
        return self

    @property
    def tokenizer(self) -> Any:
        unknown = staticmethod(lambda text, virtual_space=True: ["Klingon"] if "Klingon" in text else [])
        return type("Words", (), {"kind": "word", "lead": " ", "unknown_words": unknown})

    def stream(self, n: int, **how: Any) -> Iterator[Draft]:
        self.calls.append(("stream", (n,), how))
        chosen = [self.texts[i % len(self.texts)] for i in range(n)]
        steps = how.get("steps", 4)
        for step in range(steps + 1):
            rows = [[Piece(f" {w}" if step else "", step > 0, False, 0.5) for w in text.split()] for text in chosen]
            done = step == steps
            gaps = (3,) if how.get("template") else ()
            samples = [Sample(t, [1], step, steps, how["seed"], i, gaps) for i, t in enumerate(chosen)] if done else []
            yield Draft(step, steps, [1 - step / steps] * n, rows, [step] * n, done, samples)

    def evaluate_run(
        self, run: Path, data: Sequence[Path], judge: Path | None, **how: Any
    ) -> Iterator[tuple[str, Score]]:
        self.calls.append(("evaluate_run", (run, data, judge), how))
        yield "run", Score("judge_nll", 2.5, 0.1, 100)
        yield "data", Score("judge_nll", 2.0, 0.1, 100)

    def showcase(self, run: Path, **how: Any) -> None:
        self.calls.append(("showcase", (run,), how))
        if not how:  # after a demo
            (Path(run) / "report.html").touch()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Library:
    """The fake in place of the library, in an empty folder with two runs and a file of text."""
    fake = Library()
    for name in ("train", "resume", "load", "check_run", "evaluate_run", "showcase"):
        monkeypatch.setattr(mezzotint, name, getattr(fake, name))
    monkeypatch.setattr(mezzotint, "cards", lambda: [AR, MDLM])
    monkeypatch.setattr(mezzotint, "is_finished", lambda run: fake.finished)
    monkeypatch.setattr(
        mezzotint, "parse_template", lambda text: SimpleNamespace(unknown_words=lambda words: words.unknown_words(text))
    )
    for page in (checking, demo_page, generating, runs, training):
        monkeypatch.setattr(page, "keep_memory", lambda: None)
    monkeypatch.chdir(tmp_path)
    for name in ("mdlm", "ar"):
        Path(name).mkdir()
    (Path("mdlm") / "report.html").touch()
    Path("texts.txt").write_text("one\n")
    return fake


def progress(step: int, valid: float | None = None, **more: Any) -> Progress:
    return Progress(step, step / 100, 3.0, 1e-3, 12_345.6, float(step), 100.0 - step, valid, **more)


# -- what can be typed ------------------------------------------------------------------------------------------------


def test_the_flags_are_exactly_those_promised() -> None:
    assert {name: " ".join(flag_names(kind)) for name, (kind, _) in COMMANDS.items()} == PROMISED


@pytest.mark.parametrize("command", PROMISED)
def test_help_names_every_flag(run: Run, command: str) -> None:
    status, out, err = run(*command.split(), "--help")
    page = "\n".join(out)
    assert status == 0 and not err
    assert all(flag in page for flag in PROMISED[command].split())
    assert run("--help")[1] == run()[1]
    assert any(line.startswith(f"  {command}  ") for line in run()[1])


def test_defaults_are_those_promised() -> None:
    found = parse(flags.Sample, "sample", ["r"])
    assert (found.n, found.steps, found.seed, found.temperature, found.top_p) == (8, 32, 0, 1.0, 1.0)
    assert parse(flags.Infill, "infill", ["r"]).n == 1
    trained = parse(flags.Train, "train", ["mdlm", "--data", "a"])
    assert training.minutes_of(trained) == 10
    assert training.minutes_of(parse(flags.Train, "train", ["mdlm", "--data", "a", "--max-steps", "5"])) is None


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("mdlm --data a b", "--data a b -- mdlm"),
        ("mdlm --data a b", "mdlm --data a --data b"),
        ("mdlm --data a --max-steps 5", "mdlm --data a --max_steps=5"),
        ("mdlm --data a --set x=1 --set y_z=2", "mdlm --set x=1 --data a --set y-z=2"),
    ],
)
def test_spellings_of_one_call_agree(words: str, same: str) -> None:
    assert parse(flags.Train, "train", words.split()) == parse(flags.Train, "train", same.split())


def test_a_template_may_follow_flags() -> None:
    for words in (
        ["r", "T [3]", "-n", "2"],
        ["r", "-n2", "T [3]"],
        ["-n=2", "r", "T [3]"],
        ["-n", "2", "--", "r", "T [3]"],
    ):
        found = parse(flags.Infill, "infill", words)
        assert (found.run, found.template, found.n) == (Path("r"), "T [3]", 2)
    assert parse(flags.Infill, "infill", ["r", "--", "--a_b"]).template == "--a_b"


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 100), st.integers(0, 2**50), st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
def test_values_come_through(temperature: float, seed: int, prefix: str) -> None:
    words = ["r", f"--temperature={temperature!r}", "--seed", str(seed), f"--prefix={prefix}"]
    found = parse(flags.Sample, "sample", words)
    assert (found.temperature, found.seed, found.prefix) == (temperature, seed, prefix)


# -- wrong calls ------------------------------------------------------------------------------------------------------

WRONG = {
    "trian mdlm": "did you mean 'train'?",
    "train mdml --data texts.txt": "did you mean 'mdlm'?",
    "train mdlm --data texts.txt --sise tiny": "did you mean '--size'?",
    "train mdlm --dta texts.txt": "did you mean '--data'?",
    "train mdlm --data texts.txt --size smal": "unknown size 'smal'; did you mean 'small'?",
    "train mdlm --data texts.txt --layout window": "did you mean 'windows'?",
    "train mdlm --data texts.txt --tokenizer words": "did you mean 'word'?",
    "train mdlm --data texts.txt --device cdua": "did you mean 'cuda'?",
    "train mdlm --data texts.txt --device cuda:x": "must be auto, cpu",
    "train mdlm --data texts.txt --set depht=3": "did you mean 'depth'?",
    "train mdlm --data texts.txt --set depth": "--set must be key=value",
    "train mdlm --data texts.txt --set depth=many": "many",
    "train mdlm --data nowhere.txt": "nowhere.txt",
    "train mdlm --data texts.txt --valid nowhere.txt": "nowhere.txt",
    "train mdlm --data texts.pdf": "texts.pdf",
    "train mdlm --data texts.txt --out full": "mezzotint resume full",
    "train mdlm --data texts.txt --minutes nan": "--minutes must be a number above 0, not 'nan'",
    "train mdlm --data texts.txt --minutes 0": "above 0",
    "train mdlm --data texts.txt --max-steps 2.5": "a whole number of at least 1, not '2.5'",
    "train mdlm --data texts.txt --max-steps": "--max-steps needs a value",
    "train mdlm --data": "--data needs a value",
    "train mdlm": "needs --data; as in `mezzotint train mdlm --data",
    "train --data texts.txt": "needs SYSTEM",
    "train mdlm ar --data texts.txt": "'ar' is one word too many",
    "infill": "needs RUN",
    "sample nowhere": "nowhere",
    "sample full": "full",
    "sample nowhere -n 0": "at least 1",
    "sample nowhere --seed --5": "--seed needs a value",
    "sample nowhere --top-p 1.5": "at most 1",
    "sample nowhere --watch=3": "--watch takes no value",
    "sample nowhere --whatever": "known: ",
    "sample nowhere --temper 1": "did you mean '--temperature'?",
    "sample nowhere --temperature inf": "at least 0, not 'inf'",
    "sample nowhere --decoder confidance": "unknown decoder 'confidance'; did you mean 'confidence'?",
    "sample nowhere --strength 2": "at most 1, not '2'",
    "sample ar-run --decoder margin": "ar has no decoder 'margin'; it has exact",
    "sample mdlm-run --threshold 0.5": "threshold is for decoder 'threshold', not for 'exact'",
    "sample mdlm-run --strength 0.5 --decoder entropy": "strength is for decoders 'remask' and 'remask-rescaled'",
    "sample mdlm-run --length 1000": "only a run of --layout windows can be asked for a length",
    "sample mdlm-run --block 8": "give length too",
    "sample mdlm-run --reuse": "give length too",
    "sample ar-run --length 1000": "ar cannot write texts longer than its canvas",
    "compare": "name runs to compare",
    "compare nowhere": "there is no run at nowhere",
    "compare mdlm-run --entropy fist": "did you mean 'first'?",
    "compare mdlm-run --data texts.txt --out texts.txt": "must end in .html",
    "compare mdlm-run mdlm-run": "is named twice",
    "compare mdlm-run --data texts.txt --judge mdlm-run": "is compared itself and cannot judge",
    "doctor nowhere": "there is no run at nowhere",
    "reproduce": "name claims, or say --all",
    "reproduce ar-bond": "did you mean 'ar-bound'?",
    "reproduce --all --size large": "unknown size 'large'",
    "infill mdlm-run [3] --length 9": "unknown flag '--length'",
    "infill ar-run [3] --decoder margin": "ar cannot infill",
    "demo --out full": "mezzotint resume full",
    "resume nowhere": "nowhere",
    "evaluate nowhere --data texts.txt": "nowhere",
    "infill nowhere [3]": "nowhere",
    "infill mdlm-run nothing": "there is no gap in 'nothing'",
    "infill mdlm-run [0]": "[0]",
    "infill mdlm-run": "no template given",
    "infill ar-run [3]": "ar cannot infill; systems that can: didi-instruct",
    "evaluate mdlm-run --data nowhere.txt": "nowhere.txt",
    "evaluate mdlm-run --data texts.txt --judge nowhere": "nowhere",
    "import": "needs FILE|FOLDER",
    "import texts.txt": "needs --out",
    "import nowhere.ckpt --out new": "there is nothing at nowhere.ckpt",
    "import mdlm-run --out new": "mdlm-run is a run already",
    "import full --out new": "full has no model.safetensors; it holds no weights",
    "import texts.txt --out full": "mezzotint resume full",
    "import texts.txt --out new --tokenizer nowhere": "there is no tokenizer at nowhere",
    "import texts.txt --out new --weights emma": "did you mean 'ema'?",
    "control mdlm-run": "say what is wanted of the texts",
    "control mdlm-run --length 0": "--length must be a whole number of at least 1",
    "control mdlm-run --has pub --without pub": "cannot have 'pub' without 'pub'",
    "control mdlm-run --length 3 --pos A": "1 and 3 tokens long at once",
    "control mdlm-run --tree (S": "is not closed",
    "control mdlm-run --span 3-7": "as in 3:7=NP",
    "control sed-run --length 3": "sed cannot control; systems that can: ar, diffusion-lm, mdlm, qe-cdlm",
    "train-control mdlm-run": "needs --data",
    "train-control mdlm-run --data nowhere.jsonl": "nowhere.jsonl",
    "train mdlm --data texts.txt --quantize ternary": "trained with weights in full; qe-cdlm takes --quantize",
    "quantize mdlm-run --out new": "needs --weights",
    "quantize mdlm-run --out new --weights int4": "did you mean 'int8'?",
    "serve --host 0.0.0.0": "others can reach 0.0.0.0: give --api-key KEY",
    "serve nowhere": "nowhere",
    "serve ar-run mdlm-run --host 0.0.0.0": "others can reach 0.0.0.0: give --api-key KEY, or --insecure",
    "serve ar-run --port many": "--port must be a whole number",
    "systems mdlm": "one word too many",
}

PROBE = """
import contextlib, io, json, sys
from mezzotint.cli.main import main
found = []
calls, sys.stdin = json.load(sys.stdin), io.StringIO()
for call in calls:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(call.split())
    found.append([status, out.getvalue(), err.getvalue(), "torch" in sys.modules])
json.dump(found, sys.stdout)
"""


def test_wrong_calls_take_one_line_and_no_torch(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one\n" * 30)
    (tmp_path / "texts.pdf").write_text("one\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    for system in ("ar", "mdlm", "sed"):
        data = {"files": [], "valid": None, "field": None, "layout": "texts"}
        config: dict[str, object] = {"format": 1, "system": system, "spec": {}, "training": {}, "data": data, "seed": 0}
        (tmp_path / f"{system}-run").mkdir()
        (tmp_path / f"{system}-run" / "config.json").write_text(json.dumps(config))
    before = sorted(tmp_path.rglob("*"))
    calls = [*WRONG, "--help", "systems", "train --help"]
    done = subprocess.run(
        [sys.executable, "-c", PROBE], input=json.dumps(calls), capture_output=True, text=True, cwd=tmp_path
    )
    assert not done.stderr
    found = json.loads(done.stdout)
    for call, (status, out, err, torch) in zip(calls, found, strict=True):
        assert not torch, call
        if call not in WRONG:
            assert status == 0 and out, call
            continue
        assert status == 2 and not out, (call, err)
        assert err.startswith("mezzotint: ") and err.count("\n") == 1, (call, err)
        assert WRONG[call] in err, (call, err)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bad_template_is_found_before_the_run_is_loaded(
    run: Run, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str) -> None:
        if "[3]" not in text:
            raise mezzotint.UsageError(f"there is no gap in '{text}'")

    monkeypatch.setattr(mezzotint, "parse_template", refuse)
    monkeypatch.setattr("sys.stdin", io.StringIO("a [3] b\n\nno gap\n"))
    assert run("infill", "mdlm", "no gap") == (2, [], ["mezzotint: there is no gap in 'no gap'"])
    assert run("infill", "mdlm") == (2, [], ["mezzotint: standard input, line 3: there is no gap in 'no gap'"])
    assert not library.calls


def test_what_a_system_cannot_do_is_refused(run: Run, library: Library) -> None:
    assert run("infill", "ar", "a [3] b") == (
        2,
        [],
        ["mezzotint: ar cannot infill; systems that can: mdlm"],
    )
    assert not library.calls


# -- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (MezzotintError("a.txt:3: first\nsecond"), 2, "mezzotint: a.txt:3: first second"),
        (KeyboardInterrupt(), 130, "mezzotint: interrupted"),
    ],
)
def test_an_end_is_one_line(
    run: Run, library: Library, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, line: str
) -> None:
    def fail(*words: object, **how: object) -> None:
        raise error

    monkeypatch.setattr(mezzotint, "load", fail)
    assert run("sample", "mdlm") == (status, [], [line])


def test_a_bug_is_not_hidden(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mezzotint, "load", lambda *words, **how: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["sample", "mdlm"])


def test_a_closed_pipe_ends_quietly() -> None:
    read, write = os.pipe()
    os.close(read)
    call = "import sys; from mezzotint.cli.main import main; sys.exit(main(['systems']))"
    done = subprocess.run([sys.executable, "-c", call], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "next_command"),
    [
        ("train mdlm --data texts.txt --out mdlm", "mezzotint sample mdlm"),
        ("resume mdlm", "mezzotint sample mdlm"),
        ("sample mdlm", "mezzotint infill mdlm 'The Mill [3] pub near the river.'"),
        ("sample ar", "mezzotint evaluate ar --data FILE"),
        ("infill mdlm a[3]b", "mezzotint evaluate mdlm --data FILE"),
        ("evaluate mdlm --data texts.txt", "mezzotint sample mdlm"),
    ],
)
def test_every_command_names_the_next_and_the_report(
    run: Run, library: Library, monkeypatch: pytest.MonkeyPatch, words: str, next_command: str
) -> None:
    monkeypatch.setattr(mezzotint, "check_new", lambda out: None)
    status, _, err = run(*words.split())
    assert status == 0
    assert err[-1].startswith(f"next:   {next_command}")
    assert ("report: mdlm/report.html" in err) == ("mdlm" in words)


# -- train and resume -------------------------------------------------------------------------------------------------


def test_train_passes_on_every_flag(run: Run, library: Library) -> None:
    words = (
        "train mdlm --data texts.txt --field f --layout windows --valid texts.txt --tokenizer bpe --out o --size small"
        " --minutes 2 --max-steps 3 --batch-size 4 --save-every 5 --seed 6 --device cpu --set depth=7"
    )
    asked = {
        "out": Path("o"), "field": "f", "source": None, "target": None, "layout": "windows",
        "valid": (Path("texts.txt"),), "tokenizer": "bpe",
        "size": "small", "minutes": 2.0, "max_steps": 3, "batch_size": 4, "save_every": 5, "seed": 6, "device": "cpu",
        "settings": {"depth": "7"}, "embeddings": None, "backbone": None, "dry_run": False,
    }  # fmt: skip
    assert run(*words.split())[0] == 0
    assert library.asked("train") == asked
    library.calls.clear()
    (Path("mdlm") / "model.safetensors").touch()
    assert run(*words.replace("mdlm", "sed").split(), "--embeddings", "mdlm")[0] == 0
    assert library.asked("train") == asked | {"embeddings": Path("mdlm")}
    typed = {f.name for f in fields(flags.Train)} - {"system", "data", "set", "quantize"}
    assert typed == set(library.asked("train")) - {"settings"}
    library.calls.clear()
    assert run("train", "qe-cdlm", "--data", "texts.txt", "--quantize", "pow2", "--set", "width=8")[0] == 0
    assert library.asked("train")["settings"] == {"kind": "pow2", "width": "8"}


def test_vectors_are_learned_by_a_run_with_a_narrow_lookup(run: Run, library: Library) -> None:
    library.progress = [progress(100)]
    status, _, err = run("train-embeddings", "--data", "texts.txt", "--width", 8, "--set", "tied=false", "--seed", 3)
    (system, data), how = next((args, how) for name, args, how in library.calls if name == "train")
    assert (status, system, data, how["seed"]) == (0, "mdlm", (Path("texts.txt"),), 3)
    assert how["settings"] == {"factor": "8", "tied": "false"} and how["out"] == Path("runs/embeddings-texts-1")
    assert err[-1] == "next:   mezzotint train sed --data texts.txt --embeddings runs/embeddings-texts-1"
    library.calls.clear()
    run("train-embeddings", "--data", "texts.txt")
    assert library.asked("train")["settings"] == {"factor": "32", "tied": "true"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train mdlm --embeddings mdlm", "mdlm takes no vectors of others"),
        ("train sed --embeddings ar", "ar has no model.safetensors"),
        ("train sed --embeddings mdlm/none", "there is no run or model at mdlm/none"),
        ("train sed --embeddings mdlm --set table=random", "a pretrained table, not a random one"),
        ("train sed --set table=pretrained", "table=pretrained needs vectors"),
        ("train sed --set factor=8", "sed has vectors of its own: set width"),
        ("train-embeddings --width 999", "factor must be a width of at most dim"),
    ],
)
def test_vectors_that_cannot_be_are_refused_at_once(run: Run, library: Library, words: str, sentence: str) -> None:
    (Path("mdlm") / "model.safetensors").touch()
    status, _, (line,) = run(*words.split(), "--data", "texts.txt")
    assert status == 2 and sentence in line and not library.calls


def test_out_is_the_first_free_folder(run: Run, library: Library) -> None:
    Path("runs/mdlm-texts-1").mkdir(parents=True)
    run("train", "mdlm", "--data", "texts.txt")
    assert library.asked("train")["out"] == Path("runs/mdlm-texts-2")


def test_progress_off_a_terminal_is_a_line_for_each_tenth_and_each_event(run: Run, library: Library) -> None:
    library.progress = [
        progress(0, note="3 texts were left out"),
        *(progress(i, 2.5 if i == 50 else None) for i in range(1, 101)),
    ]
    _, _, err = run("train", "mdlm", "--data", "texts.txt")
    assert err[0] == "run folder: runs/mdlm-texts-1"
    assert err[1] == "3 texts were left out"
    assert err[2] == " 10%  step 10  loss 3.000  12,346 tokens/s  1:30 left"
    assert err[6] == " 50%  step 50  loss 3.000  held-out bound 2.500"
    assert len(err) == 1 + 1 + 10 + 1
    assert library.asked("showcase") == {"n": 6, "steps": (4, 16), "scored": False}


def test_a_terminal_gets_a_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, highlight=False)
    records = [progress(0, note="3 texts were left out"), progress(50, 2.5), progress(99)]
    assert draw.progress(records, console) == records[-1]
    drawn = screen.getvalue()
    assert "3 texts were left out" in drawn and "preparing" in drawn
    assert "loss 3.000 · held out 2.500 · 0:01 left" in drawn


def test_a_stopped_training_says_how_to_go_on(run: Run, library: Library) -> None:
    library.progress = [progress(3), progress(4, stopped="stopped by SIGINT at step 4; `mezzotint resume o` goes on")]
    status, out, err = run("train", "mdlm", "--data", "texts.txt", "--out", "o")
    assert (status, out, err[1:]) == (130, [], ["mezzotint: stopped by SIGINT at step 4; `mezzotint resume o` goes on"])


def test_a_finished_run_is_left_alone(run: Run, library: Library) -> None:
    library.finished = True
    status, _, err = run("resume", "mdlm")
    assert status == 0 and "finished" in err[0] and not library.calls


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (65, "1:05"), (7209, "2:00:09"), (float("inf"), "–")])
def test_durations(seconds: float, shown: str) -> None:
    assert draw.duration(seconds) == shown


# -- sample and infill ------------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("ab\\\n\rn"), max_size=12))
def test_a_text_on_one_line_is_itself_but_for_its_line_ends(text: str) -> None:
    line = draw.one_line(text)
    assert "\n" not in line and "\r" not in line
    assert line == text if not {"\n", "\r"} & set(text) else len(line) == len(text) + sum(map(text.count, "\n\r"))


def test_samples_are_lines(run: Run, library: Library) -> None:
    _, out, _ = run("sample", "mdlm", "-n", "2", "--steps", "16", "--seed", "5", "--prefix", "The", "--top-p", "0.9")
    assert out == ["The Mill is a cheap pub near the river.", r"Two\nlines \ one."]
    assert library.calls[-1][1] == (2,)
    assert library.asked("stream") == {"steps": 16, "seed": 5, "temperature": 1.0, "top_p": 0.9, "prefix": "The"}


def test_decoders_and_lengths_reach_the_library_and_the_approximate_say_so(run: Run, library: Library) -> None:
    library.windows = True
    _, _, err = run("sample", "mdlm", "-n", "1", "--steps", "2", "--decoder", "threshold", "--threshold", "0.8")
    assert library.asked("stream") | {"decoder": "threshold", "threshold": 0.8} == library.asked("stream")
    assert err[0] == "decoder threshold is approximate: its texts do not have the law of the model's own sampling"
    library.calls.clear()
    _, _, err = run("sample", "mdlm", "-n", "1", "--length", "1000", "--block", "16", "--reuse", "--decoder", "exact")
    asked = library.asked("stream")
    assert (asked["length"], asked["block"], asked["reuse"]) == (1000, 16, True) and "decoder" not in asked
    assert ["approximate" in line for line in err].count(True) == 1 and err[0].startswith("--reuse is approximate")
    library.calls.clear()
    run("infill", "mdlm", "a [3] b", "--decoder", "remask", "--strength", "0.1")
    assert library.asked("stream")["strength"] == 0.1


def test_json_is_an_object_a_line(run: Run, library: Library) -> None:
    _, out, _ = run("sample", "mdlm", "-n", "2", "--seed", "7", "--json")
    assert [json.loads(line) for line in out] == [
        {"text": text, "seed": 7, "index": i, "steps": 32, "nfe": 32} for i, text in enumerate(library.texts)
    ]
    filled = json.loads(run("infill", "mdlm", "a [3] b", "--json")[1][0])
    assert (filled["template"], filled["gaps"]) == ("a [3] b", [3])
    assert {json.loads(line)["column"] for line in run("evaluate", "mdlm", "--data", "texts.txt", "--json")[1]} == {
        "run",
        "data",
    }
    assert [json.loads(line)["name"] for line in run("systems", "--json")[1]] == ["ar", "mdlm"]


def test_infill_of_a_template_alone_says_where_the_run_stands(run: Run, library: Library) -> None:
    status, _, err = run("infill", "The [3] pub.")
    assert (status, err) == (
        2,
        ["mezzotint: a run stands before the template, as in `mezzotint infill bistro 'The [3] pub.'`"],
    )


def test_infill_takes_a_template_a_line(run: Run, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("The [3] pub.\r\n\n [2] .\n"))
    _, out, err = run("infill", "mdlm")
    assert [how["template"] for name, _, how in library.calls if name == "stream"] == ["The [3] pub.", " [2] ."]
    assert len(out) == 2
    assert err[0] == "in this run a gap [n] is n words" and not any("does not know" in line for line in err)
    told = "this run does not know Klingon, and writes beside it as beside any unknown word"
    assert (
        told in run("infill", "mdlm", "a Klingon [2] pub")[2]
        and told in run("sample", "mdlm", "--prefix", "Klingon")[2]
    )
    assert run("infill", "mdlm")[2][0].startswith("mezzotint: no template given")
    run("infill", "mdlm", "a [3] b", "--prefix", "[x] ")
    assert library.calls[-1][2]["template"] == r"\[x] a [3] b"


TRICKY = st.text(st.sampled_from("a\\[]3 "), max_size=8)


def given_and_gaps(template: str) -> tuple[str, list[object]]:
    """The text before the first gap, and the gaps."""
    pieces = mezzotint.parse_template(template).pieces
    first = getattr(pieces[0], "text", "")
    return first, [piece for piece in pieces if not hasattr(piece, "text")]


@settings(deadline=None)
@given(TRICKY, TRICKY)
def test_a_prefix_stands_for_itself_in_a_template(prefix: str, template: str) -> None:
    template = template.removesuffix("\\") + " [3]"
    first, gaps = given_and_gaps(template)
    assert given_and_gaps(generating.literal(prefix, template) + template) == (prefix + first, gaps)


# -- the film ---------------------------------------------------------------------------------------------------------


def test_watching_leaves_stdout_as_it_is(run: Run, library: Library) -> None:
    plain, watched = (run("sample", "mdlm", "-n", "2", "--steps", "4", *more) for more in ([], ["--watch"]))
    assert plain[1] == watched[1]
    frames = [line for line in watched[2] if line.startswith("step ")]
    assert frames == [f"step {i}/4 · evaluations {i} · t {1 - i / 4:.2f}" for i in range(5)]
    assert "░" in watched[2][1] and "  The Mill is a cheap pub near the river." in watched[2]


def test_a_film_is_kept_beside_the_texts(run: Run, library: Library, tmp_path: Path) -> None:
    plain, filmed = (run("sample", "mdlm", "-n", "2", *more) for more in ([], ["--film", tmp_path / "film.html"]))
    assert plain[1] == filmed[1] and any(line.startswith("film: ") for line in filmed[2])
    assert "Two\nlines" in (tmp_path / "film.html").read_text()
    library.calls.clear()
    status, _, said = run("infill", "mdlm", "The [3] pub", "--film", "film.mp4")
    assert status == 2 and "or a .gif; not film.mp4" in said[0] and not library.calls
    assert run("infill", "mdlm", "The [3] pub", "--film", tmp_path / "two.gif")[0] == 0
    assert (tmp_path / "two.gif").read_bytes().startswith(b"GIF8")


def test_stills_are_five_of_a_few_texts(library: Library, capsys: pytest.CaptureFixture[str]) -> None:
    drafts = list(library.stream(8, steps=40, seed=0))
    assert list(draw.film(drafts, Console(file=io.StringIO()))) == drafts
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("step ")] == [
        "0/40",
        "10/40",
        "20/40",
        "30/40",
        "40/40",
    ]
    assert len(lines) == 5 * (1 + draw.PLAIN_ROWS + 1)


def styles(draft: Draft, ages: Sequence[Sequence[int]]) -> list[tuple[str, str]]:
    console = Console(width=200)
    drawn = draw.picture(draft, ages).split("\n")[0].render(console)
    return [(segment.text, str(segment.style or "")) for segment in drawn if segment.text.strip()]


def test_the_picture_tells_given_hidden_new_and_settled_apart() -> None:
    row = [Piece("The", True, True, 1), Piece("", False, False, 0), Piece(" sure", True, False, 0.95),
           Piece(" guess", True, False, 0.1), Piece(" old", True, False, 0.1)]  # fmt: skip
    found = styles(Draft(2, 4, [0.5], [row], [2], False, []), [[0, -1, 0, 1, draw.SETTLED]])
    assert [style for _, style in found] == ["bold", "dim", "bold green", "red", ""]
    assert set(found[1][0]) == {" ", "░"}


def test_a_new_token_fades_and_what_was_known_from_the_start_does_not() -> None:
    ages = draw._Ages()
    known, hidden = Piece("a", True, False, 0.5), Piece("", False, False, 0)

    def after(*pieces: Piece) -> list[int]:
        return ages.after(Draft(0, 4, [0.5], [list(pieces)], [0], False, []))[0]

    assert after(known, hidden) == [draw.SETTLED, -1]
    assert [after(known, known)[1] for _ in range(draw.SETTLED + 2)] == [0, 1, 2, 3, 3]
    assert after(known) == [draw.SETTLED]
    assert after(hidden, known) == [-1, draw.SETTLED]


def test_a_terminal_gets_a_film(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "PAUSE", 0)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=10)
    drafts = list(library.stream(30, seed=0))
    assert list(draw.film(drafts, console)) == drafts
    assert len(draw.picture(drafts[-1], draw._Ages().after(drafts[-1]), rows=2).plain.splitlines()) == 2 + 1 + 1
    drawn = screen.getvalue()
    assert "░" in drawn and "and 23 more" in drawn and "step 4/4" in drawn


# -- evaluate and demo ------------------------------------------------------------------------------------------------


def test_evaluate_prints_the_datas_values_beside(run: Run, library: Library) -> None:
    _, out, _ = run("evaluate", "mdlm", "--data", "texts.txt", "--judge", "ar")
    assert library.calls[-1][1] == (Path("mdlm"), (Path("texts.txt"),), Path("ar"))
    line = next(line for line in out if line.startswith("judge_nll"))
    assert line.index("2.50") < line.index("2.00")
    assert library.asked("evaluate_run")["mauve"] is False
    library.calls.clear()
    assert run("evaluate", "mdlm", "--data", "texts.txt", "--judge", "nowhere")[0] == 2
    assert not library.calls


def test_mauve_is_asked_for_by_name_and_refused_early(
    run: Run, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = ("evaluate", "mdlm", "--data", "texts.txt", "--judge", "ar", "--mauve")
    monkeypatch.setattr("mezzotint.checks.find_spec", lambda package: None)
    status, _, err = run(*call)
    assert (status, library.calls) == (2, []) and 'pip install "mezzotint[mauve]"' in err[-1]
    monkeypatch.setattr(mezzotint, "check_mauve", lambda config, judge: None)
    assert run(*call)[0] == 0 and library.asked("evaluate_run")["mauve"] is True


def test_the_demo_tells_its_story(run: Run, library: Library) -> None:
    library.progress = [progress(100, 2.5)]
    Path("demo-run").mkdir()
    status, out, err = run("demo", "--minutes", "0.5", "--out", "demo-run", "--seed", "3")
    assert status == 0
    assert library.asked("train") == {"out": Path("demo-run"), "minutes": 0.5, "batch_size": 32, "seed": 3}
    assert [name for name, _, _ in library.calls] == ["train", "load", "stream", "stream", "evaluate_run", "showcase"]
    assert "for 0.5 minutes" in err[0] and "held-out bound 2.500" in err[1]
    assert "░" in "\n".join(err) and demo_page.outlook(0.5) in err
    assert any(line.startswith("judge_nll") for line in out)
    assert err[-2] == "report: demo-run/report.html"
    assert err[-1].startswith("next:   mezzotint infill demo-run")


def test_a_stopped_demo_goes_no_further(run: Run, library: Library) -> None:
    library.progress = [progress(4, stopped="stopped")]
    assert run("demo", "--out", "o")[0] == 130
    assert [name for name, _, _ in library.calls] == ["train"]


def test_the_outlook_names_the_next_measured_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_page, "ACCEPTED", ((1, 0.5), (5, 0.75), (20, 0.9)))
    assert "5 minutes" in demo_page.outlook(1) and "75%" in demo_page.outlook(1)
    assert "20 minutes" in demo_page.outlook(5)
    assert demo_page.outlook(60) == demo_page.outlook(60.5)
