"""Benchmark rows: what replaces what, what is refused, and that a file is never half-written."""

from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import rows
from benchmarks.rows import Row, check, command, metrics, read, record, variant
from mezzotint.errors import DataError, UsageError
from mezzotint.spec.metrics import METRICS

ROOT = Path(__file__).parents[1]
SPEED = Row(benchmark="toy-speed", system="mdlm", metric="tokens_per_second", value=5.0, steps=32, batch=8, seed=0)


@pytest.fixture(autouse=True)
def still_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows ask git for commit and state; the answer stands still here, and costs no process."""
    monkeypatch.setattr(rows, "_git", lambda *words: "0123456789ab" if words[0] == "rev-parse" else "")


def test_the_datas_own_value_is_one_whoever_counts_it(tmp_path: Path) -> None:
    data = replace(SPEED, system="data", metric="entropy_words", n=5, hardware="this")
    record([data, replace(SPEED, hardware="this")], results=tmp_path)
    (path,) = record([replace(data, hardware="that", value=6.0), replace(SPEED, hardware="that")], results=tmp_path)
    assert [(row.system, row.hardware) for row in read(path)] == [("data", "that"), ("mdlm", "that"), ("mdlm", "this")]
    (path,) = record([replace(data, n=6)], results=tmp_path)
    assert [row.n for row in read(path) if row.system == "data"] == [5, 6]


def test_measuring_again_replaces_the_row(tmp_path: Path) -> None:
    record([SPEED], results=tmp_path)
    (path,) = record([replace(SPEED, value=7.0, nfe=30.5, n=5, seconds=1.5)], results=tmp_path)
    (row,) = read(path)
    assert (row.value, row.nfe, row.n) == (7.0, 30.5, 5)


def test_the_datas_own_values_are_of_so_many_texts(tmp_path: Path) -> None:
    many, few = (replace(SPEED, system="data", n=n) for n in (1000, 300))
    record([many], results=tmp_path)
    (path,) = record([few], results=tmp_path)
    assert sorted(row.n or 0 for row in read(path)) == [300, 1000]


@pytest.mark.parametrize(
    "change",
    [
        {"benchmark": "other"},
        {"system": "ar"},
        {"variant": "top_p=0.9"},
        {"metric": "peak_rss_mb"},
        {"size": "small"},
        {"train_minutes": 15.0},
        {"steps": 64},
        {"batch": 32},
        {"seed": 1},
        {"split": "test"},
        {"judge": "bistro 01234567"},
        {"precision": "bf16"},
        {"hardware": "abacus"},
        {"source": "Sahoo et al. 2024, table 3"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_identifies_a_measurement_parts_rows(change: dict[str, object], tmp_path: Path) -> None:
    base = replace(SPEED, source="Austin et al. 2021")
    files = record([base, replace(base, **change)], results=tmp_path)
    assert sum(len(read(path)) for path in files) == 2


def test_rows_keep_one_order_whatever_order_they_came_in(tmp_path: Path) -> None:
    many = [replace(SPEED, seed=seed) for seed in (3, 1, 2)]
    (one,) = record(many, results=tmp_path / "a")
    for row in reversed(many):
        (other,) = record([row], results=tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()


def test_what_was_measured_here_says_where_and_what_was_read_says_nothing_of_here(tmp_path: Path) -> None:
    theirs = replace(SPEED, source="Sahoo et al. 2024, table 3")
    (path,) = record([SPEED, theirs], results=tmp_path)
    ours, cited = sorted(read(path), key=lambda row: row.source or "")
    assert (ours.commit, ours.dirty) == ("0123456789ab", False)
    assert ours.hardware and "cores" in ours.hardware and ours.date and ours.command
    assert cited == theirs


def test_outside_a_repository_commit_and_state_are_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_git", lambda *words: None)
    (path,) = record([SPEED], results=tmp_path)
    (row,) = read(path)
    assert (row.commit, row.dirty) == (None, None)


def test_the_file_has_every_column_of_the_schema(tmp_path: Path) -> None:
    (path,) = record([SPEED], results=tmp_path)
    design = (
        "benchmark system variant metric value stderr n steps nfe batch seconds seed split judge size params "
        "train_tokens train_minutes precision hardware command commit dirty date source"
    )
    assert list(json.loads(path.read_text())[0]) == design.split()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"metric": "token_per_second"}, "did you mean 'tokens_per_second'"),
        ({"benchmark": "Toy Speed"}, "joined by hyphens"),
        ({"benchmark": "../toy"}, "joined by hyphens"),
        ({"variant": "b=1,a=2"}, "sorted key=value"),
        ({"variant": "fast"}, "sorted key=value"),
        ({"variant": "a="}, "sorted key=value"),
        ({"value": float("nan")}, "None says that nothing was found"),
        ({"stderr": float("inf")}, "stderr of tokens_per_second"),
    ],
)
def test_a_row_outside_the_schema_is_refused_and_nothing_written(
    change: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        record([SPEED, replace(SPEED, **change)], results=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[{", '[{"speed": 3}]', "[3]", "{}x"])
def test_a_damaged_file_is_named_and_left_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "toy-speed.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"toy-speed\.json is not a list"):
        record([SPEED], results=tmp_path)
    assert path.read_text() == text


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_whole(at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = record([SPEED], results=tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(rows.os, at, full)
    with pytest.raises(OSError, match="no space"):
        record([replace(SPEED, seed=1)], results=tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_variants_have_one_spelling() -> None:
    assert variant({}) == "default"
    assert variant({"top_p": 0.9, "noise": "cosine"}) == "noise=cosine,top_p=0.9"
    check(replace(SPEED, variant=variant({"b": 1, "a": "x y"})))


def test_commands_name_no_path_of_the_machine() -> None:
    typed = [
        "/opt/python",
        "-m",
        "benchmarks.x",
        "--data",
        str(ROOT / "data/a.txt"),
        "--out=/srv/me/runs",
        "and/or",
        "1/2",
    ]
    assert command(typed) == "python -m benchmarks.x --data data/a.txt --out=runs and/or 1/2"


def test_committed_results_keep_the_schema() -> None:
    for path in sorted(rows.RESULTS.glob("*.json")):
        for row in read(path):
            check(row)
            assert row.benchmark == path.stem


def test_metrics_are_listed_once_and_hold_every_score_of_the_package() -> None:
    listed = metrics()
    assert len(listed) == len(set(listed)) > 20
    assert _scores() <= set(listed) and METRICS.keys() <= set(listed)


def _scores() -> set[str]:
    """Names written as the first argument of Score(…), Score.mean(…) or Score.ratio(…) anywhere in the package."""
    calls = [
        node
        for path in (ROOT / "src/mezzotint").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Score", "Score.mean", "Score.ratio")
    ]
    firsts = [call.args[0] for call in calls if call.args]
    return {first.value for first in firsts if isinstance(first, ast.Constant) and isinstance(first.value, str)}
