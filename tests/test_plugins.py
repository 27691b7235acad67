"""Systems of other packages: found by their entry points, used like ours, and left out with a sentence where broken."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mezzotint
from mezzotint import systems
from mezzotint.checks import check_run
from mezzotint.cli.main import main
from mezzotint.errors import RunError, UsageError

ENTRY = """
from mezzotint import Entry

ENTRY = Entry("{package}.spec:CARD", "{package}.spec:BagSpec", "{package}.system:Bag", "{package}.recipe:recipe")
"""

SPEC = """
from dataclasses import dataclass

from mezzotint.spec import Spec
from mezzotint.types import Card, Ending

CARD = Card("{name}", "Bag of words", "nobody, 2024", frozenset())


@dataclass(frozen=True, kw_only=True)
class BagSpec(Spec):
    vocab: int
    canvas: int
    ending: Ending
    prior: float = 1.0
"""

SYSTEM = """
import torch

from mezzotint.objective.length import LengthCost
from mezzotint.rng import Rng
from mezzotint.types import Frame, Loss
from {package}.spec import CARD


class Words(torch.nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(vocab))


class Bag:
    card = CARD

    def __init__(self, spec, lengths):
        self.spec, self.length, self.words = spec, LengthCost(lengths), Words(spec.vocab)
        self.players = {{"model": self.words}}

    def initialise(self, seed):
        torch.nn.init.zeros_(self.words.logits)

    def _nll(self, batch):
        nll = -self.words.logits.log_softmax(0)[batch.ids]
        return torch.where(batch.free, nll, 0.0).sum(1) + self.length(batch.real)

    def losses(self, batch, rng):
        total = self._nll(batch).sum()
        yield Loss(total, {{"bag": total.detach()}}, self.length.symbols(batch.free))

    def nll(self, batch, rng):
        return self._nll(batch).double()

    def sample(self, request):
        canvas = request.canvas
        u = Rng(request.seed, canvas.index.tolist()).at("bag").uniform(canvas.ids.shape[1])
        p = self.words.logits.double().softmax(0).index_fill(0, torch.tensor(request.forbidden), 0.0)
        drawn = torch.searchsorted((p / p.sum()).cumsum(0), u).clamp(max=self.spec.vocab - 1)
        ids = torch.where(canvas.given, canvas.ids, drawn)
        ones = torch.ones(len(ids), dtype=torch.int64)
        yield Frame(1, 1, 0.0 * ones, ids, canvas.real, canvas.real.float(), ones, True)
"""

RECIPE = """
from mezzotint.spec.recipe import Recipe, training
from mezzotint.types import Ending
from {package}.spec import BagSpec


