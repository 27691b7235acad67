"""didi-instruct as a run: what it starts from, that it goes on to the bit, what it writes, what it refuses."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import mezzotint
from mezzotint.cli import main as command
from mezzotint.distill.alarm import faults
from mezzotint.distill.critic import MaskedLogits
from mezzotint.errors import CapabilityError, RunError, UsageError
from mezzotint.plans import student_recipe
from mezzotint.rng import Rng
from mezzotint.training.build import Start, build_trainer
from mezzotint.training.checkpoint import read_weights
from mezzotint.training.folder import CHECKPOINTS, steps_saved
from mezzotint.types import Canvas, HasFrozen
from tests import checkpoints
from tests.test_training import same

TINY = {"dim": "16", "depth": "2", "heads": "2", "batch": "8", "validations": "1"}
SHORT = {"critic_blocks": "1", "validations": "1", "lr": "0.003", "critic_alone": "0"}
ABLATED = dict.fromkeys(["two_steps", "coupled", "weighted"], "false") | {"importance": "true", "time_b": "2"}
STEPS = 6
HEALTHY = {"entropy": 2.0, "teacher_entropy": 2.2, "right": 0.7, "cut": 0.0, "spread": 0.3}


def given(teacher: Path) -> Start:
    """What a student starts from."""
    return Start(frozen=partial(read_weights, teacher))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A teacher of texts, one of windows that is told the time, an ar run, and a student."""
    root = tmp_path_factory.mktemp("runs")
    patch = pytest.MonkeyPatch()
    patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
    patch.setattr("mezzotint.course.report", lambda out: None)
    words = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm"]
    lines = [" ".join(words[(i * k + k) % 12] for k in range(1, 3 + i % 7)) for i in range(120)]
    (root / "texts.txt").write_text("\n".join(lines) + "\n")
    timed = {"canvas": "16", "condition": "8", "time_conditioning": "true", "bound": "times", "tied": "false"}
    for name, system, layout, more in (
        ("teacher", "mdlm", "texts", {}),
        ("windows", "mdlm", "windows", timed | {"dropout": "0.1"}),
        ("ar", "ar", "texts", {}),
    ):
        options = {"max_steps": 10, "layout": layout, "settings": TINY | more}
        list(mezzotint.train(system, [root / "texts.txt"], valid=[root / "texts.txt"], out=root / name, **options))
    distilled(root, "student")
    yield root
    patch.undo()


def distilled(root: Path, out: str, teacher: str = "teacher", stop: int | None = None, **settings: str):
    records = mezzotint.distill_run(
        root / teacher, out=root / out, max_steps=STEPS, batch_size=8, save_every=3, settings=SHORT | settings
    )
    for record in records:
        if stop is not None and record.step >= stop:
            break


def test_student_and_critic_start_as_the_teacher(made):
    config = mezzotint.check_run(made / "teacher")
    recipe = student_recipe("didi-instruct", made / "teacher", config, {})
    trainer = build_trainer(
        "didi-instruct",
        recipe,
        None,
        0,
        "cpu",
        start=given(made / "teacher/model.safetensors"),
    )
    system, teacher = trainer.system, load_file(made / "teacher/model.safetensors")
    assert isinstance(system, HasFrozen) and recipe.spec.net.dim == 16
    student, critic = (system.players[name].state_dict() for name in ("student", "critic"))
    assert all(torch.equal(student[k.removeprefix("model.")], v) for k, v in teacher.items())
    shared = [k for k in critic if not k.startswith("head.")]
    assert all(torch.equal(critic[k], teacher[f"model.{k}"]) for k in shared) and len(shared) == len(teacher) - 2
    assert not any(p.requires_grad for p in system.frozen["model"].parameters())


def test_a_run_has_a_copy_of_its_teacher_and_saves_it_in_no_checkpoint(made):
    student = made / "student"
    kept, theirs = load_file(student / "frozen.safetensors"), load_file(made / "teacher/model.safetensors")
    assert kept.keys() == theirs.keys() and all(torch.equal(kept[name], theirs[name]) for name in theirs)
    config = json.loads((student / "config.json").read_text())
    assert config["teacher"]["run"] == str(made / "teacher") and config["spec"]["canvas"] == 8
    assert (student / "lengths.json").read_text() == (made / "teacher/lengths.json").read_text()
    names = {name.split(".")[0] for name in load_file(student / "model.safetensors")}
    assert names == {"critic", "student"}
    trained = load_file(student / "model.safetensors")
    moved = [k for k, v in load_file(made / "teacher/model.safetensors").items()
             if not torch.equal(trained[k.replace("model.", "student.", 1)], v)]  # fmt: skip
    assert len(moved) > 10


