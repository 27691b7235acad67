"""What a stranger makes of the OpenAPI document alone, and ten thousand requests that nobody would make.

Short in the suite. MEZZOTINT_EXAMPLES says how many examples each address gets (10), MEZZOTINT_FUZZ how many malformed
requests are sent (200); docs/log.md has what the long forms found.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from mezzotint import Run

for library in ("fastapi", "uvicorn", "httpx", "schemathesis"):
    pytest.importorskip(library, reason=f'the document is tried with {library}: pip install "mezzotint[serve,dev]"')

import httpx  # noqa: E402
import schemathesis  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from schemathesis import checks  # noqa: E402

from tests.served import answering  # noqa: E402

EXAMPLES = int(os.environ.get("MEZZOTINT_EXAMPLES", "10"))
REQUESTS = int(os.environ.get("MEZZOTINT_FUZZ", "200"))
SENDERS = 8
HEALTH = list(HealthCheck)
checks.load_all_checks()
TOLD = checks.CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
"""What has to hold of every answer: none is a fault of the server, and all are as the document says."""
ASKED = ("/v1/completions", "/v1/canvas", "/v1/latent/encode", "/v1/latent/decode", "/v1/latent/walk")
GIVEN = ("/v1/models", "/v1/models/{model}", "/healthz", "/metrics")
"""All addresses of the document: those that are posted to, and the others."""
PLAIN = ("model", "n", "steps", "seed", "temperature", "top_p", "stream", "texts", "points", "a", "b")
"""What goes together with anything."""


@pytest.fixture(scope="module")
def address(served_runs: dict[str, Run]) -> Iterator[str]:
    with answering(list(served_runs.values())) as found:
        yield found


@pytest.fixture(scope="module")
def document(address: str) -> Any:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", [*ASKED, *GIVEN])
def test_a_stranger_who_reads_the_document_gets_what_it_says(document: Any, path: str, mode: Any) -> None:
    """Requests that are as the document asks, and requests that are not."""
    if path in GIVEN and mode is schemathesis.GenerationMode.NEGATIVE:
        return  # what asks for nothing cannot be asked wrongly
    (operation,) = document[path].values()

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        _towards_a_model(case)
        case.call_and_validate(checks=TOLD, timeout=90)

    ask()


def _towards_a_model(case: Any) -> None:
    """Most models that a stranger thinks of are not there; and nobody here has time for a thousand steps."""
    if not isinstance(case.body, dict):
        return
    names = ["vae"] if "latent" in case.path else ["mdlm", "de-en", "ar"]
    place = len(str(case.body))
    if isinstance(case.body.get("model"), str) and place % 5:
        case.body["model"] = names[place % len(names)]
    for name, most in (("steps", 3), ("n", 3), ("points", 4)):
        if type(case.body.get(name)) is int:
            case.body[name] = min(case.body[name], most)
    if place % 2:  # what is asked for at random seldom goes together: half of them ask for little
        case.body = {name: value for name, value in case.body.items() if name in PLAIN}


def test_malformed_requests_neither_kill_the_server_nor_wedge_it(address: str) -> None:
    """From several callers at once, some of whom leave before their answer; then everybody is served as before."""
    seen: Counter[int] = Counter()
    faults: list[Any] = []
    turns = iter(range(REQUESTS))
    lock = threading.Lock()

    def send() -> None:
        with httpx.Client(base_url=address, timeout=90, trust_env=False) as http:
            while (turn := _next(turns, lock)) is not None:
                method, path, body, patience = fuzzed(random.Random(turn))
                try:
                    answer = http.request(method, path, content=body, timeout=patience)
                except httpx.TimeoutException:
                    if patience == 90:
                        faults.append((turn, "no answer"))
                    continue
                except httpx.TransportError as error:
                    faults.append((turn, error))
                    continue
                seen[answer.status_code] += 1
                if answer.status_code >= 500 or "Traceback" in answer.text:
                    faults.append((turn, path, body[:300], answer.text[:300]))

    senders = [threading.Thread(target=send) for _ in range(SENDERS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    print(f"{REQUESTS} malformed requests: {dict(sorted(seen.items()))}")
    assert not faults, faults[:5]
    assert {200, 400, 404} <= set(seen)
    time.sleep(0.2)
    for model in ("mdlm", "ar"):
        body = {"model": model, "prompt": "The old ", "steps": 2}
        assert httpx.post(f"{address}/v1/completions", json=body, timeout=30, trust_env=False).status_code == 200
    assert httpx.get(f"{address}/healthz", trust_env=False).json() == {"status": "ok"}


def _next(turns: Iterator[int], lock: Any) -> int | None:
    with lock:
        return next(turns, None)


ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 1.5, 1e308, 10**30, 2**63, "", " ", "[", "[3]", "[ ]", "[1-9]", "\\[", "\0",
    "\ud800", [], {}, [[]], {"a": 1}, "x" * 9000, [[0.5] * 4], [[0.5]], ["old", "new"], "vae", "de-en",
    "<script>", "mdlm", "ar",
    float("nan"), float("inf"), "[1-999999999]", "exact", "confidence", "ddim", "reward", ["", 1], "The old [2] .",
    {"length": 4}, {"has": ["river"]}, {"has": ["river"] * 16}, {"without": ["."]}, {"says": {"a": "b"}},
    {"pos": ["X"]}, {"spans": [{"first": 0, "last": 2, "label": "NP"}]}, {"tree": "(S * *)"},
    {"tree": "(" * 4000}, {"length": 2**53},
    {"include_usage": True}, [[1e3] * 4] * 70, "old pub near river", {"has": [""]}, {"tree": ")"}, ["\ud800"],
]  # fmt: skip
NAMES = [
    "model", "prompt", "suffix", "max_tokens", "n", "seed", "temperature", "top_p", "stop", "stream", "template",
    "prefix", "steps", "decoder", "threshold", "strength", "guidance", "guide", "length", "block", "reuse", "x",
    "source", "a", "b", "points", "texts", "wanted", "echo", "user", "stream_options",
]  # fmt: skip
PATHS = ["/v1/completions", "/v1/canvas", "/v1/canvas", "/v1/latent/encode", "/v1/latent/decode", "/v1/latent/walk"]
OTHERS = ["/", "/v1/models", "/v1/models/%00", "/v1/models/mdlm", "/metrics", "/openapi.json", "/..%2f", "/v1//canvas"]


def fuzzed(draw: random.Random) -> tuple[str, str, bytes, float]:
    """A request: method, address, body, and for how many seconds its answer is waited for."""
    patience = 0.05 if draw.random() < 0.05 else 90
    if draw.random() < 0.1:
        return draw.choice(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]), draw.choice(OTHERS), b"{}", patience
    path = draw.choice(PATHS)
    content = {name: draw.choice(ODD) for name in draw.sample(NAMES, draw.randrange(6))}
    if draw.random() < 0.8:  # most for a run that is there, so that they come further
        content |= {"model": draw.choice(["mdlm", "vae", "de-en", "ar"])}
        content |= {} if "latent" in path else {"steps": draw.choice([1, 2, 3])}
    body = json.dumps(content).encode()
    if draw.random() < 0.15:
        place = draw.randrange(len(body))
        body = body[:place] + bytes([draw.randrange(256)]) + body[place + draw.randrange(3) :]
    if draw.random() < 0.02:
        body = draw.choice([b"[" * 30_000, b" " * 70_000, b"\xff\xfe", b"", b"null", b'{"model":' * 5_000])
    return "POST", path, body, patience
