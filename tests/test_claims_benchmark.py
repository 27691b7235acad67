"""What benchmarks.claims makes of the lines that `mezzotint reproduce --json` writes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks.claims import rows, run_command
from benchmarks.rows import check


def test_each_claim_has_its_figure_and_its_verdict_and_all_have_one_time():
    outcomes = [
        {"claim": "mdlm-bound", "seen": 2.04, "holds": True, "seconds": 3.0},
        {"claim": "resume", "seen": None, "holds": False, "seconds": 0.5},
    ]
    made = {(row.variant, row.metric): row for row in rows(outcomes, 1, "tiny")}
    assert made["claim=mdlm-bound", "claim_seen"].value == 2.04 and made["claim=mdlm-bound", "claim_holds"].value == 1
    assert made["claim=resume", "claim_seen"].value is None and made["claim=resume", "claim_holds"].value == 0
    assert made["default", "wall_seconds"].value == 3.5 and {row.seed for row in made.values()} == {1}
    for row in made.values():
        check(row)


@pytest.mark.parametrize(("code", "ends"), [(1, False), (2, True)])
def test_a_claim_that_fails_is_a_figure_and_a_command_that_fails_is_an_end(monkeypatch, code, ends):
    real = subprocess.Popen
    told = [sys.executable, "-c", f"print('line'); raise SystemExit({code})"]
    monkeypatch.setattr("benchmarks.claims.subprocess.Popen", lambda words, **how: real(told, **how))
    lines = run_command("tiny", 0)
    if ends:
        with pytest.raises(SystemExit, match="ended with 2"):
            list(lines)
    else:
        assert list(lines) == ["line\n"]
