"""Runs that earlier versions saved: they load and write what they wrote, go on, or are refused with a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import mezzotint
from mezzotint.errors import MezzotintError, RunError
from mezzotint.training.folder import FORMAT
from tests.keep import KEPT, RUNS, said

NOW = KEPT / f"format-{FORMAT}"
EARLIER = [path for path in KEPT.glob("format-*") if path != NOW]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """An mdlm run that a test may change."""
    shutil.copytree(NOW / "mdlm", tmp_path / "run")
    return tmp_path / "run"


def change(folder: Path, edit: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("name", RUNS)
def test_a_kept_run_writes_what_it_wrote(name: str) -> None:
    assert said(NOW / name) == json.loads((NOW / name / "said.json").read_text())


def test_kept_runs_are_small_and_name_no_place() -> None:
    files = [path for path in KEPT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 150_000
    for path in KEPT.glob("*/*/config.json"):
        config = json.loads(path.read_text())
        assert not any("/" in str(file) for file in config["data"]["files"])


def test_a_kept_run_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEZZOTINT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(NOW / "stopped", tmp_path / "run")
    change(tmp_path / "run", lambda config: config["data"].update(files=[str(NOW / "texts.txt")]))
    assert [progress.step for progress in mezzotint.resume(tmp_path / "run")][-1] == 4
    assert mezzotint.load(tmp_path / "run").generate(n=1, steps=2)


@pytest.mark.parametrize("folder", EARLIER, ids=lambda folder: folder.name)
def test_a_run_of_an_earlier_format_loads_or_is_refused_with_a_sentence(folder: Path) -> None:
    for run in (path.parent for path in folder.glob("*/config.json")):
        try:
            mezzotint.load(run)
        except MezzotintError as error:
            assert "format" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("number", [0, FORMAT + 1])
def test_another_format_is_refused_by_its_number(copy: Path, number: int) -> None:
    change(copy, lambda config: config.update(format=number))
    with pytest.raises(RunError, match=f"has format {number}, and this version reads format {FORMAT}"):
        mezzotint.load(copy)


def test_a_setting_that_came_later_has_its_default(copy: Path) -> None:
    before = said(copy)
    change(copy, lambda config: (config["spec"].pop("frame"), config["training"].pop("average_best")))
    assert said(copy) == before


def test_a_setting_that_is_not_known_here_is_named(copy: Path) -> None:
    change(copy, lambda config: config["spec"].update(tomorrow=1))
    with pytest.raises(MezzotintError, match="tomorrow"):
        mezzotint.load(copy)
