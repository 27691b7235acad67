"""The claims: each with its expected figure, its tolerance, and the runs that it takes.

All of them stand on the bundled corpus and its judge, so that an installed package can check them without the
repository (docs/decisions/0022). Expected values are those of seed 0; a second seed lies within seven tenths of every
tolerance (`reproduce` in docs/results.md). This module imports no torch, so that the list is shown at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from math import isfinite
from typing import Any, TypeAlias

from mezzotint.errors import UsageError, unknown
from mezzotint.spec.base import Size


@dataclass(frozen=True)
class Training:
    """A run on the bundled corpus that claims stand on."""

    system: str
    steps: int | None = None
    minutes: float | None = None
    batch: int = 32
    settings: Mapping[str, str] = field(default_factory=dict)
    teacher: str = ""
    """The run, by its name here, that it is a student of."""

    def command(self, name: str) -> str:
        """How it is made at the command line."""
        verb = f"distill runs/{self.teacher}" if self.teacher else f"train {self.system} --data bistro"
        duration = f"--max-steps {self.steps}" if self.steps else f"--minutes {self.minutes:g}"
        settings = "".join(f" --set {key}={value}" for key, value in self.settings.items())
        return f"mezzotint {verb} --out runs/{name} {duration} --batch-size {self.batch}{settings}"


RUNS: Mapping[str, Training] = {
    "mdlm": Training("mdlm", steps=800, settings={"validations": "1"}),
    "ar": Training("ar", steps=500, settings={"validations": "1"}),
    "sed": Training("sed", steps=300, settings={"validations": "1"}),
    "cut": Training("mdlm", steps=16, batch=8, settings={"dim": "32", "depth": "1", "heads": "2", "validations": "1"}),
    "mdlm-long": Training("mdlm", minutes=10),
    "ar-long": Training("ar", minutes=10),
}
"""The runs by their names; each is made once for all claims of a call."""


@dataclass(frozen=True)
class OfData:
    """A score of the held-out texts themselves."""

    metric: str


@dataclass(frozen=True)
class Bound:
    """Nats a token that a run's bound gives the held-out texts."""

    run: str


@dataclass(frozen=True)
class Written:
    """A score of texts that a run writes in so many steps; None: as `evaluate` has it."""

    run: str
    metric: str
    steps: int = 32


@dataclass(frozen=True)
class Calls:
    """Network evaluations a text, in so many steps."""

    run: str
    steps: int


@dataclass(frozen=True)
class Faster:
    """Seconds of the published sampler, written out naively, over those of ours, with the same network and steps."""

    run: str
    steps: int


@dataclass(frozen=True)
class Resumed:
    """Share of a run's weights that are equal to the bit, whether it was interrupted and resumed or not."""

    run: str


Figure: TypeAlias = OfData | Bound | Written | Calls | Faster | Resumed


class Passes(Enum):
    """Which figures pass: near the expected value, or any above or below it."""

    NEAR = "within"
    ABOVE = "at least"
    BELOW = "at most"


