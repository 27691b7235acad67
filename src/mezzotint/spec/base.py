"""What every spec can do: validate, be written as JSON, be read back strictly, take settings as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import Enum
from math import isfinite
from typing import Any, Self, TypeVar, get_type_hints

from mezzotint.errors import UsageError, unknown

LARGEST = 2**53
"""The greatest whole number that every reader of JSON reads as it was written."""
WIDEST = 2**16
"""Of vectors of tokens."""
LONGEST = 10**6
"""Steps of a discrete chain of noise."""

E = TypeVar("E", bound=Enum)


def member(kind: type[E], what: str, name: object) -> E:
    """The member with that value; UsageError, which says `what` it should be, with the nearest spelling.

    >>> member(Size, "size", "tiny")
    <Size.TINY: 'tiny'>
    """
    try:
        return kind(name)
    except ValueError:
        raise unknown(what, str(name), [str(each.value) for each in kind]) from None


class Size(Enum):
    """The one dial: width, depth, canvas, batch and learning rate follow from it."""

    TINY = "tiny"
    SMALL = "small"
    BASE = "base"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Base of all specs: a frozen record of plain values, enums and other specs."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if kind is float and type(value) is int:
                object.__setattr__(self, name, float(value))
            elif type(value) is not kind:
                raise UsageError(f"{name} must be {_word(kind)}, not {value!r}")
        self.validate()
        for f in fields(self):
            value = getattr(self, f.name)
            # No JSON holds the first two, and no tensor's size the last.
            if (type(value) is float and not isfinite(value)) or (type(value) is int and abs(value) > LARGEST):
                raise UsageError(f"{f.name} must be a number of ordinary size, not {value}")

    def validate(self) -> None:
        """Raise UsageError where fields contradict each other."""
        return

    @property
    def pads_inside(self) -> bool:
        """Whether padding can stand between the tokens of a text, where it means nothing."""
        return False

    def to_json(self) -> dict[str, Any]:
        """Plain values only: enums by their value, specs as objects."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The spec with these fields; unknown ones are refused with the nearest spelling."""
        hints = get_type_hints(cls)
        for name in values:
            if name not in hints:
                raise unknown("setting", name, hints)
        return cls(**{name: _from_plain(name, hints[name], value) for name, value in values.items()})

    @classmethod
    def settings(cls) -> list[str]:
        """The names that `with_settings` takes: the fields of this spec and of the specs in it."""
        names: list[str] = []
        for name, kind in get_type_hints(cls).items():
            names += kind.settings() if issubclass(kind, Spec) else [name]
        return names

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """A copy with fields set from text, as in `--set depth=6`; a name reaches into the specs in this one."""
        for name in settings:
            if name not in self.settings():
                raise unknown("setting", name, self.settings())
        changes: dict[str, Any] = {}
        for name, kind in get_type_hints(type(self)).items():
            if issubclass(kind, Spec):
                inner = {k: v for k, v in settings.items() if k in kind.settings()}
                changes[name] = getattr(self, name).with_settings(inner)
            elif name in settings:
                changes[name] = _from_text(name, kind, settings[name])
        return replace(self, **changes)


def _word(kind: type) -> str:
    if issubclass(kind, Enum):
        return "one of " + ", ".join(str(m.value) for m in kind)
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(kind, kind.__name__)


def _plain(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_json()
    return value.value if isinstance(value, Enum) else value


def _from_plain(name: str, kind: type, value: Any) -> Any:
    if issubclass(kind, Spec):
        return kind.from_json(value)
    return member(kind, name, value) if issubclass(kind, Enum) else value


def _from_text(name: str, kind: type, text: str) -> Any:
    if issubclass(kind, Enum):
        return _from_plain(name, kind, text)
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{name} must be true or false, not '{text}'")
        return text.lower() == "true"
    parse: Any = kind
    try:
        return parse(text)
    except ValueError:
        raise UsageError(f"{name} must be {_word(kind)}, not '{text}'") from None
