"""All systems, built in and of installed packages: where each one's card, spec, class and recipe are.

A package offers a system by an entry point of the group `mezzotint.systems` whose value is an `Entry`. A faulty one is
reported in a sentence and hides none of the others. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mezzotint.errors import UsageError, unknown
from mezzotint.types import Card

GROUP = "mezzotint.systems"


@dataclass(frozen=True)
class Entry:
    """Where the parts of a system are, as `module:name`; the card's module should load no torch."""

    card: str
    spec: str
    system: str
    recipe: str

    def load(self, part: str) -> Any:
        """The object behind one of the four names."""
        module, name = part.split(":")
        return getattr(import_module(module), name)


def _builtin(name: str, spec: str, system: str) -> Entry:
    module = name.replace("-", "_")
    return Entry(
        f"mezzotint.spec.{module}:CARD",
        f"mezzotint.spec.{module}:{spec}",
        f"mezzotint.systems.{module}:{system}",
        f"mezzotint.recipes.{module}:recipe",
    )


CATALOGUE = {
    "adavae": _builtin("adavae", "AdaVAESpec", "AdaVAE"),
    "ar": _builtin("ar", "ARSpec", "AR"),
    "ar-seq2seq": _builtin("ar-seq2seq", "ARSeq2SeqSpec", "ARSeq2Seq"),
    "cmlm": _builtin("cmlm", "CMLMSpec", "CMLM"),
    "difformer": _builtin("difformer", "DifformerSpec", "Difformer"),
    "didi-instruct": _builtin("didi-instruct", "DiDiSpec", "DiDiInstruct"),
    "diffusion-lm": _builtin("diffusion-lm", "DiffusionLMSpec", "DiffusionLM"),
    "duo": _builtin("duo", "DuoSpec", "Duo"),
    "mdlm": _builtin("mdlm", "MDLMSpec", "MDLM"),
    "qe-cdlm": _builtin("qe_cdlm", "QECDLMSpec", "QECDLM"),
    "rnn-vae": _builtin("rnn-vae", "RNNVAESpec", "RNNVAE"),
    "sed": _builtin("sed", "SEDSpec", "SED"),
}
"""The built-in ones. They are no entry points, so that they are there wherever the source is, installed or not."""


def entry(name: str) -> Entry:
    """A system's entry; UsageError, with its fault or the nearest spelling, if there is none."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    offered, faults = plugins()
    for fault in faults:
        if fault.name == name and name not in offered:
            raise UsageError(fault.sentence)
    if name not in offered:
        raise unknown("system", name, CATALOGUE | offered)
    return offered[name]


def cards() -> list[Card]:
    """The cards of all systems, by name."""
    offered, _ = plugins()
    return [e.load(e.card) for _, e in sorted({**offered, **CATALOGUE}.items())]


def plugin_faults() -> list[str]:
    """A sentence for each system of an installed package that is left out."""
    return [fault.sentence for fault in plugins()[1]]


# ---- systems of other packages ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A system that is left out, and why."""

    name: str
    sentence: str


def plugins() -> tuple[dict[str, Entry], list[Fault]]:
    """The systems that installed packages offer, by name, and those that are left out."""
    offered: dict[str, Entry] = {}
    faults: list[Fault] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, _package(point))):
        try:
            offered[point.name] = _load(point, offered)
        except UsageError as error:
            faults.append(Fault(point.name, f"the system '{point.name}' of {_package(point)} {error}"))
    return offered, faults


def _load(point: EntryPoint, taken: Mapping[str, Entry]) -> Entry:
    """The entry behind an entry point; UsageError with the rest of a sentence that begins with the system."""
    if point.name in CATALOGUE:
        raise UsageError("is left out: one of Mezzotint's own has that name, so it needs another")
    if point.name in taken:
        raise UsageError("is left out: another package offers one of that name; uninstall one of them")
    try:
        loaded = point.load()
        card = loaded.load(loaded.card) if isinstance(loaded, Entry) else None
    except Exception as error:  # whatever somebody else's module does when it is loaded
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"cannot be loaded ({reason})") from None
    if not isinstance(loaded, Entry):
        raise UsageError(f"cannot be loaded: {point.value} is no mezzotint.Entry")
    if not isinstance(card, Card) or card.name != point.name:
        raise UsageError(f"cannot be loaded: {loaded.card} is no card of the name '{point.name}'")
    return loaded


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "a package"
