"""The package in examples/plugin: found by the entry point that its pyproject names, and exact by enumeration."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path

import pytest
import torch

import mezzotint
from mezzotint.cli.main import main
from mezzotint.data.lengths import Lengths
from mezzotint.rng import Rng
from mezzotint.types import Canvas, Ending, Request
from tests.oracle import blank, chi_square_p

PLUGIN = Path(__file__).parents[1] / "examples/plugin"


def described(site: Path) -> None:
    """The folder of facts that an installer would write beside a package, from its pyproject."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, points),) = project["entry-points"].items()
    listed = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[{group}]\n{listed}")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package where Python finds it, and its folder of facts; nothing is fetched or built."""
    described(tmp_path / "site")
    for folder in (PLUGIN, tmp_path / "site"):
        monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield tmp_path / "site"
    for module in [name for name in sys.modules if name.startswith("mezzotint_markov")]:
        del sys.modules[module]


def test_the_command_line_trains_it_and_writes_with_it(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "texts.txt").write_text("a b a b\nb a b\na b\n" * 30)
    run = str(tmp_path / "run")
    steps = ["--max-steps", "60", "--batch-size", "16", "--set", "lr=0.1", "--set", "validations=1"]
    assert main(["train", "markov", "--data", str(tmp_path / "texts.txt"), "--out", run, *steps]) == 0
    assert main(["systems"]) == 0 and "Markov chain" in capsys.readouterr().out
    assert main(["sample", run, "-n", "20"]) == 0
    assert not {"a a", "b b"} & {text[i : i + 3] for text in capsys.readouterr().out.splitlines() for i in (0, 2, 4)}
    assert main(["infill", run, "a [1-3] b"]) == 0
    assert capsys.readouterr().out.startswith("a b a b"), "only an even number of words fits between a and b"
    assert main(["evaluate", run, "--data", str(tmp_path / "texts.txt")]) == 0
    assert mezzotint.check_run(run)["system"] == "markov" and mezzotint.load(run).card.exact


def chain(lengths: Lengths | None = None):
    from mezzotint_markov import MarkovSpec
    from mezzotint_markov.chain import Markov

    system = Markov(MarkovSpec(vocab=3, canvas=4, ending=Ending.LENGTH, width=5), lengths)
    system.initialise(0)
    with torch.no_grad():
        system.net.before.mul_(3)
    return system


def law(system, length: int) -> dict[tuple[int, ...], float]:
    """Of all texts of a length, by the rows of the table."""
    p = system.net().double().exp().tolist()
    return {
        text: p[3][text[0]] * torch.tensor([p[a][b] for a, b in pairwise(text)]).prod().item()
        for text in product(range(3), repeat=length)
    }


def gapped(rows: int) -> Canvas:
    """? 1 ? 2 with nothing else known."""
    canvas = blank(rows, 4)
    canvas.ids[:, 1], canvas.ids[:, 3] = 1, 2
    canvas.given[:, 1] = canvas.given[:, 3] = True
    return canvas


def test_likelihoods_are_those_of_the_enumerated_chain(installed: Path) -> None:
    lengths = Lengths((1, 2, 3, 4))
    system, rng = chain(lengths), Rng(0, [0])
    whole = law(system, 4)
    text = Canvas(torch.tensor([[0, 1, 2, 2]]), *(getattr(blank(1, 4), name) for name in ("given", "real", "index")))
    nats = lengths.log_prob(4) + torch.tensor(whole[0, 1, 2, 2]).log().item()
    assert float(system.nll(text, rng).detach()) == pytest.approx(-nats, abs=1e-5)
    fits = sum(p for t, p in whole.items() if t[1] == 1 and t[3] == 2)
    assert float(system.evidence(gapped(1), rng).detach()) == pytest.approx(
        -lengths.log_prob(4) - torch.tensor(fits).log().item(), abs=1e-5
    )
    gaps = gapped(1)
    gaps.ids[:] = text.ids
    expected = -lengths.log_prob(4) - torch.tensor(whole[0, 1, 2, 2] / fits).log().item()
    assert float(system.nll(gaps, rng).detach()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("forbidden", [(), (0,)], ids=["any", "not 0"])
def test_gaps_are_filled_by_bayes_rule(installed: Path, forbidden: tuple[int, ...]) -> None:
    system = chain()
    fits = {t: p for t, p in law(system, 4).items() if t[1] == 1 and t[3] == 2 and not {t[0], t[2]} & set(forbidden)}
    *_, last = system.sample(Request(gapped(4000), seed=1, forbidden=forbidden))
    written = Counter(map(tuple, last.ids.tolist()))
    assert chi_square_p(dict(written), {t: p / sum(fits.values()) for t, p in fits.items()}) > 1e-3


def test_a_text_does_not_hang_on_its_batch(installed: Path) -> None:
    canvas = blank(3, 4)
    canvas.real[1, 2:] = False
    *_, together = chain().sample(Request(canvas, seed=2))
    short = Canvas(canvas.ids[1:2, :2], canvas.given[1:2, :2], canvas.real[1:2, :2], canvas.index[1:2])
    *_, alone = chain().sample(Request(short, seed=2))
    assert torch.equal(together.ids[1, :2], alone.ids[0])


def test_listing_it_loads_no_torch(installed: Path) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import mezzotint\n"
        "print('markov' in [card.name for card in mezzotint.cards()], {'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(PLUGIN), str(installed)], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "set()"], done.stderr
