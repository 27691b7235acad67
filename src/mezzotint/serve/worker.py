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
from mezzotint.serve.one_by_one import singly
from mezzotint.serve.refusals import Refusal
from mezzotint.serve.settings import Limits

if TYPE_CHECKING:
    from mezzotint import Run, Task


@dataclass(eq=False)
class Job:
    """Texts that somebody waits for."""

    n: int
    how: Mapping[str, Any] | Callable[[Run], Iterable[Any]]
    """What `Run.task` is told beside n; or what is done by itself, whose last answer is no draft."""
    film: bool
    """Whether the drafts on the way are wanted."""
    patience: int
    """Drafts that may wait to be read."""
    loop: asyncio.AbstractEventLoop
    inbox: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    """Drafts and answers; an exception where there are none."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Nobody waits any longer."""
    over: bool = False
    """It has had its last answer."""

    def tell(self, news: object, *, last: bool) -> None:
        """From the worker's thread: a draft or an answer, or why there is none."""
        self.over |= last
        if last or (self.film and self.inbox.qsize() < self.patience):
            try:
                self.loop.call_soon_threadsafe(self.inbox.put_nowait, news)
            except RuntimeError:  # the server has stopped meanwhile
                self.gone.set()


RequestBody = tuple[Job, "list[Task]"]
"""A job and its texts: in one task, or each in its own."""


@dataclass
class Count:
    """What a worker has done so far."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    evaluations: int = 0


class Worker:
    """Writes for one run; where `apart`, every text by itself."""

    def __init__(self, run: Run, limits: Limits, apart: bool = False) -> None:
        self.run = run
        self.limits = limits
        self.apart = apart
        self.count = Count()
        self.says = run.says
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
        going: list[Iterator[None]] = []
        began = 0.0
        while True:
            late = time.monotonic() - began > self.limits.turn_seconds
            if not going or (late and self._waiting and len(going) < self.limits.turns):
                jobs = self._batch()
                if not jobs and not going:
                    return
                going += self._begun(jobs)
                began = time.monotonic()
            going = [one for one in going if next(one, self) is None]

    def _begun(self, jobs: Sequence[Job]) -> Iterator[Iterator[None]]:
        """What is to be done for some jobs, each a draft at a time."""
        tasks = self._tasks(jobs)
        for alike in [tasks] if self.apart else _alike(self.run, tasks):
            yield self._write(alike)
        for job in jobs:
            if callable(job.how) and not job.gone.is_set():
                yield self._do(job, job.how)

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

    def _tasks(self, jobs: Sequence[Job]) -> list[RequestBody]:
        tasks = []
        for job in jobs:
            if not callable(job.how) and not job.gone.is_set():
                try:
                    tasks.append((job, self._task(job.n, **job.how)))
                except Exception as error:
                    job.tell(_logged(error), last=True)
        return tasks

    def _task(self, n: int, template: str | None = None, prefix: str | None = None, **how: Any) -> list[Task]:
        if self.apart:
            return list(self.run.task_builder.tasks(n, template, prefix, 1, how))
        return [self.run.task(n, template=template, prefix=prefix, **how)]

    def _do(self, job: Job, call: Callable[[Run], Iterable[Any]]) -> Iterator[None]:
        """One that is by itself, until it has its answer or nobody waits any longer."""
        try:
            for news in call(self.run):
                job.tell(news, last=not isinstance(news, Draft))
                if isinstance(news, list):
                    self._counted([one for one in news if isinstance(one, Sample)])
                elif isinstance(news, Draft):
                    self._counted(news.samples)
                if job.gone.is_set() or not self._open:
                    return
                yield
        except Exception as error:
            job.tell(_logged(error), last=True)
        else:
            self.count.batches += 1

    def _drafts(self, alike: Sequence[RequestBody]) -> Iterable[Sequence[Draft | None]]:
        """The next draft of each, until all are written or nobody waits; None of one that has had its last."""
        if not self.apart:
            return self.run.together([task for _, (task,) in alike])
        drafts = (singly(self.run, tasks) for _, tasks in alike)
        return zip_longest(*(_wanted(job, some) for (job, _), some in zip(alike, drafts, strict=True)))

    def _write(self, alike: Sequence[RequestBody]) -> Iterator[None]:
        """Where several fail together each is tried alone, so that none fails for another's sake."""
        jobs = [job for job, _ in alike]
        try:
            for moment in self._drafts(alike):
                for job, draft in zip(jobs, moment, strict=True):
                    if draft is not None and not job.gone.is_set():
                        job.tell(draft, last=draft.done)
                        self._counted(draft.samples)
                if not self._open or all(job.gone.is_set() for job in jobs):
                    return
                yield
        except Exception as error:
            if len(alike) == 1:
                jobs[0].tell(_logged(error), last=True)
                return
            for one in alike:
                if not one[0].over:
                    yield from self._write([one])
        else:
            self.count.batches += 1

    def _counted(self, samples: Sequence[Sample]) -> None:
        self.count.rows += len(samples)
        self.count.tokens += sum(len(sample.ids) for sample in samples)
        self.count.evaluations += sum(sample.nfe for sample in samples)


def _wanted(job: Job, drafts: Iterable[Draft]) -> Iterator[Draft]:
    """The drafts of a job for as long as somebody waits for it."""
    for draft in drafts:
        yield draft
        if job.gone.is_set():
            return


def _alike(run: Run, asked: Sequence[RequestBody]) -> list[list[RequestBody]]:
    found: dict[Any, list[RequestBody]] = {}
    for job, (task,) in asked:
        found.setdefault(run.task_builder.batch_key(task), []).append((job, [task]))
    return list(found.values())


def _logged(error: Exception) -> Exception:
    """The error, with its traceback in the log where it is a fault of ours."""
    if not isinstance(error, MezzotintError):
        traceback.print_exception(error, file=sys.stderr)
    return error
