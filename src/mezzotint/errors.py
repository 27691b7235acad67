"""Everything that can go wrong, as a tree.

    MezzotintError            a sentence for the person at the keyboard: what was wrong, where, what would be right
    ├── UsageError            a flag, field, option or template that cannot be understood
    ├── DataError             a file of text that cannot be read or used
    ├── RunError              a run folder that is missing, damaged, or made for something else
    ├── HubError              a hub that cannot be reached, or does not give or take what it was asked to
    ├── CapabilityError       a system was asked for something it cannot do
    └── ElsewhereError        another process of the same launch failed, and tells why

The command line prints the sentence and exits with status 2; nothing in this tree is ever shown as a traceback.
Broken invariants of our own are `assert`s, not members of this tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

MOST = 30
"""Names that an error lists."""


class MezzotintError(Exception):
    """Base of all errors that a user can cause and can mend."""


class UsageError(MezzotintError):
    """A flag, field, option or template that cannot be understood."""


class DataError(MezzotintError):
    """A file of text that cannot be read or used."""


class RunError(MezzotintError):
    """A run folder that is missing, damaged, or made for something else."""


class HubError(MezzotintError):
    """A hub that cannot be reached, or does not give or take what it was asked to."""


class CapabilityError(MezzotintError):
    """A system was asked for something that its card does not list."""


class ElsewhereError(MezzotintError):
    """Another process of the same launch failed, and tells why; the message is its sentence."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not among `known`, with the nearest spelling if there is one near.

    >>> str(unknown("size", "smal", ["tiny", "small", "base"]))
    "unknown size 'smal'; did you mean 'small'?"
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {few(names, MOST)}"
    return UsageError(f"unknown {kind} '{name}'; {hint}")


def few(names: Sequence[str], most: int = 8) -> str:
    """The first of some names, and how many there are beside: what a sentence has room for.

    >>> few(["a", "b", "c", "d"], most=2)
    'a, b and 2 others'
    """
    return f"{', '.join(names[:most])} and {len(names) - most} others" if len(names) > most + 1 else ", ".join(names)
