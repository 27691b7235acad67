"""What a server is told: where it listens, who may ask, and how much. Loads neither FastAPI nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address

from mezzotint import UsageError


@dataclass(frozen=True)
class Limits:
    """The most that one request, or all that are waiting, may ask for."""

    body_bytes: int = 65_536
    text_chars: int = 8_000
    """Of a prompt, a suffix or a template."""
    texts: int = 64
    """In one request (n), and in one batch."""
    steps: int = 1_024
    length: int = 4_096
    """Tokens of a text longer than its run's canvas."""
    stops: int = 4
    """Texts at which a completion stops, as in OpenAI's interface."""
    waiting: int = 64
    """Requests for one run that wait for their turn; more are told to come again (429)."""
    seconds: float = 60.0
    """From a request's arrival to its last byte (408)."""
    gather_seconds: float = 0.004
    """For how long the first request of a batch waits for others."""
    turn_seconds: float = 0.5
    """What has taken so long since the last batch was begun no longer keeps the next one from beginning."""
    turns: int = 4
    """The most that go on in turns; what asks for different things is begun apart, and can make them more."""
    frames: int = 64
    """Drafts that wait for a slow reader; later ones are left out until it has caught up."""


@dataclass(frozen=True)
class Access:
    """Where the server listens, and to whom."""

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = None
    """What every request has to show as `Authorization: Bearer KEY`; None: nothing."""

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by name or address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_serving(host: str, key: str | None, insecure: bool, runs: Sequence[object]) -> None:
    """UsageError unless a server may be opened like that and what it needs is installed."""
    if not runs:
        raise UsageError("name the runs to serve; as in `mezzotint serve runs/reviews`")
    if any(find_spec(package) is None for package in ("fastapi", "uvicorn")):
        raise UsageError('serving needs libraries that are not installed: pip install "mezzotint[serve]"')
    if key is not None and (len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key):
        raise UsageError("a key has at least 8 letters, digits or signs of ASCII and no space")
    if key is None and not insecure and not is_loopback(host):
        raise UsageError(f"others can reach {host}: give --api-key KEY, or --insecure to let anyone in")
