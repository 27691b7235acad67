"""The settings of a generation, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from types import NoneType
from typing import Any

from mezzotint.errors import UsageError, unknown
from mezzotint.guidance.choose import ControlRanking
from mezzotint.spec.base import member
from mezzotint.spec.wanted import Wanted
from mezzotint.types import Decoder, Steering, Towards, Update

CANDIDATES = 8
"""Texts that are written for each one that is chosen."""


@dataclass(frozen=True)
class Settings:
    """How texts are to be generated."""

    steps: int = 32
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    decoder: Decoder = Decoder.EXACT
    threshold: float | None = None
    strength: float | None = None
    length: int | None = None
    block: int | None = None
    reuse: bool = False
    guidance: float = 1.0
    carry_guided: bool = True
    guide: Towards = Towards.NOTHING
    wanted: Wanted = field(default_factory=Wanted)
    steering: Steering = field(default_factory=Steering)
    hard: bool = True
    soft: bool = True
    chosen: bool = False
    """Whether one of several texts will be chosen, so that nothing has to lead towards what is wanted."""

    @classmethod
    def checked(cls, how: Mapping[str, Any]) -> Settings:
        """From keyword arguments; unknown names and values out of range are refused."""
        for name in how:
            if name not in cls.__dataclass_fields__:
                raise unknown("argument", name, cls.__dataclass_fields__)
        decoder = member(Decoder, "decoder", how.get("decoder", Decoder.EXACT))
        guide = member(Towards, "guide", how["guide"]) if how.get("guide") is not None else Towards.NOTHING
        settings = cls(**{**how, "decoder": decoder, "guide": guide})
        for name, kinds, word in (
            ("steps", int, "a whole number"),
            ("seed", int, "a whole number"),
            ("temperature", (int, float), "a number"),
            ("top_p", (int, float), "a number"),
            ("threshold", (int, float, NoneType), "a number"),
            ("strength", (int, float, NoneType), "a number"),
            ("length", (int, NoneType), "a whole number"),
            ("block", (int, NoneType), "a whole number"),
            ("reuse", bool, "True or False"),
            ("guidance", (int, float), "a number"),
            ("carry_guided", bool, "True or False"),
            ("wanted", Wanted, "a Wanted"),
            ("steering", Steering, "a Steering"),
            ("hard", bool, "True or False"),
            ("soft", bool, "True or False"),
            ("chosen", bool, "True or False"),
        ):
            value = getattr(settings, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
                raise UsageError(f"{name} must be {word}, not {value!r}")
        for holds, sentence in (
            (settings.steps >= 1, f"steps must be at least 1, not {settings.steps}"),
            (0 <= settings.temperature < inf, f"temperature must be at least 0, not {settings.temperature}"),
            (1 >= settings.top_p > 0, f"top_p must be above 0 and at most 1, not {settings.top_p}"),
            ((settings.threshold or 0) >= 0, f"threshold must be at least 0, not {settings.threshold}"),
            (0 <= settings.guidance <= 100, f"guidance must be from 0 to 100, not {settings.guidance}"),
            (0 <= (settings.strength or 0) <= 1, f"strength must be from 0 to 1, not {settings.strength}"),
        ):
            if not holds:
                raise UsageError(sentence)
        _check_steering(settings.steering)
        return settings


def _check_steering(steering: Steering) -> None:
    """UsageError unless texts can be moved so."""
    if not isinstance(steering.update, Update):
        raise UsageError(f"steering.update must be an Update, not {steering.update!r}")
    for name, kinds, word in (
        *((name, int, "a whole number") for name in ("updates", "top_k")),
        *((name, int | float, "a number") for name in ("rate", "fluency", "strength", "t_min", "t_max")),
    ):
        value = getattr(steering, name)
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise UsageError(f"steering.{name} must be {word}, not {value!r}")
    for holds, sentence in (
        (steering.updates >= 1, f"updates must be at least 1, not {steering.updates}"),
        (steering.top_k >= 0, f"top_k must not be negative, not {steering.top_k}"),
        (0 < steering.rate < inf, f"rate must be above 0, not {steering.rate}"),
        (0 <= steering.fluency < inf, f"fluency must be at least 0, not {steering.fluency}"),
        (0 <= steering.strength <= 100, f"strength must be from 0 to 100, not {steering.strength}"),
        (
            0 <= steering.t_min < steering.t_max <= 1,
            "t_min and steering.t_max are times, the first the less, both from 0 to 1, not "
            f"{steering.t_min} and {steering.t_max}",
        ),
    ):
        if not holds:
            raise UsageError(f"steering.{sentence}")


def check_choice(choose: str, candidates: int, wanted: object) -> ControlRanking:
    """How one of several texts is chosen; UsageError unless there is something to choose by."""
    ranking = member(ControlRanking, "way to choose", choose)
    if type(candidates) is not int or candidates < 1:
        raise UsageError(f"candidates must be a whole number of at least 1, not {candidates!r}")
    if not isinstance(wanted, Wanted) or not wanted.is_anything:
        raise UsageError("nothing is wanted that a text could be chosen for; say what with wanted")
    return ranking
