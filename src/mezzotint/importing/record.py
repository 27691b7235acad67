"""What an import did: printed by the command, and kept in the run folder as import.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint.spec.mdlm import MDLMSpec

RECORD = "import.json"


@dataclass(frozen=True)
class Imported:
    """A run made from a published checkpoint, and what became of every name in the file.

    No name is ever missing or left over: such a file is refused.
    """

    out: Path
    source: Path
    weights: str
    """Which set of weights, in words."""
    numbers: int
    """How many numbers they are."""
    used: Mapping[str, str]
    """Published names, each with the one that it has here."""
    ignored: Mapping[str, str]
    """Names of the file that were passed over, each with the reason."""
    spec: MDLMSpec
    notes: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The report as text."""
        net = self.spec.net
        time = "told the time" if self.spec.time_conditioning else "not told the time"
        return [
            f"read:      {self.source}, the {self.weights} weights, {self.numbers:,} numbers",
            f"used:      {len(self.used)} names",
            "missing:   none",
            f"ignored:   {self._ignored()}",
            "left over: none",
            f"network:   dim {net.dim}, depth {net.depth}, heads {net.heads}, condition {net.condition}, {time}",
            f"text:      {self.spec.vocab:,} tokens and the mask, {self.spec.canvas:,} in a window{self._framed()}",
            *(f"note:      {note}" for note in self.notes),
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values, as kept in import.json."""
        kept = {"source": str(self.source), "weights": self.weights, "numbers": self.numbers, "used": dict(self.used)}
        return kept | {"missing": [], "ignored": dict(self.ignored), "left_over": [], "notes": list(self.notes)}

    def _ignored(self) -> str:
        """How many names, for which reasons."""
        reasons = list(self.ignored.values())
        return "; ".join(f"{reasons.count(each)} ({each})" for each in dict.fromkeys(reasons)) or "none"

    def _framed(self) -> str:
        return "" if self.spec.frame < 0 else " between two end tokens"
