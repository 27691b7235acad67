"""The processes of one launch: which of them this is, what they tell each other, and how they fail together.

torchrun and `accelerate launch` start one command several times and tell each process its place in the environment.
All of them then do the same calls in the same order. What they tell each other, gradients aside, is small, made of JSON
and goes over gloo on the CPU. The first process alone writes files and speaks; an error on any ends all, told once.

This module imports no torch before processes meet.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from mezzotint.errors import DataError, ElsewhereError, MezzotintError, RunError, UsageError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

P = ParamSpec("P")
T = TypeVar("T")

MEETING = timedelta(minutes=10)
"""How long the processes wait for one another at the start."""
PATIENCE = timedelta(hours=2)
"""How long they wait while the first reads data or writes files. A process that dies is noticed at once."""

# The names of torchrun, then those of mpirun (Intel MPI, Open MPI, MVAPICH), which accelerate starts on CPUs.
_RANK = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
_SIZE = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_LOCAL = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK")


@dataclass(frozen=True)
class Place:
    """Where a process stands in its launch."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Its rank among the processes of this machine: which GPU is its own."""


def launched(environment: Mapping[str, str] = os.environ) -> Place:
    """What the launcher says; a process of its own where there is none. UsageError where that makes no sense."""
    size = _number(environment, _SIZE, 1)
    meeting = {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys()
    if size == 1:
        if meeting and "ACCELERATE_MIXED_PRECISION" in environment and "WORLD_SIZE" not in environment:
            raise UsageError(
                "accelerate was asked for several processes and started one, as it does on CPUs; "
                "use torchrun --nproc-per-node, or accelerate launch --multi_gpu with --device cpu"
            )
        return Place()
    if "WORLD_SIZE" not in environment and not meeting:
        return Place()  # mpirun by itself: processes that know nothing of each other
    rank = _number(environment, _RANK, -1)
    if not meeting or not 0 <= rank < size:
        raise UsageError(
            f"this is one of {size} processes, but RANK, MASTER_ADDR or MASTER_PORT is missing; "
            "launch with torchrun or accelerate, or unset WORLD_SIZE"
        )
    return Place(rank, size, _number(environment, _LOCAL, rank))


def _number(environment: Mapping[str, str], names: Sequence[str], default: int) -> int:
    text = next((environment[name] for name in names if name in environment), str(default))
    if not text.isdigit() and text != str(default):
        raise UsageError(f"{names[0]} must be a whole number, not '{text}'")
    return int(text)


class Team:
    """The processes that work together; by default this one alone, for which every method is as good as nothing.

    Every method but `share` has to be called by all of them, in the same order.
    """

    def __init__(self, here: Place = Place(), group: ProcessGroup | None = None) -> None:
        self.rank, self.size = here.rank, here.size
        self.group = group
        self.met = self.size == 1
        """Whether they have agreed once that nobody failed before they met."""

    @property
    def first(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def share(self, places: range) -> range:
        """This process's part of some places: every place has one owner, and the parts differ by at most one."""
        n = len(places)
        return places[n * self.rank // self.size : n * (self.rank + 1) // self.size]

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes, in float64."""
        return self._reduced(values, "SUM")

    def max(self, values: Sequence[float]) -> list[float]:
        """The largest of each value over the processes."""
        return self._reduced(values, "MAX")

    def broadcast(self, values: Sequence[float]) -> list[float]:
        """The first process's values, for decisions that all have to take alike, such as those by the clock."""
        return self.sum(values if self.first else [0.0] * len(values))

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, which is anything that JSON can hold, by rank."""
        if self.size == 1:
            return [value]
        import torch
        from torch import distributed as dist

        sent = torch.frombuffer(bytearray(json.dumps(value), "ascii"), dtype=torch.uint8)
        most = int(self.max([len(sent)])[0])
        found = torch.full((self.size, most), ord(" "), dtype=torch.uint8)
        padded = torch.full((most,), ord(" "), dtype=torch.uint8)
        padded[: len(sent)] = sent
        dist.all_gather(list(found), padded, group=self.group)
        return [json.loads(bytes(row.tolist())) for row in found]

    def map(self, items: Iterable[T], work: Callable[[T], Any]) -> list[Any]:
        """`work` of every item, in order and known to all; the processes take the items in turn.

        What `work` gives has to be made of JSON.
        """
        if self.size == 1:
            return [work(item) for item in items]
        with self.fail_together():
            mine = [work(item) for i, item in enumerate(items) if i % self.size == self.rank]
        parts = self.gather(mine)
        return [parts[i % self.size][i // self.size] for i in range(sum(map(len, parts)))]

    # ------------------------------------------------------------ failing together

    @contextmanager
    def fail_together(self) -> Iterator[None]:
        """A stretch of work that may fail on some: then no process goes on from here, and one should_report why."""
        error: Exception | None = None
        try:
            yield
        except ElsewhereError:
            raise
        except Exception as caught:
            if self.size == 1:
                raise
            error = caught
        self.exchange_errors(error)

    def exchange_errors(self, error: Exception | None) -> None:
        """Hear which processes failed. Raises this one's error if it is the lowest of them, else ElsewhereError."""
        self.met = True
        sentences = self.gather(None if error is None else f"{error}" or type(error).__name__)
        failed = [rank for rank, sentence in enumerate(sentences) if sentence is not None]
        if not failed:
            return
        if error is not None and failed[0] == self.rank:
            raise error
        raise ElsewhereError(sentences[failed[0]]) from error

    def on_first(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """What only the first process does; the others wait until it is done, and fail where it fails."""
        with self.fail_together():
            return work(*args, **kwargs) if self.first else None

    def first_then_rest(self, work: Callable[[], T]) -> T:
        """What every process does, the first before the others: so they find what it leaves in a cache."""
        done: list[T] = []
        for turn in (True, False):
            with self.fail_together():
                if self.first is turn:
                    done.append(work())
        return done[0]

    def check_equal(self, what: str, value: Any) -> None:
        """DataError unless all have the same value, which has to be made of JSON."""
        if len({json.dumps(each) for each in self.gather(value)}) > 1:
            raise self.shared_error(
                DataError(f"the processes of this launch have different {what}; give all the same files")
            )

    def shared_error(self, error: MezzotintError) -> MezzotintError:
        """An error that all processes meet at the same place, to be raised: the first tells it."""
        return error if self.first else ElsewhereError(str(error))

    @contextmanager
    def connected(self, advice: str) -> Iterator[None]:
        """RunError instead of the library's own where another process has gone; `advice` says what to do then."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _speaks_of_connections(error):
                raise
            sentence = f"process {self.rank} of {self.size} lost the others ({_line(error)}); {advice}"
            raise RunError(sentence) from error

    def _reduced(self, values: Sequence[float], how: str) -> list[float]:
        if self.size == 1:
            return list(values)
        import torch
        from torch import distributed as dist

        reduced = torch.tensor([float(value) for value in values], dtype=torch.float64)
        dist.all_reduce(reduced, getattr(dist.ReduceOp, how), group=self.group)
        return reduced.tolist()


ALONE = Team()
_met: list[Team | None] = []
"""The one team of this program once it has been called together; None where that failed."""


def join() -> Team:
    """Meet the other processes of this launch, once; this process alone where it was not launched as one of many.

    In a script that torchrun starts, call this and hand the team to `load` and `evaluate_run`, which then share their
    work; all processes have to make the same calls. `train` and `resume` do so by themselves. UsageError where the
    processes do not find each other.
    """
    here = launched()
    if here.size == 1:
        return ALONE
    if not _met:
        _met.append(None)
        _met[0] = _meet(here)
    if _met[0] is None:
        raise UsageError("the processes of this launch could not meet")
    return _met[0]


def is_first() -> bool:
    """Whether this process speaks for its launch; no torch is loaded to find out."""
    try:
        return launched().rank == 0
    except UsageError:
        return True


def should_report(error: MezzotintError) -> bool:
    """Whether this process is the one to tell of an error, so that a launch of many tells it once."""
    if isinstance(error, ElsewhereError):
        return False
    try:
        alone = launched().size == 1
    except UsageError:
        return True
    if alone or (_met and (_met[0] is None or _met[0].met)):
        return True
    # Before they met, the others may fail alike or wait for this one: their first word to each other is on failures.
    try:
        join().exchange_errors(error)
    except ElsewhereError:
        return False
    except MezzotintError:
        return True
    return True


def _meet(here: Place) -> Team:
    import torch
    from torch import distributed as dist

    if not dist.is_available() or not dist.is_gloo_available():
        raise UsageError("this build of torch has no gloo, by which processes talk; run one process")
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        if not dist.is_initialized():
            both = torch.cuda.is_available() and dist.is_nccl_available()
            backend = "cpu:gloo,cuda:nccl" if both else "gloo"
            dist.init_process_group(backend, rank=here.rank, world_size=here.size, timeout=MEETING)
            atexit.register(_leave)
        return Team(here, dist.new_group(backend="gloo", timeout=PATIENCE))
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"{here.size} processes did not meet at {where} ({_line(error)})") from error


def _leave() -> None:
    from torch import distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def _speaks_of_connections(error: RuntimeError) -> bool:
    from torch import distributed as dist

    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in ("gloo", "nccl", "peer"))


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
