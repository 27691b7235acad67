"""A server in this process, until it is stopped."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import mezzotint
from mezzotint import UsageError
from mezzotint.serve.settings import Access, Limits, check_serving


def serve_runs(
    runs: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    insecure: bool = False,
    deterministic: bool = False,
    device: str = "auto",
    limits: Limits | None = None,
    ready: Callable[[str], None] = print,
) -> None:
    """Load some runs and answer for them until interrupted; `ready` is told the address once there is one.

    `deterministic`: every text is written by itself, and a seed gives equal tokens whatever else is asked meanwhile.

    UsageError where the port is taken, or where others could reach the server and neither `key` nor `insecure` is
    given; what `load` raises for the runs.
    """
    check_serving(host, key, insecure, runs)
    import uvicorn

    from mezzotint.serve.app import make_app

    with listen(host, port) as listener:
        access = Access(host, listener.getsockname()[1], key)
        app = make_app(
            [mezzotint.load(run, device=device) for run in runs], access, limits, deterministic=deterministic
        )
        # h11 and asyncio, which are there wherever uvicorn is, so that every installation behaves alike.
        config = uvicorn.Config(
            app, http="h11", loop="asyncio", ws="none", log_level="warning", access_log=False, server_header=False,
            timeout_graceful_shutdown=3,
        )  # fmt: skip
        address = f"[{host}]" if ":" in host else host
        ready(f"http://{address}:{access.port}")
        uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; UsageError where it cannot."""
    if not 0 <= port < 2**16:
        raise UsageError(f"a port is a whole number from 0 to {2**16 - 1}, not {port}")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{host}:{port} cannot be listened on ({reason}); try another --port") from None
    return listener
