"""The systems that there are: where each one's spec, page and recipes stand. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mezzotint.errors import unknown
from mezzotint.types import Card


@dataclass(frozen=True)
class Entry:
    """Where the parts of a system are, as `module:name`."""

    card: str
    spec: str
    system: str
    recipe: str

    def load(self, part: str) -> Any:
        """The object behind one of the four names."""
        module, name = part.split(":")
        return getattr(import_module(module), name)


def _ours(name: str, spec: str, system: str) -> Entry:
    return Entry(
        f"mezzotint.spec.{name}:CARD",
        f"mezzotint.spec.{name}:{spec}",
        f"mezzotint.systems.{name}:{system}",
        f"mezzotint.recipes.{name}:recipe",
    )


CATALOGUE = {
    "ar": _ours("ar", "ARSpec", "AR"),
    "mdlm": _ours("mdlm", "MDLMSpec", "MDLM"),
    "sed": _ours("sed", "SEDSpec", "SED"),
}


def entry(name: str) -> Entry:
    """A system's entry; UsageError with the nearest spelling if there is none of that name."""
    if name not in CATALOGUE:
        raise unknown("system", name, CATALOGUE)
    return CATALOGUE[name]


def cards() -> list[Card]:
    """The cards of all systems, by name."""
    return [e.load(e.card) for _, e in sorted(CATALOGUE.items())]
