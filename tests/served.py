"""For tests of the server: a run whose texts are made up, and a real server in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn

import mezzotint
from mezzotint import Draft, Piece, Sample, UsageError
from mezzotint.serve.app import make_app
from mezzotint.serve.server import listen
from mezzotint.serve.settings import Access


@dataclass
class Tape:
    """Stands in for a run: its texts are made up, and come when they are let through."""

    name: str = "tape"
    text: str = "one two"
    gate: threading.Event = field(default_factory=threading.Event)
    frames: int = 3
    fault: Exception | None = None
    together_with: list[int] = field(default_factory=list)
    shown: int = 0
    folder: Path = Path("/nowhere/tape")
    says: Any = field(default_factory=dict)
    card: Any = field(default_factory=lambda: next(card for card in mezzotint.cards() if card.name == "mdlm"))
    config: Any = field(default_factory=lambda: {"data": {}})
    spec: Any = field(default_factory=lambda: SimpleNamespace(canvas=8))
    tokenizer: Any = field(default_factory=lambda: SimpleNamespace(kind="word", encode=str.split))
    task_builder: Any = field(default_factory=lambda: SimpleNamespace(batch_key=lambda task: task[1].get("steps")))

    def task(self, n: int, **how: Any) -> Any:
        if how.get("prefix") == "bad":
            raise UsageError("bad is bad")
        return n, how

    def together(self, tasks: Sequence[Any]) -> Iterator[list[Draft]]:
        self.together_with.append(len(tasks))
        if self.fault is not None and len(tasks) > 1:
            raise self.fault
        if self.fault is not None and tasks[0][1].get("prefix") == "poison":
            raise self.fault
        slow = any(how.get("prefix") == "slow" for _, how in tasks)
        frames = 10_000 if slow else self.frames
        for step in range(frames + 1):
            self.gate.wait(20)
            self.shown += 1
            if slow:
                time.sleep(0.02)
            done = step == frames
            yield [self._draft(step, n, how, done) for n, how in tasks]

    def _draft(self, step: int, n: int, how: dict[str, Any], done: bool) -> Draft:
        pieces = [Piece(f" {word}", place < step, False, 0.5) for place, word in enumerate(self.text.split())]
        begun = f"{how.get('prefix') or ''}{self.text}"
        samples = [Sample(begun, [4, 5], 3, 3, how.get("seed", 0), i) for i in range(n)] if done else []
        return Draft(step, self.frames, [1.0] * n, [pieces] * n, [step] * n, done, samples)


@contextmanager
def answering(runs: Sequence[Any], key: str | None = None) -> Iterator[str]:
    """The address at which a real server answers for some runs."""
    with listen("127.0.0.1", 0) as listening:
        access = Access("127.0.0.1", listening.getsockname()[1], key)
        server = uvicorn.Server(
            uvicorn.Config(make_app(runs, access), http="h11", loop="asyncio", ws="none", log_level="warning")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{access.port}"
        server.should_exit = True
        thread.join(20)
