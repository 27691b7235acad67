"""One thread a run: it takes what is waiting, writes what is alike together, and looks between drafts who has gone."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mezzotint import MezzotintError
from mezzotint.serve.refusals import Refusal
from mezzotint.serve.settings import Limits

if TYPE_CHECKING:
    from mezzotint import Draft, Run, Task


@dataclass(eq=False)
class Job:
    """Texts that somebody waits for."""

    n: int
    how: Mapping[str, Any]
    """What `Run.task` is told beside n."""
    film: bool
    """Whether the drafts on the way are wanted."""
    patience: int
    """Drafts that may wait to be read."""
    loop: asyncio.AbstractEventLoop
    inbox: asyncio.Queue[Draft | BaseException] = field(default_factory=asyncio.Queue)
    gone: threading.Event = field(default_factory=threading.Event)
    """Nobody waits any longer."""

    def tell(self, news: Draft | BaseException, *, last: bool) -> None:
        """From the worker's thread: a draft, or why there is none."""
        if last or (self.film and self.inbox.qsize() < self.patience):
            try:
                self.loop.call_soon_threadsafe(self.inbox.put_nowait, news)
            except RuntimeError:  # the server has stopped meanwhile
                self.gone.set()


@dataclass
class Count:
    """What a worker has done so far."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    evaluations: int = 0


class Worker:
    """Writes for one run."""

    def __init__(self, run: Run, limits: Limits) -> None:
        self.run = run
        self.limits = limits
        self.count = Count()
        self._waiting: deque[Job] = deque()
        self._news = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name=f"writer of {run.name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._waiting)

    def ask(self, job: Job) -> None:
        """Put a job in the queue; Refusal (429) where that is full."""
        with self._news:
            if len(self._waiting) >= self.limits.waiting:
                raise Refusal(429, "too many requests are waiting; try again in a second", "queue_full", retry_after=1)
            self._waiting.append(job)
            self._news.notify()

    def close(self) -> None:
        """Stop after the next draft."""
        with self._news:
            self._open = False
            self._news.notify()

    def _work(self) -> None:
        while jobs := self._batch():
            tasks = self._tasks(jobs)
            for alike in _alike(self.run, tasks):
                self._write(alike)

    def _batch(self) -> list[Job]:
        """The next jobs, as many as fit one batch; nothing once closed."""
        with self._news:
            self._news.wait_for(lambda: self._waiting or not self._open)
            self._news.wait_for(lambda: not self._open or self._full, timeout=self.limits.gather_seconds)
            jobs: list[Job] = []
            while self._open and self._waiting:
                if jobs and sum(job.n for job in jobs) + self._waiting[0].n > self.limits.texts:
                    break
                jobs.append(self._waiting.popleft())
            return jobs

    @property
    def _full(self) -> bool:
        return sum(job.n for job in self._waiting) >= self.limits.texts

    def _tasks(self, jobs: Sequence[Job]) -> list[tuple[Job, Task]]:
        tasks = []
        for job in jobs:
            if not job.gone.is_set():
                try:
                    tasks.append((job, self.run.task(job.n, **job.how)))
                except Exception as error:
                    job.tell(_logged(error), last=True)
        return tasks

    def _write(self, alike: Sequence[tuple[Job, Task]]) -> None:
        """Where several fail together each is tried alone, so that none fails for another's sake."""
        jobs = [job for job, _ in alike]
        try:
            drafts = self.run.together([task for _, task in alike])
            for moment in drafts:
                for job, draft in zip(jobs, moment, strict=True):
                    if not job.gone.is_set():
                        job.tell(draft, last=draft.done)
                if not self._open or all(job.gone.is_set() for job in jobs):
                    return
        except Exception as error:
            if len(alike) == 1:
                jobs[0].tell(_logged(error), last=True)
                return
            for one in alike:
                self._write([one])
        else:
            self._counted(moment)

    def _counted(self, drafts: Sequence[Draft]) -> None:
        samples = [sample for draft in drafts for sample in draft.samples]
        self.count.batches += 1
        self.count.rows += len(samples)
        self.count.tokens += sum(len(sample.ids) for sample in samples)
        self.count.evaluations += sum(sample.nfe for sample in samples)


def _alike(run: Run, tasks: Sequence[tuple[Job, Task]]) -> list[list[tuple[Job, Task]]]:
    found: dict[Any, list[tuple[Job, Task]]] = {}
    for job, task in tasks:
        found.setdefault(run.desk.likeness(task), []).append((job, task))
    return list(found.values())


def _logged(error: Exception) -> Exception:
    """The error, with its traceback in the log where it is a fault of ours."""
    if not isinstance(error, MezzotintError):
        traceback.print_exception(error, file=sys.stderr)
    return error
