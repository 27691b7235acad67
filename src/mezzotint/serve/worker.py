"""One thread a run: it takes what is waiting, writes what is alike together, and looks between drafts who has gone.

What takes long does not hold up what comes after it: then both go on in turns, a draft each.
Some things are done one by one: what is written from a source, and what is asked of a latent space.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from mezzotint import Draft, MezzotintError, Sample
from mezzotint.serve.one_by_one import drafts_one_by_one
from mezzotint.serve.refusals import Refusal
from mezzotint.serve.settings import Limits

if TYPE_CHECKING:
    from mezzotint import Run, Task


@dataclass(eq=False)
class Job:
    """Texts that somebody waits for."""

    n: int
    work: Mapping[str, Any] | Callable[[Run], Iterable[Any]]
    """Arguments of `Run.task` beside n; or a call that runs by itself, whose last result is no draft."""
    wants_drafts: bool
    """Whether the drafts on the way are wanted."""
    max_unread: int
    """Drafts that may wait to be read."""
    loop: asyncio.AbstractEventLoop
    inbox: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    """Drafts and answers; an exception where there are none."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Nobody waits any longer."""
    is_done: bool = False
    """It has had its last answer."""

    def send(self, result: object, *, last: bool) -> None:
        """From the worker's thread: a draft or an answer, or why there is none."""
        self.is_done |= last
        if last or (self.wants_drafts and self.inbox.qsize() < self.max_unread):
            try:
                self.loop.call_soon_threadsafe(self.inbox.put_nowait, result)
            except RuntimeError:  # the server has stopped meanwhile
                self.cancelled.set()


JobTasks = tuple[Job, "list[Task]"]
"""A job and its texts: in one task, or each in its own."""


@dataclass
class Count:
    """What a worker has done so far."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    evaluations: int = 0


class Worker:
    """Writes for one run; where `is_deterministic`, every text by itself."""

    def __init__(self, run: Run, limits: Limits, is_deterministic: bool = False) -> None:
        self.run = run
        self.limits = limits
        self.is_deterministic = is_deterministic
        self.count = Count()
        self.says = run.says
        self._waiting: deque[Job] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name=f"writer of {run.name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._waiting)

    def put(self, job: Job) -> None:
        """Put a job in the queue; Refusal (429) where that is full."""
        with self._changed:
            if len(self._waiting) >= self.limits.waiting:
                raise Refusal(429, "too many requests are waiting; try again in a second", "queue_full", retry_after=1)
            self._waiting.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Stop after the next draft."""
        with self._changed:
            self._open = False
            self._changed.notify()

    def _work(self) -> None:
        active: list[Iterator[None]] = []
        start = 0.0
        while True:
            late = time.monotonic() - start > self.limits.turn_seconds
            if not active or (late and self._waiting and len(active) < self.limits.turns):
                jobs = self._next_jobs()
                if not jobs and not active:
                    return
                active += self._start(jobs)
                start = time.monotonic()
            active = [steps for steps in active if next(steps, self) is None]

    def _start(self, jobs: Sequence[Job]) -> Iterator[Iterator[None]]:
        """The work on some jobs, each a draft at a time."""
        tasks = self._tasks(jobs)
        for alike in [tasks] if self.is_deterministic else _group_alike(self.run, tasks):
            yield self._write(alike)
        for job in jobs:
            if callable(job.work) and not job.cancelled.is_set():
                yield self._run_alone(job, job.work)

    def _next_jobs(self) -> list[Job]:
        """The next jobs, as many as fit one batch; nothing once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            self._changed.wait_for(lambda: not self._open or self._full, timeout=self.limits.gather_seconds)
            jobs: list[Job] = []
            while self._open and self._waiting:
                if jobs and sum(job.n for job in jobs) + self._waiting[0].n > self.limits.texts:
                    break
                jobs.append(self._waiting.popleft())
            return jobs

    @property
    def _full(self) -> bool:
        return sum(job.n for job in self._waiting) >= self.limits.texts

    def _tasks(self, jobs: Sequence[Job]) -> list[JobTasks]:
        tasks = []
        for job in jobs:
            if not callable(job.work) and not job.cancelled.is_set():
                try:
                    tasks.append((job, self._task(job.n, **job.work)))
                except Exception as error:
                    job.send(_log(error), last=True)
        return tasks

    def _task(self, n: int, template: str | None = None, prefix: str | None = None, **options: Any) -> list[Task]:
        if self.is_deterministic:
            return list(self.run.task_builder.tasks(n, template, prefix, 1, options))
        return [self.run.task(n, template=template, prefix=prefix, **options)]

    def _run_alone(self, job: Job, call: Callable[[Run], Iterable[Any]]) -> Iterator[None]:
        """A job that runs by itself, until it has its answer or nobody waits any longer."""
        try:
            for result in call(self.run):
                job.send(result, last=not isinstance(result, Draft))
                if isinstance(result, list):
                    self._add_counts([item for item in result if isinstance(item, Sample)])
                elif isinstance(result, Draft):
                    self._add_counts(result.samples)
                if job.cancelled.is_set() or not self._open:
                    return
                yield
        except Exception as error:
            job.send(_log(error), last=True)
        else:
            self.count.batches += 1

    def _drafts(self, alike: Sequence[JobTasks]) -> Iterable[Sequence[Draft | None]]:
        """The next draft of each, until all are written or nobody waits; None of one that has had its last."""
        if not self.is_deterministic:
            return self.run.together([task for _, (task,) in alike])
        drafts = (drafts_one_by_one(self.run, tasks) for _, tasks in alike)
        return zip_longest(*(_until_cancelled(job, each) for (job, _), each in zip(alike, drafts, strict=True)))

    def _write(self, alike: Sequence[JobTasks]) -> Iterator[None]:
        """Where several fail together each is tried alone, so that none fails for another's sake."""
        jobs = [job for job, _ in alike]
        try:
            for moment in self._drafts(alike):
                for job, draft in zip(jobs, moment, strict=True):
                    if draft is not None and not job.cancelled.is_set():
                        job.send(draft, last=draft.done)
                        self._add_counts(draft.samples)
                if not self._open or all(job.cancelled.is_set() for job in jobs):
                    return
                yield
        except Exception as error:
            if len(alike) == 1:
                jobs[0].send(_log(error), last=True)
                return
            for job_tasks in alike:
                if not job_tasks[0].is_done:
                    yield from self._write([job_tasks])
        else:
            self.count.batches += 1

    def _add_counts(self, samples: Sequence[Sample]) -> None:
        self.count.rows += len(samples)
        self.count.tokens += sum(len(sample.ids) for sample in samples)
        self.count.evaluations += sum(sample.nfe for sample in samples)


def _until_cancelled(job: Job, drafts: Iterable[Draft]) -> Iterator[Draft]:
    """The drafts of a job for as long as somebody waits for it."""
    for draft in drafts:
        yield draft
        if job.cancelled.is_set():
            return


def _group_alike(run: Run, job_tasks: Sequence[JobTasks]) -> list[list[JobTasks]]:
    groups: dict[Any, list[JobTasks]] = {}
    for job, (task,) in job_tasks:
        groups.setdefault(run.task_builder.batch_key(task), []).append((job, [task]))
    return list(groups.values())


def _log(error: Exception) -> Exception:
    """Returns the error, its traceback logged where it is a fault of ours."""
    if not isinstance(error, MezzotintError):
        traceback.print_exception(error, file=sys.stderr)
    return error
