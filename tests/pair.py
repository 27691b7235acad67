"""What a launch of several processes does in the tests: a list of jobs, one after another, in every process alike.

    start(jobs, folder) starts two processes; finish(processes) waits, and gives what each wrote and returned
    python -m tests.pair jobs.json                  is what they run

A job is {"call": words of the command line} or {"play": whether to shard}, a training with two players. `{rank}` in a
word is the process's rank; "at": n does something after the first record from step n on: "leave" the training, send
this process "TERM", or "die" without a word, on the ranks listed in "on".
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.rng import Rng
from mezzotint.spec.training import TrainingSpec
from mezzotint.training import device
from mezzotint.training.loop import Trainer
from mezzotint.training.team import ALONE, Team, join, launched
from mezzotint.types import Canvas, Loss

ROOT = Path(__file__).parents[1]
SIZE = 2


def start(jobs: list[dict[str, Any]], folder: Path) -> list[subprocess.Popen[str]]:
    """Two processes that meet on a free port."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"WORLD_SIZE": str(SIZE), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")])}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tests.pair", "jobs.json"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **meeting, **paths, "RANK": str(r), "LOCAL_RANK": str(r), "OMP_NUM_THREADS": "1"},
        )
        for r in range(SIZE)
    ]  # fmt: skip


def finish(processes: list[subprocess.Popen[str]]) -> list[list[dict[str, Any]]]:
    """What each process tells of each job."""
    try:
        told = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert all(out for out, _ in told), told
    return [[json.loads(line) for line in out.splitlines()] for out, _ in told]


def main() -> None:
    device.multiplies_bf16 = lambda where: False  # as in conftest.py: figures are compared
    for job in json.loads(Path(sys.argv[1]).read_text()):
        told = play(job["play"], join()) if "play" in job else call(job)
        print(json.dumps(told), flush=True)


# ------------------------------------------------------------ commands


def call(job: dict[str, Any]) -> dict[str, Any]:
    """One command as `mezzotint` runs it: its status, its output and what it said."""
    from mezzotint.cli import main as command

    words = [str(word).replace("{rank}", str(launched().rank)) for word in job["call"]]
    join().met = launched().size == 1  # as at the start of a program
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), unillustrated(), meddling(job):
        try:
            status = command.main(words)
        except Left:
            status = None
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


@contextlib.contextmanager
def unillustrated() -> Iterator[None]:
    """Drawing a run's report takes longer than these runs themselves."""
    from mezzotint import course
    from mezzotint.assess import scores

    before = course.report
    course.report = scores.report = lambda run: run
    try:
        yield
    finally:
        course.report = scores.report = before


class Left(Exception):
    """A training was left in the middle, as a kill would."""


@contextlib.contextmanager
def meddling(job: dict[str, Any]) -> Iterator[None]:
    """Do what the job says after a record of a training."""
    from mezzotint.cli import training

    before = training.progress

    def progress(records: Any, console: Any) -> Any:
        return before(watched(records), console)

    def watched(records: Any) -> Iterator[Any]:
        done = False
        for record in records:
            yield record
            if "at" in job and record.step >= job["at"] and not done and launched().rank in job.get("on", [0, 1]):
                done = True
                meddle(job["do"])

    training.progress = progress
    try:
        yield
    finally:
        training.progress = before


def meddle(how: str) -> None:
    if how == "leave":
        raise Left
    if how == "TERM":
        signal.raise_signal(signal.SIGTERM)
    if how == "die":
        os._exit(9)


# ------------------------------------------------------------ two players


class Tower(nn.Module):
    """A network that is not called, but used: its layers, a method, and a weight taken by name."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 15).view(5, 3))
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(2))
        self.scale = nn.Parameter(torch.ones(1))
        self.unused = nn.Parameter(torch.ones(3))
        for name, weight in self.layers.named_parameters():
            nn.init.constant_(weight, 0.1 * (1 + int(name[0])))

    def encode(self, ids: Tensor) -> Tensor:
        h: Tensor = self.table[ids]
        for layer in self.layers:
            h = h + layer(h)
        return h


class Duel:
    """A critic and a student, after rollouts whose number differs from row to row, and so between processes."""

    def __init__(self) -> None:
        self.players = {"critic": Tower(), "student": Tower()}

    def losses(self, batch: Canvas, rng: Rng) -> Iterator[Loss]:
        critic, student = self.players.values()
        with torch.no_grad():
            for _ in range(int(batch.index.sum()) % 4):
                student.encode(batch.ids)
        wanted = rng.at("wanted").uniform(3).float()[:, None]
        error = (critic.encode(batch.ids) * critic.scale - wanted).square().sum()
        yield Loss(error, {"critic": error.detach()}, float(batch.real.sum()), "critic")
        # Two passes through the student's layers, and one through the critic's, whose gradient is nobody's.
        twice = student.encode(batch.ids) + student.encode(batch.ids.flip(1)) @ student.table.T @ student.table
        error = (critic.encode(batch.ids).detach() * twice * student.scale + critic.encode(batch.ids)).square().sum()
        yield Loss(error, {"student": error.detach()}, float(batch.real.sum()), "student")


def play(shard: bool, team: Team = ALONE) -> dict[str, Any]:
    """The players' weights and averages after three steps, and the loss of each."""
    rows, places = 7, 4
    spec = TrainingSpec(batch=rows, lr=0.1, max_steps=3, warmup=0.0, shard=shard, clip=0.5, weight_decay=0.1)
    trainer = Trainer(Duel(), spec, 0, torch.device("cpu"), nullcontext, team=team)  # type: ignore[arg-type]

    def batch(step: int, first: int, count: int) -> Canvas:
        index = torch.arange(first, first + count)
        ids = (index[:, None] * 3 + torch.arange(places) + step) % 5
        real = torch.arange(places) < 2 + index[:, None] % 3
        return Canvas(ids, torch.zeros_like(real), real, index)

    losses = [tick.loss for tick in trainer.run(batch, report_every=0)]
    state = trainer.checkpoint()
    kept = {"weights": state.weights, "ema": state.ema, "optimiser": state.optimiser}
    return {"losses": losses} | {n: {k: v.tolist() for k, v in tensors.items()} for n, tensors in kept.items()}


if __name__ == "__main__":
    main()
