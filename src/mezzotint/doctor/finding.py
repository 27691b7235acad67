"""The results of an examination. This module imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Verdict(Enum):
    """The result of a check."""

    OK = "ok"
    BAD = "not ok"
    SKIPPED = "not checked"
    """It does not apply to this run, or cannot be made here; the sentence says why."""


@dataclass(frozen=True)
class Finding:
    """One check and its sentence."""

    check: str
    verdict: Verdict
    sentence: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict.value}


class Skip(Exception):
    """Raised by a check that does not apply; the message is its sentence."""


def conclude(passed: bool, if_ok: str, if_bad: str) -> tuple[Verdict, str]:
    """The verdict and the sentence that goes with it."""
    return (Verdict.OK, if_ok) if passed else (Verdict.BAD, if_bad)
