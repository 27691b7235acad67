"""The signals that ask a training to end: it saves what it has and stops between two steps."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """The numbers of the signals that asked the run to end; a second one ends it at once."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    handlers: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # only the main thread may set handlers; elsewhere the caller stops the run
        handlers = {number: signal.signal(number, catch) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
