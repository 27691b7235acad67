"""Trainings of benchmarks in pieces: each call goes on from where the last one left, and stops where its time is up."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator
from typing import Any


def follow(name: str, records: Iterable[Any], until: float) -> Iterator[Any]:
    """The records of a training, told in a line where held-out texts are scored; SystemExit where `until` comes first.

    `until` is a moment of time.monotonic(); what is done by then is saved, to the step.
    """
    ending = False
    for record in records:
        if record.valid is not None:
            print(f"{name}: {record.fraction:.0%}, held-out bound {record.valid:.4f}", flush=True)
        yield record
        if record.stopped is not None:
            raise SystemExit(f"{name}: {record.fraction:.0%} trained; call again to go on")
        if time.monotonic() > until and not ending and record.note is None:  # notes come before anybody listens
            ending = True
            signal.raise_signal(signal.SIGTERM)  # which saves what there is, to the step
