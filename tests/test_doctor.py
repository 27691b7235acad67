"""The examination of a run: nothing is wrong with ours, and each check notices a system that breaks what it checks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import mezzotint
from mezzotint import CapabilityError, Run, UsageError, Verdict
from mezzotint.cli.main import main
from mezzotint.doctor import examination, speed
from mezzotint.doctor.checked import CheckedRun
from mezzotint.doctor.examination import CHECKS, examine, run_checks
from tests.trained import few, translator

Spoil = Callable[[Run], None]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("patients")
    made = few(root, [("mdlm", "mdlm", {}), ("ar", "ar", {}), ("sed", "sed", {}), ("fill", "mdlm", {"ending": "fill"})])
    return made | {"de-en": translator(root)}


def checked(
    run: Run, spoil: Spoil = lambda run: None, texts: tuple[str, ...] = ("The old river", "A pub near by")
) -> CheckedRun:
    def load() -> Run:
        loaded = mezzotint.load(run.folder)
        spoil(loaded)
        return loaded

    return CheckedRun(load, texts)


def verdict(who: CheckedRun, check: str) -> Verdict:
    (finding,) = run_checks(who, [check])
    return finding.verdict


@pytest.mark.parametrize("name", ["mdlm", "ar", "sed", "fill", "de-en"])
def test_nothing_is_wrong_with_a_run_of_ours(runs, name, monkeypatch):
    monkeypatch.setattr(speed, "gflops", lambda device: 1e-3)  # so that a network of one layer is not too slow
    found = {finding.check: finding.verdict for finding in run_checks(checked(runs[name]))}
    assert Verdict.BAD not in found.values() and list(found) == list(CHECKS)
    skipped = {check for check, one in found.items() if one is Verdict.SKIPPED}
    assert skipped == {"fill": {"padding"}, "de-en": {"law", "throughput"}, "sed": {"law"}}.get(name, set())


# -- what each check has to notice -------------------------------------------------------------------------------------


def reads_padding(run: Run) -> None:
    nll = run.system.nll
    run.system.nll = lambda batch, rng: nll(batch, rng) + 1e-6 * (batch.ids * ~batch.real).sum(1)


def counts_positions(run: Run) -> None:
    nll = run.system.nll
    run.system.nll = lambda batch, rng: nll(batch, rng) + 1e-6 * batch.ids.shape[1]


def looks_at_its_neighbours(run: Run) -> None:
    nll = run.system.nll
    run.system.nll = lambda batch, rng: nll(batch, rng) + 1e-6 * len(batch.ids)


def asking(run: Run, change: Callable[[Any], Any]) -> None:
    sample = run.system.sample
    run.system.sample = lambda request: sample(change(request))


def draws_by_its_place(run: Run) -> None:
    by_place = lambda r: replace(r, canvas=replace(r.canvas, index=torch.arange(len(r.canvas.ids))))  # noqa: E731
    asking(run, by_place)


def draws_from_the_world(run: Run) -> None:
    asking(run, lambda request: replace(request, seed=int(torch.randint(10**6, ()))))


def forgets_the_seed(run: Run) -> None:
    task = run.task_builder.tasks
    run.task_builder.tasks = lambda *words: task(*words[:-1], {**words[-1], "seed": 7})


def has_other_weights_than_its_file(run: Run) -> None:
    with torch.no_grad():
        next(iter(run.system.players["model"].parameters())).add_(0.1)


def uses_what_is_not_saved(run: Run) -> None:
    asking(run, lambda request: replace(request, temperature=0.0))


def loses_a_letter(run: Run) -> None:
    decode = run.tokenizer.decode
    run.tokenizer.decode = lambda ids, *how: decode(ids, *how).replace("v", "")


def fails(run: Run) -> None:
    def nll(batch, rng):
        raise CapabilityError("it has no likelihood")

    run.system.nll = nll


@pytest.mark.parametrize(
    ("check", "spoil"),
    [
        ("padding", reads_padding),
        ("padding", counts_positions),
        ("batch", looks_at_its_neighbours),
        ("batch", draws_by_its_place),
        ("seed", draws_from_the_world),
        ("seed", forgets_the_seed),
        ("save and load", has_other_weights_than_its_file),
        ("save and load", uses_what_is_not_saved),
        ("tokenizer", loses_a_letter),
        ("law", uses_what_is_not_saved),
        ("padding", fails),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_broken_system_is_noticed(runs, check, spoil):
    assert verdict(checked(runs["mdlm"]), check) is Verdict.OK
    assert verdict(checked(runs["mdlm"], spoil), check) is Verdict.BAD


def test_the_law_of_a_writer_from_left_to_right_is_checked_too(runs):
    assert verdict(checked(runs["ar"], lambda run: asking(run, lambda r: replace(r, top_p=0.1))), "law") is Verdict.BAD


def test_a_training_that_remembers_more_than_its_checkpoint_is_noticed(runs):
    sound = checked(runs["mdlm"])

    def make_trainer(run):
        trainer = sound.trainer()
        losses, calls = trainer.system.losses, [0]

        def odd(batch, rng):
            calls[0] += 1
            yield from (replace(loss, total=loss.total * calls[0]) for loss in losses(batch, rng))

        trainer.system.losses = odd
        return trainer

    assert verdict(sound, "resume") is Verdict.OK
    assert verdict(replace(checked(runs["mdlm"]), make_trainer=make_trainer), "resume") is Verdict.BAD


def test_time_that_is_not_the_networks_is_noticed(runs, monkeypatch):
    who, clock = checked(runs["mdlm"]), [0.0]
    monkeypatch.setattr(speed, "gflops", lambda device: 1.0)
    monkeypatch.setattr(speed, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    with speed.FlopCounter() as counter:
        who.run.generate(speed.TEXTS, steps=speed.STEPS)
    generate, seconds = who.run.generate, [1.1 * counter.gflop]

    def takes(*words, **how):
        clock[0] += seconds[0]
        return generate(*words, **how)

    who.run.generate = takes
    assert verdict(who, "throughput") is Verdict.OK
    seconds[0] = 1.1 * counter.gflop / speed.MIN_SHARE
    assert verdict(who, "throughput") is Verdict.BAD


def test_products_of_matrices_are_counted():
    with speed.FlopCounter() as counter:
        torch.nn.functional.linear(torch.ones(50, 20), torch.ones(30, 20)) + 1
        torch.bmm(torch.ones(2, 5, 7), torch.ones(2, 7, 3))
    assert counter.gflop == pytest.approx(2 * (50 * 20 * 30 + 2 * 5 * 7 * 3) / 1e9)
    assert speed.gflops() > 0.1


def test_texts_with_unknown_words_do_not_count_against_the_tokenizer(runs):
    texts = ("The old pub is cold", "Zyx is warm")
    (finding,) = run_checks(checked(runs["mdlm"], texts=texts), ["tokenizer"])
    assert finding.verdict is Verdict.OK and "1 more have words" in finding.sentence
    assert verdict(checked(runs["mdlm"], texts=("Zyx",)), "tokenizer") is Verdict.BAD
    assert verdict(checked(runs["mdlm"], texts=()), "tokenizer") is Verdict.SKIPPED


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_says_each_finding_and_its_status_whether_all_is_well(runs, capsys, monkeypatch):
    monkeypatch.setattr(examination, "CHECKS", {"padding": CHECKS["padding"], "seed": CHECKS["seed"]})
    assert main(["doctor", str(runs["mdlm"].folder)]) == 0
    out, said = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["ok", "ok"] and "nothing is wrong" in said
    monkeypatch.setattr(examination, "CHECKS", {"seed": lambda who: (Verdict.BAD, "it forgets")})
    assert main(["doctor", str(runs["mdlm"].folder), "--json"]) == 1
    out, said = capsys.readouterr()
    assert json.loads(out) == {"check": "seed", "verdict": "not ok", "sentence": "it forgets"}
    assert "1 check failed" in said
    assert main(["doctor", "nowhere/at-all"]) == 2


def test_a_system_that_needs_a_run_is_no_patient_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="starts from a trained run"):
        list(examine("didi-instruct"))


@pytest.mark.parametrize("system", ["ar", "rnn-vae"])  # the second has no heads that could be set
def test_a_system_is_examined_by_its_name(tmp_path, monkeypatch, runs, system):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path))
    monkeypatch.setattr(examination, "BISTRO", str(runs["mdlm"].folder.parent / "texts.txt"))
    monkeypatch.setattr(examination, "FRESH_STEPS", 2)
    assert [f.verdict for f in examine(system, checks=["padding", "resume"])] == [Verdict.OK, Verdict.OK]