def test_resumed_is_uninterrupted_though_the_teacher_is_gone(made):
    shutil.copytree(made / "teacher", made / "gone")
    distilled(made, "cut", "gone", stop=3)
    assert steps_saved(made / "cut") == [3]
    shutil.rmtree(made / "gone")
    list(mezzotint.resume(made / "cut"))
    assert same(made / "student", made / "cut")
    first = made / "fresh"
    shutil.copytree(made / "cut", first)
    shutil.rmtree(first / CHECKPOINTS)
    (first / "model.safetensors").unlink()
    list(mezzotint.resume(first))
    assert same(made / "student", first)


def test_accumulated_parts_are_the_whole_batch(made):
    distilled(made, "parts", accumulate="2")
    whole, parts = (load_file(made / r / "model.safetensors") for r in ("student", "parts"))
    assert all(torch.allclose(whole[k], parts[k], atol=5e-5) for k in whole)


LIKED = 3
"""A token that the critic of the next test takes for the sign of a real text."""


def test_the_critic_is_told_whose_texts_are_whose_and_the_student_goes_where_it_points(made):
    bare = {"kl_first": "0", "kl_second": "0", "entropy": "0"}
    recipe = student_recipe("didi-instruct", made / "teacher", mezzotint.check_run(made / "teacher"), bare)
    weights = made / "teacher/model.safetensors"
    system = build_trainer("didi-instruct", recipe, None, 0, "cpu", start=given(weights)).system
    ids = torch.randint(5, 9, (8, 6), generator=torch.Generator().manual_seed(0))
    batch = Canvas(ids, ids < 0, ids >= 0, torch.arange(8))
    read, real = [], ids.repeat_interleave(4, 0)

    def liking(noised, cond):
        read.append(noised.z)
        rows, positions = (cond.free & (noised.z == system.process.mask)).nonzero(as_tuple=True)
        liked = (noised.z == LIKED).sum(1).float()
        return MaskedLogits(liked[rows] - 0.5, (rows, positions))

    system.critic.masked_logits = liking
    student = torch.optim.SGD(system.net.parameters(), lr=0.02)
    liked = []
    for step in range(25):
        read.clear()
        critic, loss = system.losses(batch, Rng(0, range(8), f"train/{step}", 8))
        true, fake, again = read
        assert bool(((true == real) | (true == system.process.mask)).all()) and torch.equal(fake, again)
        assert (critic.player, loss.player, loss.count) == ("critic", "student", 32)
        assert int(critic.parts["right"]) == right(fake, system.process.mask)
        liked.append(float((fake == LIKED).float().mean()))
        student.zero_grad()
        (loss.total / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(system.net.parameters(), 1.0)
        student.step()
    assert sum(liked[-5:]) > 1.5 * sum(liked[:5])


def right(fake: torch.Tensor, mask: int) -> int:
    """Masked positions at which that critic is right: no real text here has the token."""
    has = (fake == LIKED).any(1)
    return int((fake == mask)[~has].sum())


@pytest.mark.parametrize(
    ("teacher", "settings"),
    [
        ("teacher", {"reference": "teacher", "reference_steps": "3", "one_time": "true"}),
        ("teacher", ABLATED),
        ("windows", {}),
    ],
    ids=["teacher's texts", "ablated", "windows, timed"],
)
def test_every_way_of_learning_moves_the_student_and_only_what_learns_of_the_critic(made, teacher, settings):
    out = "way-" + teacher + "-".join(settings)
    distilled(made, out, teacher, **settings)
    lines = [json.loads(line) for line in (made / out / "log.jsonl").read_text().splitlines()]
    figures = ("critic", "right", "policy", "kl", "entropy", "teacher_entropy", "reward", "spread", "cut", "valid")
    assert set(figures) <= lines[-1].keys()
    assert 0.3 < lines[-1]["critic"] < 1 and 0 <= lines[-1]["right"] <= 1
    theirs, ours = load_file(made / teacher / "model.safetensors"), load_file(made / out / "model.safetensors")
    critic = {k.removeprefix("critic."): v for k, v in ours.items() if k.startswith("critic.")}
    still = {k for k, v in critic.items() if f"model.{k}" in theirs and torch.equal(v, theirs[f"model.{k}"])}
    assert "embed.weight" in still and "blocks.0.up.weight" in still and "blocks.1.up.weight" not in still
    assert len(mezzotint.load(made / out).generate(3, steps=4, guide="reward")) == 3


def test_guided_texts_cost_the_critics_passes_too_and_keep_what_is_given(made):
    run = mezzotint.load(made / "student")
    plain, guided = run.generate(16, steps=8), run.generate(16, steps=8, guide="reward")
    assert (
        sum(s.nfe for s in guided) > 2 * sum(s.nfe for s in plain) and max(s.nfe for s in guided) <= 4 * 3 + 3 * 5 + 1
    )
    assert max(s.nfe for s in run.generate(16, steps=2, guide="reward")) == (1 + 2) + 1
    assert [s.text for s in guided] != [s.text for s in plain]
    without = run.generate(16, steps=8, guide="reward", guidance=0.0)
    assert [s.text for s in without] != [s.text for s in guided] and max(s.nfe for s in without) <= 8
    for sample in run.infill("the [2] pub", n=3, guide="reward", steps=4):
        assert sample.text.startswith("the ") and sample.text.endswith(" pub")
    assert run.infill("the [1-2] pub", n=2)[0].nfe > 16
    alone = run.generate(1, steps=8, guide="reward")
    assert alone[0].text == guided[0].text
    run.save_pretrained(made / "given away")
    assert not (made / "given away/frozen.safetensors").exists()
    assert mezzotint.load(made / "given away").generate(1, steps=8, guide="reward") == alone


def test_the_command_distils_and_writes(made, capsys):
    words = ["distill", made / "teacher", "--out", made / "fast", "--max-steps", "2", "--batch-size", "8"]
    assert command.main([*map(str, words), "--set", "validations=1"]) == 0
    assert f"sample {made / 'fast'} -n 8 --watch --steps 8 --decoder spread\n" in capsys.readouterr().err
    assert command.main(["sample", str(made / "fast"), "-n", "2", "--steps", "4", "--guide", "reward"]) == 0
    written = capsys.readouterr()
    assert len(written.out.splitlines()) == 2 and "guide reward is approximate" in written.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "didi-instruct", "--data", "texts.txt"], "starts from a trained run, not from texts alone"),
        (["distill", "ar"], "ar is a run of ar, and didi-instruct learns from mdlm"),
        (["distill", "student"], "is a run of didi-instruct, and didi-instruct learns from mdlm"),
        (["distill", "teacher", "--set", "dim=32"], "dim is as in teacher, which the student starts from"),
        (["distill", "teacher", "--set", "grup=3"], "did you mean 'group'"),
        (["distill", "teacher", "--set", "group=1"], "group must be at least 2"),
        (["distill", "teacher", "--valid", "texts.txt"], "give --data too"),
        (["distill", "nowhere"], "there is no run at nowhere"),
        (["sample", "teacher", "--guide", "reward"], "mdlm has learned from no reward"),
        (["sample", "student", "--guide", "reward", "--decoder", "margin"], "leave out decoder 'margin'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(made, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(made)
    before = set(made.iterdir())
    assert command.main(words) == 2
    err = capsys.readouterr().err
    assert sentence in err and err.count("\n") == 1, err
    assert set(made.iterdir()) == before


def test_a_teacher_without_texts_asks_for_some_and_learns_from_those_named(made):
    mezzotint.load(made / "teacher").save_pretrained(made / "published")
    with pytest.raises(UsageError, match="name some with --data"):
        mezzotint.distill_run(made / "published", out=made / "none")
    lines = (made / "texts.txt").read_text().splitlines(keepends=True)
    (made / "others.txt").write_text("".join(lines[:60]))
    records = mezzotint.distill_run(
        made / "published", out=made / "named", data=[made / "others.txt"], max_steps=2, batch_size=8, settings=SHORT
    )
    assert list(records)[-1].fraction == 1
    assert (made / "named/lengths.json").read_text() == (made / "teacher/lengths.json").read_text()


def test_an_imported_checkpoint_with_its_frame_and_condition_is_a_teacher_too(made):
    weights = checkpoints.weights()
    source = checkpoints.save_lightning(made / "mdlm.ckpt", checkpoints.prefixed("backbone.", weights))
    (made / "words").mkdir()
    (made / "words/tokenizer.json").write_text(checkpoints.gpt2_json())
    imported = mezzotint.import_checkpoint(source, out=made / "imported", tokenizer=made / "words", heads=2)
    assert imported.spec.frame >= 0 and imported.spec.net.condition and imported.spec.net.dropout
    with pytest.raises(UsageError, match="name some with --data"):
        mezzotint.distill_run(made / "imported", out=made / "none")
    texts = {"data": [made / "texts.txt"], "valid": [made / "texts.txt"]}
    records = mezzotint.distill_run(
        made / "imported", out=made / "of imported", max_steps=2, batch_size=4, settings=SHORT, **texts
    )
    assert list(records)[-1].fraction == 1
    config = json.loads((made / "of imported/config.json").read_text())
    assert config["spec"]["frame"] == imported.spec.frame and config["spec"]["net"]["dropout"] == 0.1
    run = mezzotint.load(made / "of imported")
    assert all(b.dropout == 0 for b in run.system.net.blocks)
    assert len(run.generate(2, steps=4, guide="reward")) == 2


def test_consistency_with_the_teacher_needs_no_critic_and_leaves_no_reward(made):
    distilled(made, "consistent", objective="consistency", lr="0.03")
    theirs, ours = load_file(made / "teacher/model.safetensors"), load_file(made / "consistent/model.safetensors")
    assert {name.partition(".")[0] for name in ours} == {"student"}
    assert not torch.equal(ours["student.blocks.1.up.weight"], theirs["model.blocks.1.up.weight"])
    lines = [json.loads(line) for line in (made / "consistent/log.jsonl").read_text().splitlines()]
    assert lines[0]["consistency"] == lines[0]["loss"] > 0
    with pytest.raises(CapabilityError, match="taught without a critic"):
        mezzotint.load(made / "consistent").generate(1, guide="reward")


def test_token_by_token_a_shadow_stands_in_place_of_the_critic(made):
    recipe = student_recipe(
        "didi-instruct", made / "teacher", mezzotint.check_run(made / "teacher"), {"objective": "tokens"}
    )
    players = build_trainer(
        "didi-instruct", recipe, None, 0, "cpu", start=given(made / "teacher/model.safetensors")
    ).system.players  # fmt: skip
    shadow, student = (players[name].state_dict() for name in ("critic", "student"))
    assert all(torch.equal(shadow[name], student[name]) for name in student)
    distilled(made, "tokens", objective="tokens", lr="0.03")
    theirs, ours = load_file(made / "teacher/model.safetensors"), load_file(made / "tokens/model.safetensors")
    for player in ("critic", "student"):
        assert {k.removeprefix(f"{player}.") for k in ours if k.startswith(player)} == {
            k.removeprefix("model.") for k in theirs
        }
        assert not torch.equal(ours[f"{player}.blocks.1.up.weight"], theirs["model.blocks.1.up.weight"])
    first, *_ = [json.loads(line) for line in (made / "tokens/log.jsonl").read_text().splitlines()]
    assert first["shadow"] == first["loss"] > 0 and first["tokens"] != 0
    with pytest.raises(CapabilityError, match="taught without a critic"):
        mezzotint.load(made / "tokens").generate(1, guide="reward")


def test_a_lost_teacher_file_is_said(made):
    shutil.copytree(made / "student", made / "lost")
    (made / "lost/frozen.safetensors").unlink()
    for step in steps_saved(made / "lost")[1:]:
        shutil.rmtree(made / "lost" / CHECKPOINTS / str(step))
    with pytest.raises(RunError, match=r"frozen\.safetensors is missing"):
        list(mezzotint.resume(made / "lost"))


def test_a_teacher_without_weights_is_said_and_leaves_nothing(made):
    shutil.copytree(made / "teacher", made / "empty")
    (made / "empty/model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors is missing"):
        list(mezzotint.distill_run(made / "empty", out=made / "of nobody"))
    assert not (made / "of nobody").exists()


def test_other_systems_take_no_pupils(made):
    config = mezzotint.check_run(made / "teacher")
    with pytest.raises(CapabilityError, match="ar learns from nobody"):
        student_recipe("ar", made / "teacher", config, {})


# ---- alarms ---------------------------------------------------------------------------------------------------------


def test_health_is_silent_and_each_fault_has_a_sentence():
    assert faults(HEALTHY, 0.2) == {}
    for kind, part in (("entropy", {"entropy": 0.9}), ("noise", {"entropy": 2.5}), ("critic", {"right": 0.99}),
                       ("cut", {"cut": 0.6}), ("flat", {"spread": 1e-5})):  # fmt: skip
        assert set(faults(HEALTHY | part, 0.2)) == {kind}


def test_a_collapse_ends_the_run_in_a_sentence_and_leaves_the_checkpoints(made, monkeypatch):
    with pytest.raises(RunError, match="entropy is 9% of the teacher's; the checkpoints are whole"):
        faults(HEALTHY | {"entropy": 0.2}, 0.2)
    told = []
    monkeypatch.setattr("mezzotint.distill.alarm.LOW", 2.0)
    records = mezzotint.distill_run(made / "teacher", out=made / "warned", max_steps=4, batch_size=8, settings=SHORT)
    told = [record.note for record in records if record.note]
    assert len([note for note in told if "student's entropy is" in note]) == 1
    monkeypatch.setattr("mezzotint.distill.alarm.LOW", 0.5)
    with pytest.raises(RunError, match="has collapsed"):
        distilled(made, "collapsed", lr="0.5", floor="0.97", kl_first="0", kl_second="0", entropy="0")
    assert (made / "collapsed/config.json").exists()


def test_the_critic_learns_at_its_own_pace_and_first_alone(made):
    distilled(made, "alone", critic_alone="0.99")
    theirs, ours = load_file(made / "teacher/model.safetensors"), load_file(made / "alone/model.safetensors")
    assert all(torch.equal(ours[k.replace("model.", "student.", 1)], v) for k, v in theirs.items())
    assert not torch.equal(ours["critic.blocks.1.up.weight"], theirs["model.blocks.1.up.weight"])