@dataclass(frozen=True)
class Claim:
    """A statement, and the figure that has to be measured for it to hold."""

    name: str
    says: str
    figure: Figure
    expected: float
    tolerance: float
    passes: Passes = Passes.NEAR
    size: Size = Size.TINY
    """What it takes to check: tiny, minutes on two cores; small, a quarter of an hour each."""
    hardware: str = "2 cores, any processor"

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs that it takes, in the order in which they are made."""
        if isinstance(self.figure, OfData):
            return ()
        teacher = RUNS[self.figure.run].teacher
        return (*([teacher] if teacher else []), self.figure.run)

    @property
    def commands(self) -> list[str]:
        """How its runs are made by hand, and the command that does all of it."""
        return [*(RUNS[name].command(name) for name in self.runs), f"mezzotint reproduce {self.name}"]

    def to_json(self) -> dict[str, Any]:
        derived = {"passes": self.passes.value, "size": self.size.value, "commands": self.commands}
        return asdict(self) | {"figure": {"kind": type(self.figure).__name__} | asdict(self.figure)} | derived

    def holds(self, value: float) -> bool:
        """Whether a figure passes; one that is not finite never does."""
        deviation = value - self.expected
        allowed = {
            Passes.NEAR: abs(deviation) <= self.tolerance,
            Passes.ABOVE: deviation >= -self.tolerance,
            Passes.BELOW: deviation <= self.tolerance,
        }
        return isfinite(value) and allowed[self.passes]

    @property
    def range(self) -> str:
        """What passes, in words."""
        low, high = (f"{self.expected + sign * self.tolerance:.4g}" for sign in (-1, 1))
        return {
            Passes.NEAR: f"{low} to {high}",
            Passes.ABOVE: f"at least {low}",
            Passes.BELOW: f"at most {high}",
        }[self.passes]


MEASURED_ON = "1 core of an Intel Xeon at 2.5 GHz, or faster"
"""Where a training is as long as a clock says, a slower machine comes less far."""

CLAIMS: tuple[Claim, ...] = (
    Claim("data-judged", "The judge that comes with the package finds 1,000 held-out texts this surprising, nats a "
          "judge token.", OfData("judge_nll"), 1.609, 0.002),
    Claim("data-entropy", "So varied are the words inside a held-out text, in nats.", OfData("entropy_words"),
          2.554, 0.001),
    Claim("resume", "A run that is cut off and continued ends with the weights of one that was not, to the bit.",
          Resumed("cut"), 1.0, 0.0, Passes.ABOVE),
    Claim("mdlm-bound", "mdlm's bound on held-out texts after 800 steps, nats a token.", Bound("mdlm"), 2.045, 0.08),
    Claim("mdlm-accepted", "The share of its texts that the grammar accepts then.",
          Written("mdlm", "valid_share"), 0.055, 0.04),
    Claim("exact-calls", "The exact sampler asks the network so often for a text, where 64 steps are asked for.",
          Calls("mdlm", 64), 12.76, 0.3),
    Claim("exact-faster", "It writes so many times as fast as the published sampler written out naively, with the same "
          "network, in 64 steps.", Faster("mdlm", 64), 5.7, 3.0, Passes.ABOVE),
    Claim("ar-bound", "ar's exact likelihood of held-out texts after 500 steps, nats a token.",
          Bound("ar"), 1.659, 0.04),
    Claim("ar-accepted", "The share of its texts that the grammar accepts then.",
          Written("ar", "valid_share"), 0.582, 0.12),
    Claim("sed-bound", "sed's bound on held-out texts after 300 steps, nats a token.",
          Bound("sed"), 3.489, 0.6),
    Claim("mdlm-ten-minutes", "mdlm's bound on held-out texts after ten minutes, nats a token.",
          Bound("mdlm-long"), 1.687, 0.06, Passes.BELOW, Size.SMALL, MEASURED_ON),
    Claim("mdlm-ten-minutes-accepted", "The share of its texts that the grammar accepts then, written in 64 steps.",
          Written("mdlm-long", "valid_share", 64), 0.463, 0.08, Passes.ABOVE, Size.SMALL, MEASURED_ON),
    Claim("ar-ten-minutes", "ar's exact likelihood of held-out texts after ten minutes, nats a token.",
          Bound("ar-long"), 1.634, 0.05, Passes.BELOW, Size.SMALL, MEASURED_ON),
    Claim("ar-ten-minutes-accepted", "The share of its texts that the grammar accepts then.",
          Written("ar-long", "valid_share"), 0.896, 0.05, Passes.ABOVE, Size.SMALL, MEASURED_ON),
)  # fmt: skip


def check_claims(names: Sequence[str] = (), size: str | None = None) -> list[Claim]:
    """The claims of these names, all where there are none, as far as they are of that size.

    UsageError for a name that is unknown, with the nearest spelling, or where nothing is left.
    """
    known = {claim.name: claim for claim in CLAIMS}
    for name in names:
        if name not in known:
            raise unknown("claim", name, known)
    named = [known[name] for name in names] or list(CLAIMS)
    selected = [claim for claim in named if size is None or claim.size.value == size]
    if not selected:
        raise UsageError(f"none of these claims is of size '{size}'; `mezzotint reproduce --list` says what they take")
    return selected