def recipe(size, corpus):
    return Recipe(BagSpec(vocab=corpus.vocab, canvas=corpus.canvas, ending=Ending.LENGTH), training(size))
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package that offers the system `name` where Python finds it, as an installer would."""
    before = set(sys.modules)

    def put(name: str, package: str, *, value: str = "", **files: str) -> None:
        site = tmp_path / "site"
        texts = {"__init__": ENTRY, "spec": SPEC, "system": SYSTEM, "recipe": RECIPE} | files
        (site / package).mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            (site / package / f"{file}.py").write_text(text.format(package=package, name=name))
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        points = f"{name} = {value or package + ':ENTRY'}\n"
        listed = info / "entry_points.txt"
        listed.write_text((listed.read_text() if listed.exists() else "[mezzotint.systems]\n") + points)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()

    yield put
    for module in set(sys.modules) - before:
        if module.split(".")[0].startswith("bag"):
            del sys.modules[module]


def names() -> list[str]:
    return [card.name for card in mezzotint.cards()]


def test_ours_are_there_with_nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "entry_points", lambda **_: [])
    assert names() == sorted(systems.CATALOGUE) == ["ar", "mdlm"] and mezzotint.plugin_faults() == []


def test_a_system_of_another_package_stands_with_ours(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("bag", "bagpack")
    assert names() == ["ar", "bag", "mdlm"] and mezzotint.plugin_faults() == []
    assert systems.entry("bag").system == "bagpack.system:Bag"
    assert main(["systems"]) == 0
    assert "Bag of words" in capsys.readouterr().out


def test_it_trains_writes_and_is_scored_like_ours(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    install("bag", "bagpack")
    (tmp_path / "texts.txt").write_text("\n".join("a b b c"[: 1 + 2 * (i % 4)] + " d" for i in range(60)))
    how = {"max_steps": 60, "settings": {"lr": "0.3", "prior": "2"}, "tokenizer": "word"}
    how["valid"] = [tmp_path / "texts.txt"]
    list(mezzotint.train("bag", [tmp_path / "texts.txt"], out=tmp_path / "run", **how))
    run = mezzotint.load(tmp_path / "run")
    assert run.spec.prior == 2 and check_run(tmp_path / "run")["system"] == "bag"
    odds = run.system.players["model"].logits.softmax(0).tolist()
    counted = dict(zip(run.tokenizer.surfaces(range(run.tokenizer.size)), odds, strict=True))
    assert counted[" b"] > counted[" a"] > counted[" c"], "five quarters a text, one, and a quarter"
    assert set("".join(sample.text for sample in run.generate(20))) <= set("abcd ")
    scores = {score.name for _, score in mezzotint.evaluate_run(tmp_path / "run", [tmp_path / "texts.txt"], n=5)}
    assert "bound_nats_per_token" in scores
    run.save_pretrained(tmp_path / "kept")
    assert "Bag of words (nobody, 2024)" in (tmp_path / "kept" / "README.md").read_text()
    monkeypatch.setattr(systems, "entry_points", lambda **_: [])
    with pytest.raises(RunError, match="is a run of 'bag': unknown system 'bag'"):
        mezzotint.load(tmp_path / "run")


def test_one_of_our_names_stays_ours(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    install("mdlm", "bagpack")
    assert names() == ["ar", "mdlm"] and systems.entry("mdlm") is systems.CATALOGUE["mdlm"]
    said = "the system 'mdlm' of bagpack is left out: one of Mezzotint's own has that name, so it needs another"
    assert mezzotint.plugin_faults() == [said]
    assert main(["systems"]) == 0
    assert said in capsys.readouterr().err


def test_of_two_of_one_name_the_first_is_taken(install: Install) -> None:
    install("bag", "bagpack")
    install("bag", "bagother")
    assert systems.entry("bag").card == "bagother.spec:CARD"
    said = "the system 'bag' of bagpack is left out: another package offers one of that name; uninstall one of them"
    assert mezzotint.plugin_faults() == [said]


BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "import": ({"__init__": "import nothing_like_it"}, "cannot be loaded (ModuleNotFoundError: No module named"),
    "raises": ({"__init__": "raise ValueError('one\\ntwo')"}, "cannot be loaded (ValueError: one two)"),
    "nothing": ({"__init__": ""}, "cannot be loaded (AttributeError: "),
    "no entry": ({"__init__": "ENTRY = 7"}, "cannot be loaded: bagbad:ENTRY is no mezzotint.Entry"),
    "no card": ({"spec": "CARD = 7"}, "cannot be loaded: bagbad.spec:CARD is no card of the name 'bad'"),
    "another card": (
        {"spec": SPEC.replace("{name}", "worse")},
        "cannot be loaded: bagbad.spec:CARD is no card of the name 'bad'",
    ),
    "card missing": ({"spec": ""}, "cannot be loaded (AttributeError: module 'bagbad.spec' has no attribute 'CARD')"),
    "card unspelt": (
        {"__init__": "from mezzotint import Entry\nENTRY = Entry('a', 'b', 'c', 'd')"},
        "cannot be loaded (ValueError: ",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_one_is_named_and_keeps_nobody_from_the_others(install: Install, case: str) -> None:
    files, said = BROKEN[case]
    install("bag", "bagpack")
    install("bad", "bagbad", **files)
    assert names() == ["ar", "bag", "mdlm"]
    (fault,) = mezzotint.plugin_faults()
    assert fault.startswith(f"the system 'bad' of bagbad {said}") and "\n" not in fault
    with pytest.raises(UsageError) as caught:
        mezzotint.check_settings("bad")
    assert str(caught.value) == fault
    with pytest.raises(UsageError, match=r"unknown system 'bat'; did you mean 'ba[dg]'"):
        systems.entry("bat")


def test_listing_loads_no_torch_and_our_own_load_no_plugin(install: Install, tmp_path: Path) -> None:
    install("bag", "bagpack")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import mezzotint; from mezzotint.systems import entry\n"
        "entry('mdlm'); print('bagpack' in sys.modules)\n"
        "print([card.name for card in mezzotint.cards()], {'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "site")], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["False", "['ar', 'bag', 'mdlm'] set()"], done.stderr
