"""Several processes of one launch: they train, write and score as one does, and fail as one.

All of it happens in one launch of two processes (tests/pair.py), beside which this process does the same alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import mezzotint
from mezzotint.errors import ElsewhereError, UsageError
from mezzotint.training.device import pick_device
from mezzotint.training.folder import CHECKPOINTS, steps_saved
from mezzotint.training.team import ALONE, Place, Team, launched, should_report
from tests import pair

STEPS, CUT = 20, 10
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
# Nothing divides by two: not the parts of a batch, nor the vocabulary, nor the width.
SETTINGS = {"dim": 12, "depth": 2, "heads": 2, "batch": 15, "accumulate": 3, "validations": STEPS, "precision": "fp32"}

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this build of torch has no gloo, by which processes talk",
)


def training(out: str, *more: str, system: str = "mdlm", data: str = "texts.txt", steps: int = STEPS) -> list[str]:
    words = ["train", system, "--data", data, "--out", out, "--max-steps", str(steps), "--save-every", str(CUT)]
    for key, value in SETTINGS.items():
        words += ["--set", f"{key}={value}"]
    return [*words, *more]


SIDES = ("--source", "from", "--target", "to")
PAIRS = {"system": "ar-seq2seq", "data": "pairs.jsonl", "steps": 6}

JOBS: dict[str, dict[str, Any]] = {
    "misspelt": {"call": ["train", "mdml", "--data", "texts.txt"]},
    "missing on one": {"call": training("none", data="only{rank}.txt")},
    "different": {"call": training("none", data="own{rank}.txt")},
    "copies": {"call": training("copies")},
    "shards": {"call": training("shards", "--set", "shard=true")},
    "shards of pairs": {"call": training("pairs-shards", "--set", "shard=true", "--set", "hidden=20", *SIDES, **PAIRS)},
    "copies cut": {"call": training("copies-cut"), "at": CUT, "do": "leave"},
    "shards cut": {"call": training("shards-cut", "--set", "shard=true"), "at": CUT, "do": "leave"},
    "copies resumed": {"call": ["resume", "one-cut"]},
    "shards resumed": {"call": ["resume", "one-cut-shard"]},
    "finished": {"call": ["resume", "copies"]},
    "sample": {"call": ["sample", "one", "-n", "7", "--steps", "4", "--json"]},
    "evaluate": {"call": ["evaluate", "one", "--data", "held.txt", "--judge", "judge", "--json"]},
    "play copies": {"play": False},
    "play shards": {"play": True},
    "too few rows": {"call": training("none", "--set", "batch=3")},
    "no number": {"call": training("nan", "--set", "lr=1e30", "--set", "clip=0", steps=60)},
    "film": {"call": ["sample", "one", "--watch"]},
    "infill": {"call": ["infill", "one", "the [2] pub"]},
    "stopped": {"call": training("stopped", steps=10_000), "at": 1, "do": "TERM", "on": [1]},
    "died": {"call": training("died", "--set", "save_every=5", steps=10_000), "at": 10, "do": "die", "on": [1]},
}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Any:
    """What both processes told of every job, and where the runs are."""
    patch = pytest.MonkeyPatch()
    root = tmp_path_factory.mktemp("processes")
    patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
    patch.chdir(root)
    words = ["the", "a", "old", "new", "river", "pub", "near", "by", "is", "was", "cold", "warm", "bar"]
    lines = [" ".join(words[(i * k + k) % 13] for k in range(1, 3 + i % 7)) for i in range(120)]
    for name, chosen in (
        ("texts", lines),
        ("held", lines[::3]),
        ("own0", lines),
        ("own1", lines[1:]),
        ("only0", lines),
    ):
        Path(f"{name}.txt").write_text("\n".join(chosen) + "\n")
    for out, more in (("one", []), ("one-cut", []), ("one-cut-shard", ["--set", "shard=true"])):
        job = {"call": training(out, *more)} | ({} if out == "one" else {"at": CUT, "do": "leave"})
        pair.call(job)
    Path("pairs.jsonl").write_text("".join(json.dumps({"from": line[::-1], "to": line}) + "\n" for line in lines))
    pair.call({"call": training("pairs-one", "--set", "hidden=20", *SIDES, **PAIRS)})
    list(mezzotint.train("ar", ["texts.txt"], out="judge", max_steps=5, seed=1, settings={"dim": "8", "depth": "1"}))
    processes = pair.start(list(JOBS.values()), root)
    mine = {name: pair.call(JOBS[name]) for name in ("sample", "evaluate")} | {"play": pair.play(False)}
    told = pair.finish(processes)
    yield SimpleNamespace(root=root, mine=mine, **{f"of{r}": dict(zip(JOBS, told[r], strict=False)) for r in (0, 1)})
    patch.undo()


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_same_ending(a: Path, b: Path) -> None:
    """Equal weights, averages and optimiser states in the last checkpoints, and equal models."""
    assert steps_saved(a)[-1] == steps_saved(b)[-1]
    places = [f"{CHECKPOINTS}/{steps_saved(a)[-1]}/{n}.safetensors" for n in ("weights", "ema", "optimiser")]
    for place in [*places, "model.safetensors"]:
        one, two = load_file(a / place), load_file(b / place)
        assert one.keys() == two.keys()
        for name in one:
            torch.testing.assert_close(one[name], two[name], **CLOSE, msg=f"{place} {name}")


@pytest.mark.parametrize("way", ["copies", "shards"])
def test_the_losses_of_two_processes_are_those_of_one(done, way):
    one, two = log(done.root / "one"), log(done.root / way)
    assert [r["step"] for r in two] == list(range(1, STEPS + 1)) and done.of0[way]["status"] == 0
    for key in ("loss", "masked", "length", "valid"):
        assert [r[key] for r in two] == pytest.approx([r[key] for r in one], rel=1e-5)
    assert_same_ending(done.root / "one", done.root / way)
    assert json.loads((done.root / way / "config.json").read_text())["hardware"].endswith("2 processes")


def test_shards_of_an_encoder_and_a_decoder_get_all_of_their_gradients(done):
    """Keys and values of the source are computed before the layers that they belong to, and theirs come last."""
    assert done.of0["shards of pairs"]["status"] == 0
    assert_same_ending(done.root / "pairs-one", done.root / "pairs-shards")


@pytest.mark.parametrize("way", ["copies", "shards"])
def test_one_process_goes_on_where_two_left_off(done, way, monkeypatch):
    monkeypatch.chdir(done.root)
    assert steps_saved(done.root / f"{way}-cut") == [CUT]
    list(mezzotint.resume(f"{way}-cut"))
    assert_same_ending(done.root / "one", done.root / f"{way}-cut")


@pytest.mark.parametrize(("way", "run"), [("copies", "one-cut"), ("shards", "one-cut-shard")])
def test_two_processes_go_on_where_one_left_off(done, way, run):
    assert done.of0[f"{way} resumed"]["status"] == 0
    assert_same_ending(done.root / "one", done.root / run)
    losses = [[r["loss"] for r in log(done.root / name)] for name in ("one", run)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("way", ["play copies", "play shards"])
def test_two_players_with_rollouts_of_unequal_length_move_as_in_one_process(done, way):
    """Also gradients of weights that are used without their network being called, and weights without any."""
    assert done.of0[way]["losses"] == pytest.approx(done.mine["play"]["losses"], rel=1e-5)
    for part in ("weights", "ema", "optimiser"):
        one, two = done.mine["play"][part], done.of0[way][part]
        assert one.keys() == two.keys() and done.of1[way][part].keys() == one.keys()
        for name in one:
            torch.testing.assert_close(torch.tensor(two[name]), torch.tensor(one[name]), **CLOSE, msg=name)
    moved = torch.tensor(done.mine["play"]["weights"]["student.table"])
    assert not torch.allclose(moved, pair.Tower().table, atol=1e-2)


def test_samples_are_those_of_one_process_in_the_same_order(done):
    texts = [
        [json.loads(line) for line in told["out"].splitlines()] for told in (done.mine["sample"], done.of0["sample"])
    ]
    assert len(texts[0]) == 7 and texts[0] == texts[1] and [t["index"] for t in texts[1]] == list(range(7))


def test_scores_are_those_of_one_process(done):
    scores = [
        [json.loads(line) for line in told["out"].splitlines()]
        for told in (done.mine["evaluate"], done.of0["evaluate"])
    ]
    names = {score["name"] for score in scores[0]}
    assert {"bound_nats_per_token", "judge_nll", "distinct_2"} <= names
    for one, two in zip(*scores, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            assert one[key] == (pytest.approx(two[key], rel=1e-5) if isinstance(one[key], float) else two[key])


def test_the_first_process_alone_speaks(done):
    for name, told in done.of1.items():
        if "call" in JOBS[name] and name != "missing on one":
            assert told["out"] == "" and told["err"] == "", name
    assert "next:" in done.of0["copies"]["err"] and done.of0["finished"]["err"].startswith("copies is finished")


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        ("misspelt", "unknown system 'mdml'; did you mean 'mdlm'?"),
        ("different", "the processes of this launch have different texts to train on; give all the same files"),
        ("too few rows", "1 rows at once are too few for 2 processes; set a larger batch"),
        ("no number", "train with a lower lr"),
        ("film", "--watch draws what one process writes"),
        ("infill", "`mezzotint infill` is for one process"),
    ],
)
def test_an_error_of_all_is_told_once(done, job, sentence):
    assert done.of0[job]["status"] == done.of1[job]["status"] == 2
    assert sentence in done.of0[job]["err"] and done.of0[job]["err"].count("\n") <= 3


def test_an_error_of_one_ends_all_and_is_told_where_it_happened(done):
    assert done.of0["missing on one"] == {"status": 2, "out": "", "err": ""}
    assert "only1.txt" in done.of1["missing on one"]["err"] and done.of1["missing on one"]["status"] == 2
    assert not (done.root / "none").exists()


def test_a_signal_to_one_stops_all_at_the_same_step(done):
    assert done.of0["stopped"]["status"] == done.of1["stopped"]["status"] == 130
    assert "stopped by SIGTERM at step" in done.of0["stopped"]["err"]
    assert steps_saved(done.root / "stopped")[-1] == log(done.root / "stopped")[-1]["step"] < 10_000


def test_a_process_that_dies_ends_the_others_with_a_sentence(done):
    assert "died" not in done.of1 and done.of0["died"]["status"] == 2
    assert "process 0 of 2 lost the others" in done.of0["died"]["err"]
    assert "`mezzotint resume died` goes on from the last checkpoint" in done.of0["died"]["err"]
    assert steps_saved(done.root / "died")


# ------------------------------------------------------------ without a launch


def test_every_place_has_one_owner_and_shares_are_even():
    for size in range(1, 6):
        for n in range(12):
            shares = [Team(Place(r, size)).share(range(3, 3 + n)) for r in range(size)]
            assert [p for share in shares for p in share] == list(range(3, 3 + n))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
ACCELERATE = {"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_CPU": "True"}


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, Place()),
        ({"WORLD_SIZE": "1", "RANK": "0", **MEETING}, Place()),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", **MEETING}, Place(3, 4, 1)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", **MEETING, **ACCELERATE}, Place(1, 2, 1)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}, Place()),
        (ACCELERATE, Place()),
    ],
)
def test_the_launcher_says_where_a_process_stands(environment, found):
    assert launched(environment) == found


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR or MASTER_PORT is missing"),
        ({"WORLD_SIZE": "2", **MEETING}, "RANK, MASTER_ADDR"),
        ({"WORLD_SIZE": "2", "RANK": "2", **MEETING}, "this is one of 2 processes"),
        ({"WORLD_SIZE": "two", **MEETING}, "WORLD_SIZE must be a whole number, not 'two'"),
        ({**ACCELERATE, **MEETING}, "accelerate was asked for several processes and started one"),
    ],
)
def test_a_launch_that_makes_no_sense_is_refused(environment, sentence):
    with pytest.raises(UsageError, match=sentence):
        launched(environment)


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", **MEETING}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda:1") and taken == [1, 1]
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="device 'cuda:0' is one GPU and these are 2 processes"):
        pick_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="more processes than GPUs"):
        pick_device("auto")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert pick_device("auto") == torch.device("cpu")


def test_one_process_alone_is_a_team():
    assert ALONE.sum([1, 2.5]) == [1, 2.5] and ALONE.gather("a") == ["a"] and ALONE.map("ab", str.upper) == ["A", "B"]
    assert ALONE.on_first(int, "3") == 3 and ALONE.first_then_rest(lambda: 4) == 4
    assert should_report(UsageError("mine")) and not should_report(ElsewhereError("another's"))
