"""The signals that ask a training to end: it saves what it has and stops between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def asked_to_end() -> Iterator[list[int]]:
    """The numbers of the signals that asked the run to end; a second one ends it at once."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # only the main thread may set handlers; elsewhere the caller stops the run
        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
