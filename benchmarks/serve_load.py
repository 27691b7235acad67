"""`serve-load`: the server under 1, 8 and 32 clients, batching or not, over time, killed, and with a full queue.

    python -m benchmarks.serve_load RUN [--clients 1 8 32] [--seconds 60] [--minutes 10] [--steps 16]

Every client asks for one text, waits for it and asks for the next, through one connection that it keeps. `success` is
the share of requests that were answered with a text: whoever is told that the queue is full (429) comes again, which
counts as one request. `batching=off` writes one text at a time. For `rss_growth_mb` 8 clients ask for --minutes.
`killed=yes` kills the server (SIGKILL) under 8 clients and starts it anew: `success` is the share of the requests sent
after it answered again. `burst=256` is what becomes of so many requests at once: all are answered with a text or 429.
The clients are one process of the same machine, and take time of it. A trial: --clients 4 --seconds 4 --minutes 0 --dry
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx

BURST = 256
CROWD = 8
"""Clients where their number is not the question."""


@dataclass
class Seen:
    """What some clients met with."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """By status, or by the name of the error where there was no answer."""
    sent: list[tuple[float, bool]] = field(default_factory=list)
    """When each request was sent, and whether a text came of it."""
    restarted: float = 0.0
    """When the server was there again, where it was killed."""
    memory: list[tuple[float, float]] = field(default_factory=list)
    """When, and the server's resident memory in MB."""

    @property
    def success(self) -> float:
        counted = [ok for at, ok in self.sent if at >= self.restarted]
        return sum(counted) / max(1, len(counted))


class Server:
    """A server in a process of its own, on a port that stays the same."""

    def __init__(self, run: Path, batching: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.command = [sys.executable, "-m", "benchmarks.serve_load", str(run), "--serve", str(self.port)]
        self.command += [] if batching else ["--alone"]
        self.model = run.name
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.process = subprocess.Popen(self.command)
        ends = time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{self.address}/healthz").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if time.monotonic() > ends or self.process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.1)

    def memory(self) -> float:
        """Resident memory in MB (10⁶ bytes)."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def served(run: Path, batching: bool = True) -> Iterator[Server]:
    server = Server(run, batching)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


async def client(server: Server, number: int, ends: float, steps: int, seen: Seen) -> None:
    """One who asks for a text after another until it is time."""
    async with httpx.AsyncClient(base_url=server.address, timeout=90, verify=False) as http:
        text = 0
        while time.monotonic() < ends:
            body = {"model": server.model, "seed": 100_000 * number + text, "steps": steps}
            since, ok = time.monotonic(), False
            try:
                while (answer := await http.post("/v1/completions", json=body)).status_code == 429:
                    seen.answers["429"] += 1
                    await asyncio.sleep(float(answer.headers["Retry-After"]))
                seen.answers[str(answer.status_code)] += 1
                ok = answer.status_code == 200 and len(answer.json()["choices"]) == 1
            except httpx.TransportError as error:
                seen.answers[type(error).__name__] += 1
                await asyncio.sleep(0.1)
            seen.sent.append((since, ok))
            if ok:
                seen.latencies.append(time.monotonic() - since)
            text += 1


async def crowd(server: Server, clients: int, seconds: float, steps: int, kill: bool = False) -> Seen:
    """So many clients for so long; the server is killed after a third of it where that is asked for."""
    seen, since = Seen(), time.monotonic()
    asking = [asyncio.create_task(client(server, i, since + seconds, steps, seen)) for i in range(clients)]
    while not all(task.done() for task in asking):
        if kill and time.monotonic() > since + seconds / 3:
            kill = False
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            await asyncio.to_thread(server.start)
            seen.restarted = time.monotonic()
        if server.process.poll() is None:
            seen.memory.append((time.monotonic() - since, server.memory()))
        await asyncio.sleep(0.5)
    await asyncio.gather(*asking)
    seen.seconds = time.monotonic() - since
    return seen


async def burst(server: Server, steps: int) -> Counter[str]:
    """What so many requests at once are answered with."""
    limits = httpx.Limits(max_connections=BURST)
    async with httpx.AsyncClient(base_url=server.address, timeout=90, limits=limits, verify=False) as http:
        bodies = [{"model": server.model, "seed": seed, "steps": steps} for seed in range(BURST)]
        answers = await asyncio.gather(*(http.post("/v1/completions", json=body) for body in bodies))
    return Counter(str(answer.status_code) for answer in answers)


def growth(seen: Seen) -> float:
    """MB between the second fifth of the time, when all is warm, and the last."""
    fifths = [[mb for at, mb in seen.memory if int(5 * at / seen.seconds) == fifth] for fifth in (1, 4)]
    return median(fifths[1]) - median(fifths[0])


def measured(run: Path, asked: argparse.Namespace) -> Iterator[tuple[dict[str, Any], int, float, Seen | None]]:
    """(what is special, clients, value of `success`, what was seen) of each measurement."""
    for batching in (True, False):
        with served(run, batching) as server:
            asyncio.run(crowd(server, CROWD, min(5.0, asked.seconds), asked.steps))  # to be warm
            for clients in asked.clients:
                seen = asyncio.run(crowd(server, clients, asked.seconds, asked.steps))
                yield {"batching": "on" if batching else "off", "clients": clients}, clients, seen.success, seen
    with served(run) as server:
        answers = asyncio.run(burst(server, asked.steps))
        print(f"{BURST} at once: {dict(answers)}", flush=True)
        yield {"burst": BURST}, BURST, (answers["200"] + answers["429"]) / BURST, None
        seen = asyncio.run(crowd(server, CROWD, max(asked.seconds, 15), asked.steps, kill=True))
        yield {"killed": "yes"}, CROWD, seen.success, seen
    if asked.minutes:
        with served(run) as server:
            seen = asyncio.run(crowd(server, CROWD, 60 * asked.minutes, asked.steps))
            yield {"minutes": f"{asked.minutes:g}"}, CROWD, seen.success, seen


def serve(run: Path, port: int, alone: bool) -> None:
    """What the server's process does."""
    import mezzotint
    from mezzotint.serve.settings import Limits

    limits = Limits(texts=1, gather_seconds=0) if alone else Limits()
    mezzotint.serve_runs([run], port=port, limits=limits, ready=lambda _: None)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--dry", action="store_true", help="print, and keep no rows")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.serve is not None:
        serve(asked.run, asked.serve, asked.alone)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and no server stays behind
    import mezzotint
    from benchmarks.rows import Row, record, variant

    system = str(mezzotint.check_run(asked.run)["system"])
    for special, clients, success, seen in measured(asked.run, asked):
        values: dict[str, float] = {"success": success}
        if seen is not None and len(seen.latencies) > 1:
            cuts = quantiles(seen.latencies, n=20)
            values["sentences_per_second"] = len(seen.latencies) / seen.seconds
            values |= {"latency_p50_ms": 1000 * median(seen.latencies), "latency_p95_ms": 1000 * cuts[-1]}
            if "minutes" in special:
                values["rss_growth_mb"] = growth(seen)
        if seen is not None:
            print(dict(seen.answers), end=" ")
        print(variant(special), ", ".join(f"{name} {value:.4g}" for name, value in values.items()), flush=True)
        n = BURST if seen is None else len(seen.sent)
        options = {"variant": variant(special), "n": n, "steps": asked.steps, "batch": clients}
        if not asked.dry:
            record(
                Row(benchmark="serve-load", system=system, metric=name, value=value, seed=0, **options)
                for name, value in values.items()
            )


if __name__ == "__main__":
    main()
