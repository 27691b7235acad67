"""Benchmarks whose minutes are counted on the processor's clock."""

from __future__ import annotations

import sys
import time

import pytest

from benchmarks import processor_time
from mezzotint.training import loop


def test_the_loop_counts_processor_time_and_the_other_command_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "time", time)
    monkeypatch.setattr(sys, "argv", ["processor_time", "mezzotint", "--version"])
    with pytest.raises(SystemExit) as ended:
        processor_time.main()
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("mezzotint ")
    before = loop.time.monotonic()
    time.sleep(0.2)
    assert loop.time.monotonic() - before < 0.1


@pytest.mark.parametrize("words", [[], ["--train-minutes", "3"]])
def test_without_a_module_it_says_how_it_is_called(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["processor_time", *words])
    with pytest.raises(SystemExit, match=r"python -m benchmarks\.processor_time benchmarks"):
        processor_time.main()
