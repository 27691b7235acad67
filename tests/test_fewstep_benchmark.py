"""The benchmarks of few steps: nothing twice, students told apart by how they were taught, chains counted right."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import mezzotint
from benchmarks import data, distil_ablation, fewstep, fewstep_speed, judge, rows
from benchmarks.protein import clusters_share, composition_distance, length_distance

WORDS = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]
TINY = {"dim": "16", "depth": "1", "heads": "2", "batch": "8", "validations": "1"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """An empty folder with a corpus, its judge and a teacher."""
    root = tmp_path_factory.mktemp("fewstep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        patch.chdir(root)
        patch.setattr("mezzotint.course.report", lambda out: None)
        lines = [" ".join(WORDS[(i * k + k) % 12] for k in range(1, 4 + i % 5)) for i in range(60)]
        Path("texts.txt").write_text("\n".join(lines) + "\n")
        for name, system in (("judge", "ar"), ("runs/e2e-mdlm", "mdlm"), ("runs/e2e-ar", "ar")):
            list(mezzotint.train(system, ["texts.txt"], out=name, max_steps=2, settings=TINY))
        patch.setattr(data, "corpus_files", lambda name: data.Data("texts.txt", None, "texts.txt"))
        patch.setitem(judge.RECIPES, "e2e", SimpleNamespace(kept=Path("judge")))
        yield root


def call(patch: pytest.MonkeyPatch, module: SimpleNamespace, *words: str) -> list[rows.Row]:
    """The rows after a call of a benchmark."""
    n = [] if module is fewstep_speed else ["--n", "6"]
    patch.setattr(sys, "argv", [module.__name__, "--name", "e2e", *n, "--out", "results", *words])
    module.main()
    return rows.read(Path("results/e2e-fewstep.json"))


def told(found: list[rows.Row], metric: str = "judge_nll") -> set[tuple[str, str, int | None]]:
    return {(row.system, row.variant, row.steps) for row in found if row.metric == metric}


def test_arms_go_on_where_they_were_stopped_and_are_told_apart(workshop, monkeypatch):
    how = ["--train-minutes", "0.001", "--seeds", "0", "--set", "batch=4", "validations=1", "critic_blocks=1"]
    asked = [*how, "--arms", "full", "uncoupled", "consistency", "--steps", "2", "--guided", "2"]
    found = call(monkeypatch, distil_ablation, *asked)
    assert told(found) == {
        ("mdlm", "batch=32", 2),
        ("didi-instruct", "batch=4,critic_blocks=1,lr=3e-05", 2),
        ("didi-instruct", "batch=4,critic_blocks=1,guide=reward,lr=3e-05", 2),
        ("didi-instruct", "batch=4,coupled=False,critic_blocks=1,lr=3e-05", 2),
        ("didi-instruct", "batch=4,coupled=False,critic_blocks=1,guide=reward,lr=3e-05", 2),
        ("didi-instruct", "batch=4,critic_blocks=1,lr=3e-05,objective=consistency", 2),
    }
    assert {row.train_minutes for row in found if row.system == "didi-instruct"} == {0.001}
    monkeypatch.setattr(fewstep.Table, "_record", lambda *_: pytest.fail("measured again"))
    assert call(monkeypatch, distil_ablation, *asked) == found


def test_every_kind_is_measured_raw_and_at_the_teachers_entropy(workshop, monkeypatch):
    settings = {"critic_blocks": "1", "validations": "1", "batch": "4"}
    list(mezzotint.distill_run("runs/e2e-mdlm", out="fast", max_steps=2, settings=settings))
    asked = ["--students", "fast", "--ar", "runs/e2e-ar", "--steps", "2", "--teacher", "runs/e2e-mdlm"]
    found = call(monkeypatch, fewstep, *asked)
    fast = "batch=4,critic_blocks=1,lr=3e-05,taught_steps=2"
    nuclei = {("ar", "default" if p == 1 else f"top_p={p}", None) for p in fewstep.NUCLEI}
    of_student = {
        ("didi-instruct", variant, 2)
        for variant in (fast, "batch=4,critic_blocks=1,guide=reward,lr=3e-05,taught_steps=2")
    }
    assert told(found) >= {("data", "default", None), ("mdlm", "batch=32", 2), *nuclei, *of_student}
    guided = {row.variant: row.nfe for row in found if row.metric == "judge_nll" and row.system == "didi-instruct"}
    assert guided["batch=4,critic_blocks=1,guide=reward,lr=3e-05,taught_steps=2"] > guided[fast]
    found = call(monkeypatch, fewstep, *asked, "--matched", "--temperatures", "0.8", "1.2")
    matched = told(found, "judge_nll_matched")
    assert matched >= {("mdlm", "batch=32", 2), ("ar", "default", None), *of_student}
    found = call(monkeypatch, fewstep_speed, "--student", "fast", "--steps", "2", "--batch", "8", "--rounds", "2")
    speeds = {row.variant: row for row in found if row.metric == "speed_up"}
    against = {f"against={side},{fast}" for side in ("ar", "mdlm_1024")}
    assert speeds.keys() == against | {each.replace("_blocks=1", "_blocks=1,guide=reward") for each in against}
    assert all(row.batch == 8 and row.value > 0 for row in speeds.values())


def test_chains_are_set_beside_other_held_out_ones(workshop, monkeypatch):
    monkeypatch.setitem(judge.RECIPES, "protein-short", SimpleNamespace(kept=Path("judge")))
    asked = ["--name", "protein-short", "--teacher", "runs/e2e-mdlm", "--steps", "2", "--only", "teacher"]
    monkeypatch.setattr(sys, "argv", ["fewstep", *asked, "--n", "6", "--out", "results"])
    fewstep.main()
    found = {(row.system, row.metric): row.value for row in rows.read(Path("results/protein-short-fewstep.json"))}
    for system in ("data", "mdlm"):
        assert found[system, "composition_distance"] > 0 and found[system, "clusters_share"] > 0
        assert (system, "length_distance") in found


def test_the_ratio_of_rounds_is_that_of_neighbours():
    assert fewstep_speed.median_ratio([2.0, 40.0, 6.0], [1.0, 10.0, 2.0])[0] == 3.0


def test_scores_of_chains():
    chains, others = [list("AAB"), list("AB")], [list("ABB"), list("AABB")]
    assert composition_distance(chains, others).value == pytest.approx(3 / 5 - 3 / 7)
    assert composition_distance(chains, chains).value == 0
    assert length_distance(chains, others).value == pytest.approx(1, abs=0.01)
    one, other = list("ACDEFGHIKL"), list("MNPQRSTVWY")
    assert clusters_share([one, other, one[:9], other, [*one[:5], *other[:5]]]).value == pytest.approx(2 / 5)
    assert clusters_share([one, other]).value == 1
    assert clusters_share([one[:5], [*one, *other]]).value == 1 / 2, "a part belongs to its whole"
