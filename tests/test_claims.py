"""Claims: what passes and what does not, and figures that are those of the run in question."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from math import nan

import pytest

import mezzotint
from mezzotint import UsageError
from mezzotint.assess.scores import bound
from mezzotint.claims import measure, table
from mezzotint.claims.measure import ClaimRunner
from mezzotint.claims.table import CLAIMS, RUNS, Bound, Calls, Claim, Faster, Passes, Resumed, Training
from mezzotint.cli.main import main
from mezzotint.held_out import Texts
from mezzotint.spec.base import Size
from tests.trained import SETTINGS, WORDS

TOY = {key: value for key, value in SETTINGS.items() if key != "batch"}
TRAINED = {"mdlm": Training("mdlm", steps=6, batch=8, settings=TOY), "ar": Training("ar", steps=2, settings=TOY)}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop")
    texts = root / "texts.txt"
    texts.write_text("".join(" ".join(WORDS[(i * k + k) % 15] for k in range(1, 4 + i % 9)) + "\n" for i in range(200)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        patch.setattr(measure, "BISTRO", str(texts))
        patch.setattr(measure, "RUNS", TRAINED)
        patch.setattr(table, "RUNS", TRAINED)
        yield ClaimRunner(root / "runs")


@pytest.mark.parametrize(
    ("passes", "seen", "holds"),
    [
        (Passes.NEAR, 0.91, True), (Passes.NEAR, 1.09, True), (Passes.NEAR, 0.89, False), (Passes.NEAR, 1.11, False),
        (Passes.ABOVE, 0.91, True), (Passes.ABOVE, 5.0, True), (Passes.ABOVE, 0.89, False), (Passes.ABOVE, nan, False),
        (Passes.BELOW, 1.09, True), (Passes.BELOW, -5.0, True), (Passes.BELOW, 1.11, False), (Passes.BELOW, nan, False),
        (Passes.NEAR, nan, False),
    ],
)  # fmt: skip
def test_what_passes(passes, seen, holds):
    assert Claim("x", "", Bound("mdlm"), 1.0, 0.1, passes).holds(seen) is holds


def test_the_table_is_whole():
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert set(claim.runs) <= RUNS.keys() and claim.says.endswith(".") and claim.tolerance >= 0
        assert claim.commands[-1] == f"mezzotint reproduce {claim.name}"
        json.dumps(claim.to_json(), allow_nan=False)
    for name, how in RUNS.items():
        assert (how.steps is None) != (how.minutes is None)
        assert not how.teacher or how.teacher in RUNS
        assert any(name in claim.runs for claim in CLAIMS), f"no claim needs {name}"
    tiny = {name for claim in CLAIMS if claim.size is Size.TINY for name in claim.runs}
    assert all(RUNS[name].steps for name in tiny), "a tiny claim does not hang on a clock"


def test_the_runs_can_be_made_by_the_commands_that_are_shown():
    from mezzotint.cli.flags import Distill, Train
    from mezzotint.cli.parse import parse

    for name, how in RUNS.items():
        words = how.command(name).split()[1:]
        given = parse(Distill if how.teacher else Train, words[0], words[1:])
        assert (given.max_steps, given.minutes, given.batch_size) == (how.steps, how.minutes, how.batch)
        assert dict(given.set) == how.settings


def test_claims_are_chosen_by_name_and_size():
    assert [claim.name for claim in table.check_claims(["ar-bound"])] == ["ar-bound"]
    assert {claim.size for claim in table.check_claims(size="tiny")} == {Size.TINY}
    with pytest.raises(UsageError, match="did you mean 'ar-bound'"):
        table.check_claims(["ar-bond"])
    with pytest.raises(UsageError, match="of size 'small'"):
        table.check_claims(["ar-bound"], "small")


def test_figures_are_those_of_the_run(shop):
    run = shop.run("mdlm")
    expected = next(score.value for score in bound(run, Texts(run, [measure.BISTRO])))
    assert shop.figure(Bound("mdlm")) == expected
    nfe = [sample.nfe for sample in run.generate(measure.SAMPLES, steps=3)]
    assert shop.figure(Calls("mdlm", 3)) == sum(nfe) / len(nfe) <= 3
    assert shop.figure(Faster("mdlm", 2)) > 0
    assert shop.run("mdlm") is run


def test_a_continued_run_is_equal_and_another_is_not(shop, monkeypatch):
    assert shop.figure(Resumed("mdlm")) == 1.0
    monkeypatch.setattr(measure, "resume", lambda out: ())
    other = ClaimRunner(shop.folder.with_name("elsewhere"))
    assert other.figure(Resumed("mdlm")) < 1.0


def test_runs_are_found_again_in_a_folder_that_is_kept(shop, monkeypatch):
    shop.run("ar")
    monkeypatch.setattr(measure, "train", None)
    assert ClaimRunner(shop.folder).run("ar").card.name == "ar"


def test_the_command_passes_and_fails(shop, monkeypatch, capsys):
    seen = shop.figure(Bound("mdlm"))
    good = Claim("good", "It is so.", Bound("mdlm"), seen, 0.01)
    monkeypatch.setattr(table, "CLAIMS", (good, replace(good, name="bad", expected=seen + 1)))
    words = ["reproduce", "--keep", str(shop.folder)]
    assert main([*words, "good"]) == 0
    assert capsys.readouterr()[0].startswith("pass  good: ")
    assert main([*words, "--all", "--json"]) == 1
    out, said = capsys.readouterr()
    assert [json.loads(line)["holds"] for line in out.splitlines()] == [True, False]
    assert "1 of 2 claims hold" in said
    assert main(["reproduce"]) == main(["reproduce", "good", "--all"]) == main(["reproduce", "god"]) == 2
    assert main(["reproduce", "--list"]) == 0
    assert "mezzotint train mdlm" in capsys.readouterr()[0]


def test_the_list_needs_no_torch():
    look = "import sys, mezzotint; mezzotint.check_claims(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_a_claim_is_what_the_library_exports():
    assert mezzotint.Claim is Claim and mezzotint.check_claims is table.check_claims
