"""The benchmark of systems with a source: in pieces, nothing measured twice, choices and the collapse by hand."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import mezzotint
from benchmarks import multi30k, pairs, rows, seq2seq
from benchmarks.arms import RunRequest, Strategy, Task
from benchmarks.collapse import collapse_measures
from benchmarks.distilled import distil, distilled_path
from benchmarks.seq2seq import choose, score, train

WORDS = ["rot", "blau", "alt", "neu", "haus", "fluss", "am", "steht"]
TINY = {"dim": "16", "depth": "1", "heads": "2", "hidden": "16", "batch": "8", "validations": "1"}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """An empty folder with a set of pairs, and what a call is asked for."""
    root = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEZZOTINT_CACHE", str(root / "cache"))
        patch.setattr("mezzotint.course.report", lambda run: run)
        lines = [[WORDS[(i * k + k) % 8] for k in range(1, 3 + i % 5)] for i in range(80)]
        records = [json.dumps({"de": " ".join(w), "en": " ".join(w[::-1]).upper()}) + "\n" for w in lines]
        files = {}
        for split, part in (("train", records), ("valid", records[:9]), ("test", records[5:12])):
            files[split] = root / f"{split}.jsonl"
            files[split].write_text("".join(part))
        asked = RunRequest(
            size="tiny", minutes=1, steps=2, settings=TINY, lines=None, runs=root / "runs", results=root / "results",
            device="cpu", until=inf,
        )  # fmt: skip
        yield Task("toy-pairs", files, "de", "en"), asked


ARMS = {
    "ar": replace(multi30k.ARMS["ar"], strategies=(Strategy((1, 2), ("likelihood",), None, {"decoder": "beam"}),)),
    "difformer": replace(multi30k.ARMS["factor-1"], strategies=(Strategy((2, 1), ("likelihood", "ar"), 2),)),
}


def test_it_goes_on_where_it_was_stopped_and_measures_nothing_twice(workshop, monkeypatch, capsys) -> None:
    task, asked = workshop
    past = replace(asked, until=time.monotonic() - 1)
    with pytest.raises(SystemExit, match="not trained to its end"):
        score(task, "ar", ARMS["ar"], "valid", asked)
    with pytest.raises(SystemExit, match="call again to go on"):
        train(task, "ar", ARMS["ar"], replace(past, steps=40, settings=TINY | {"save_every": "1"}))
    for name, arm in ARMS.items():
        train(task, name, arm, asked)
    monkeypatch.setattr(seq2seq, "CHUNK", 4)
    with pytest.raises(SystemExit, match="0 of 9 are written"):
        score(task, "difformer", ARMS["difformer"], "valid", past)
    (half,) = asked.folder(task, "ar").parent.glob("toy-pairs-difformer*")
    (half / "valid-9-candidates=2x1-2.jsonl").write_text('{"seconds": 1')  # as a kill would leave it
    for name, arm in ARMS.items():
        for split in ("valid", "test"):
            score(task, name, arm, split, asked)
    found = rows.read(asked.results / "toy-pairs.json")
    written = [row for row in found if row.metric == "chrf"]
    assert {(row.system, row.split, row.n, row.steps) for row in written} == {
        (system, split, n, steps)
        for system, steps in (("ar-seq2seq", None), ("difformer", 2))
        for split, n in (("valid", 9), ("test", 7))
    }
    assert len(written) == 6 and all("choose=" in row.variant and "train_steps=2" in row.variant for row in written)
    assert all(("factor=1" in row.variant) == (row.system == "difformer") for row in written)
    plain, ranked = (
        next(r.nfe for r in written if f"choose={by}" in r.variant and r.system == "difformer")
        for by in ("likelihood", "ar")
    )
    assert plain == 4 and ranked == 6
    curve = [row for row in found if row.metric == "table_spread"]
    assert len(curve) == 1 and "curve=training" in curve[0].variant and 0.5 < curve[0].value < 2
    monkeypatch.setattr(mezzotint, "translate", None)
    score(task, "difformer", ARMS["difformer"], "valid", asked)
    shown = multi30k.table(task, asked.results)
    assert shown.count("| valid |") == 2 and len(shown.splitlines()) == 5


def test_distilled_pairs_are_what_the_beam_writes(workshop, monkeypatch) -> None:
    task, asked = workshop
    few = replace(asked, lines=6)
    train(task, "ar", ARMS["ar"], asked)
    monkeypatch.setattr(seq2seq, "CHUNK", 4)
    distil(task, few)
    found = [json.loads(line) for line in distilled_path(task, few).read_text().splitlines()]
    run = mezzotint.load(asked.folder(task, "ar"))
    read = task.pairs("train", 6)[0]
    best = [t.text for part in (read[:4], read[4:]) for t in mezzotint.translate(run, part)]
    assert found == [{"de": source, "en": text} for source, text in zip(read, best, strict=True) if text]
    with pytest.raises(SystemExit, match="is not distilled"):
        distil(replace(task, private=True), few)


def test_nothing_of_private_texts_is_kept_or_printed(workshop, capsys) -> None:
    task, asked = workshop
    secret = replace(task, name="toy-secret", private=True)
    train(secret, "ar", ARMS["ar"], asked)
    score(secret, "ar", ARMS["ar"], "valid", asked)
    kept = [p for p in asked.folder(secret, "ar").rglob("*.jsonl") if p.name != "log.jsonl"]
    out = capsys.readouterr().out
    assert kept == [] and "chrf" in out and not any(word in out.lower() for word in ("haus", "fluss", "steht"))


def test_texts_of_one_source_stand_together_where_a_task_has_several(workshop) -> None:
    task, _ = workshop
    said = [json.loads(line) for line in task.file("train").read_text().splitlines()]
    read, texts = replace(task, several=True).pairs("train")
    assert len(read) == len(set(read)) < len(said)
    assert sorted((s, t) for s, theirs in zip(read, texts, strict=True) for t in theirs) == sorted(
        (one["de"], one["en"]) for one in said
    )
    assert read[0] == said[0]["de"] and task.pairs("train", 3) == (
        [one["de"] for one in said[:3]],
        [[one["en"]] for one in said[:3]],
    )


def test_of_a_split_with_longer_lines_the_short_ones_are_taken(workshop) -> None:
    task, _ = workshop
    every, texts = task.pairs("test")
    short, theirs = replace(task, words={"test": 3}).pairs("test")
    assert 0 < len(short) < len(every) and all(len(source.split()) <= 3 for source in short)
    assert [texts[every.index(source)] for source in short] == theirs
    assert replace(task, words={"test": 3}).pairs("valid") == task.pairs("valid")


def test_a_choice_is_one_of_the_candidates_and_its_cost_counts() -> None:
    lines = [[["a b c d", "x", "a b c e"], [-1.0, -0.5, -2.0], 12], [[""], [0.0], 0]]
    assert choose(lines, "likelihood", None, ["s", ""]) == (["x", ""], 6)
    assert choose(lines, "mbr", None, ["s", ""]) == (["a b c d", ""], 6)


def test_the_collapse_by_hand() -> None:
    table = torch.tensor([[3.0, 0], [-3, 0], [0, 3], [0, -3]])
    found = {(m, more.get("noise")): (v, n) for m, v, more, n in collapse_measures(table, [0, 1, 2, 3] * 300)}
    assert found["table_spread", None] == (pytest.approx((18 / 4) ** 0.5), 4)
    # Nearest to itself where both differences of two normal numbers stay on its side of the diagonals.
    for deviation in (0.5, 1.0, 2.0):
        side = 0.5 * (1 + torch.erf(torch.tensor(3 / 2**0.5 / deviation / 2**0.5)))
        assert found["nearest_accuracy", deviation][0] == pytest.approx(float(side) ** 2, abs=0.045)
    # Half of the times without noise to speak of, half with no trace of the vector left.
    silent = SimpleNamespace(signal_to_noise=lambda t: torch.where(t < 0.5, 1e12, 1e-12).double())
    *_, (_, value, more, _) = collapse_measures(table, [0, 1, 2, 3] * 300, silent)
    assert more == {"noise": "training"} and value == pytest.approx(0.5 + 0.5 / 4, abs=0.04)
    same = {m: v for m, v, _, _ in collapse_measures(torch.ones(5, 3), [4] * 50)}
    assert same["table_spread"] == 0 and same["nearest_accuracy"] < 0.5


def test_every_arm_can_be_asked_for() -> None:
    from mezzotint.spec.base import Size
    from mezzotint.spec.recipe import Corpus
    from mezzotint.systems import entry
    from mezzotint.types import Layout

    for arm in multi30k.ARMS.values():
        found = entry(arm.system)
        made = found.load(found.recipe)(Size.TINY, Corpus(99, 32, Layout.TEXTS)).with_settings(arm.settings)
        assert made.spec.net.dropout == 0.3
        decoders = {decoder.value for decoder in found.load(found.card).decoders}
        assert all(strategy.options.get("decoder", "exact") in decoders for strategy in arm.strategies)
    names = {task.name for task in [*multi30k.TASKS.values(), *pairs.TASKS.values()]}
    assert {"multi30k-de-en", "multi30k-en-de", "tatoeba-de-en", "aeslc-subject", "e2e-pairs", "bistro-pairs"} == names
    assert all(Path(file).name for task in pairs.TASKS.values() for file in task.files.values())
