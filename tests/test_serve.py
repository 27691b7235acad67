"""The server: every address, OpenAI's own client, streaming, refusals, the queue, the key, and malformed requests."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import mezzotint
from mezzotint import Run, UsageError, checks
from mezzotint.checks import bundled_runs
from mezzotint.serve.settings import Access, Limits, check_serving
from tests.trained import few

for library in ("fastapi", "uvicorn", "httpx", "openai"):
    pytest.importorskip(library, reason=f'the server needs {library}: pip install "mezzotint[serve,dev]"')

from starlette.testclient import TestClient  # noqa: E402

from mezzotint.serve.app import make_app  # noqa: E402
from mezzotint.serve.server import listen  # noqa: E402
from tests.served import Tape, answering  # noqa: E402

HOME = "http://127.0.0.1:8000"
KEY = "a-key-of-tests"


@pytest.fixture(scope="module")
def client(served_runs: dict[str, Run]) -> Iterator[TestClient]:
    with TestClient(make_app(list(served_runs.values())), HOME, raise_server_exceptions=False) as found:
        yield found


def taped(tape: Tape, access: Access | None = None, **limits: Any) -> TestClient:
    return TestClient(make_app([tape], access, Limits(**limits)), HOME, raise_server_exceptions=False)  # type: ignore[list-item]


def events(body: str) -> list[Any]:
    parts = [part.removeprefix("data: ") for part in body.split("\n\n") if part]
    assert parts[-1] == "[DONE]"
    return [json.loads(part) for part in parts[:-1]]


def error(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    found = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"} and "Traceback" not in answer.text
    return str(found["message"])


# -- what is answered -------------------------------------------------------------------------------------------------


def test_models_are_the_runs_with_what_their_cards_say(client: TestClient) -> None:
    data = client.get("/v1/models").json()["data"]
    known = [("mdlm", "mdlm"), ("ar", "ar"), ("vae", "adavae"), ("de-en", "difformer")]
    assert [(one["id"], one["system"]) for one in data] == known
    assert [one["latent"] for one in data] == [None, None, 4, None]
    assert data[0]["can"] == ["continue", "control", "infill", "long"] and data[1]["decoders"] == ["exact"]
    assert client.get("/v1/models/ar").json() == data[1]
    assert "did you mean 'mdlm'" in error(client.get("/v1/models/mdml"), 404)


def test_a_completion_is_the_librarys_text_without_the_prompt(client: TestClient, served_runs: dict[str, Run]) -> None:
    body = {"model": "mdlm", "prompt": "The old ", "n": 3, "seed": 5, "temperature": 0.8, "top_p": 0.9, "steps": 4}
    answer = client.post("/v1/completions", json=body).json()
    samples = served_runs["mdlm"].generate(3, prefix="The old ", seed=5, temperature=0.8, top_p=0.9, steps=4)
    assert ["The old " + choice["text"] for choice in answer["choices"]] == [sample.text for sample in samples]
    assert answer["object"] == "text_completion" and {c["finish_reason"] for c in answer["choices"]} == {"stop"}
    written = sum(len(sample.ids) for sample in samples) - 3 * 2
    assert answer["usage"] == {
        "prompt_tokens": 2, "completion_tokens": written, "total_tokens": 2 + written,
        "network_evaluations": sum(sample.nfe for sample in samples),
    }  # fmt: skip
    echoed = client.post("/v1/completions", json=body | {"echo": True}).json()
    assert [choice["text"] for choice in echoed["choices"]] == [sample.text for sample in samples]


@pytest.mark.parametrize("model", ["mdlm", "ar"])
@pytest.mark.parametrize("prompt", ["", "The old ", "The old"])
def test_a_completion_is_cut_at_tokens_and_at_stops(client: TestClient, model: str, prompt: str) -> None:
    body = {"model": model, "prompt": prompt, "n": 8}
    whole = client.post("/v1/completions", json=body).json()["choices"]
    cut = client.post("/v1/completions", json=body | {"max_tokens": 1}).json()
    assert cut["usage"]["completion_tokens"] <= 8 and any(c["finish_reason"] == "length" for c in cut["choices"])
    assert all(long["text"].startswith(short["text"]) for long, short in zip(whole, cut["choices"], strict=True))
    stop = next(choice["text"][-3:] for choice in whole if len(choice["text"]) > 3)
    for stopped, long in zip(
        client.post("/v1/completions", json=body | {"stop": ["zzz", stop]}).json()["choices"], whole, strict=True
    ):
        assert stopped["text"] == long["text"].partition(stop)[0]


def test_a_suffix_is_a_gap_to_fill(client: TestClient) -> None:
    body = {"model": "mdlm", "prompt": r"A [3] \[", "suffix": " by the [ ] river.", "max_tokens": 3, "n": 4}
    answer = client.post("/v1/completions", json=body).json()
    for choice in answer["choices"]:
        assert 1 <= len(choice["text"].split()) <= 3 and "river." not in choice["text"]
    assert answer["usage"]["network_evaluations"] >= 3 * 16
    assert "ar cannot infill" in error(client.post("/v1/completions", json=body | {"model": "ar"}), 400)


def test_a_canvas_is_filled_and_its_drafts_are_events(client: TestClient, served_runs: dict[str, Run]) -> None:
    body = {"model": "mdlm", "template": "The [3] pub near [ ]", "n": 2, "seed": 3, "steps": 6}
    whole = client.post("/v1/canvas", json=body).json()
    samples = served_runs["mdlm"].infill("The [3] pub near [ ]", n=2, seed=3, steps=6)
    assert [text["text"] for text in whole["texts"]] == [sample.text for sample in samples]
    assert [tuple(text["gaps"]) for text in whole["texts"]] == [sample.gaps for sample in samples]
    answer = client.post("/v1/canvas", json=body | {"stream": True, "decoder": "confidence"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *frames, last = events(answer.text)
    assert [frame["done"] for frame in frames] == [False] * (len(frames) - 1) + [True] and len(frames) > 2
    assert last["object"] == "canvas"
    for row, text in zip(frames[-1]["rows"], last["texts"], strict=True):
        assert "".join(piece["text"] for piece in row).strip() == text["text"]
        assert row[0]["given"] and 0 <= min(piece["confidence"] for piece in row) <= 1


def test_a_canvas_is_as_it_is_wanted(client: TestClient, served_runs: dict[str, Run]) -> None:
    body = {"model": "mdlm", "n": 6, "steps": 8, "seed": 3}
    wanted = {"length": 7, "has": ["river"], "without": ["pub", "zzz"]}
    whole = client.post("/v1/canvas", json=body | {"wanted": wanted}).json()
    same = mezzotint.Wanted(length=7, has=("river",), without=("pub", "zzz"))
    samples = served_runs["mdlm"].generate(6, steps=8, seed=3, wanted=same)
    assert [text["text"] for text in whole["texts"]] == [sample.text for sample in samples]
    for text in whole["texts"]:
        assert text["tokens"] == 7 and "iver" in text["text"] and " pub" not in text["text"] and not text["unmet"]
    free = client.post("/v1/canvas", json=body).json()["texts"]
    assert any(text["tokens"] != 7 for text in free) and client.get("/v1/models/mdlm").json()["says"] == {}
    pinned = {"template": "The [4] river [2]", "wanted": {"without": ["old", "The"]}}
    assert "given or pinned" in error(client.post("/v1/canvas", json=body | pinned), 400)
    pinned = {"template": "The [4] river [2]", "wanted": {"without": ["old"], "has": ["cold"]}}
    *frames, last = events(client.post("/v1/canvas", json=body | pinned | {"stream": True}).text)
    assert all("cold" in text["text"] and " old" not in text["text"] for text in last["texts"]) and len(frames) > 2


def test_what_a_run_can_tell_can_be_wanted(served_runs: dict[str, Run], tmp_path: Path) -> None:
    """Classifiers of three steps tell nothing right; that is said, and where they lie is not."""
    run = few(tmp_path, [("told", "mdlm", {})])["told"]
    lines = [{"text": "The old pub .", "fields": {"food": food}} for food in ("Thai", "French") for _ in range(9)]
    lines += [{"text": f"A {word} river .", "fields": {}} for word in ("cold", "warm", "new")]
    (tmp_path / "told.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    list(run.train_control([tmp_path / "told.jsonl"], max_steps=2, batch_size=4))
    with TestClient(make_app([mezzotint.load(run.folder), served_runs["mdlm"]]), HOME) as client:
        assert client.get("/v1/models/told").json()["says"] == {"food": ["French", "Thai"]}
        body = {"model": "told", "n": 2, "steps": 3, "wanted": {"says": {"food": "Thai"}}}
        for text in client.post("/v1/canvas", json=body).json()["texts"]:
            assert text["unmet"] in ([], ["saying food=Thai"])
        body |= {"n": 1, "wanted": {"says": {"food": "Thai"}, "strength": 100}}
        strong = mezzotint.load(run.folder).generate(
            1, steps=3, wanted=mezzotint.Wanted(says=(("food", "Thai"),)), steering=mezzotint.Steering(strength=100)
        )
        assert client.post("/v1/canvas", json=body).json()["texts"][0]["text"] == strong[0].text
        body["wanted"] = {"says": {"food": "Tahi"}}
        assert "did you mean 'Thai'" in error(client.post("/v1/canvas", json=body), 400)
        message = error(client.post("/v1/canvas", json=body | {"model": "mdlm"}), 400)
        assert str(served_runs["mdlm"].folder) not in message and "train-control mdlm" in message


def test_a_streamed_completion_adds_up(client: TestClient) -> None:
    for more in ({}, {"suffix": " near the pub"}, {"stop": "a", "max_tokens": 4}, {"echo": True}):
        for model in ("mdlm", "ar")[: 1 if "suffix" in more else 2]:
            body = {"model": model, "prompt": "The old ", "n": 3, "seed": 2} | more
            whole = client.post("/v1/completions", json=body).json()
            streamed = body | {"stream": True, "stream_options": {"include_usage": True}}
            *chunks, usage = events(client.post("/v1/completions", json=streamed).text)
            texts = ["", "", ""]
            for choice in (choice for chunk in chunks for choice in chunk["choices"]):
                texts[choice["index"]] += choice["text"]
            assert texts == [choice["text"] for choice in whole["choices"]]
            assert usage["choices"] == [] and usage["usage"] == whole["usage"]


def test_a_latent_space_is_walked(client: TestClient, served_runs: dict[str, Run]) -> None:
    ends, space = ["The old river", "A cold pub"], served_runs["vae"].latent
    points = client.post("/v1/latent/encode", json={"model": "vae", "texts": ends}).json()["points"]
    assert points == space.encode(ends).tolist() and len(points[0]) == 4
    for more in ({}, {"temperature": 1, "seed": 3, "top_p": 0.9}):
        walked = client.post("/v1/latent/walk", json={"model": "vae", "a": ends[0], "b": ends[1], "points": 5} | more)
        samples = space.walk(*ends, 5, **more)
        assert [text["text"] for text in walked.json()["texts"]] == [sample.text for sample in samples]
        assert walked.json()["usage"]["network_evaluations"] == sum(sample.nfe for sample in samples)
    decoded = client.post("/v1/latent/decode", json={"model": "vae", "points": points}).json()
    walked = client.post("/v1/latent/walk", json={"model": "vae", "a": ends[0], "b": ends[1], "points": 2})
    assert [text["text"] for text in decoded["texts"]] == [text["text"] for text in walked.json()["texts"]]


def test_a_text_is_written_from_a_source(client: TestClient, served_runs: dict[str, Run]) -> None:
    body = {"model": "de-en", "source": "old river zzz", "steps": 4, "seed": 2}
    whole = client.post("/v1/canvas", json=body).json()
    (found,) = mezzotint.translate(served_runs["de-en"], ["old river zzz"], steps=4, seed=2)
    (text,) = whole["texts"]
    assert (text["text"], text["candidates"], text["note"]) == (found.text, list(found.candidates), found.note)
    assert "does not know" in text["note"] and whole["usage"]["network_evaluations"] == found.nfe
    *frames, last = events(client.post("/v1/canvas", json=body | {"stream": True}).text)
    assert last["texts"] == whole["texts"] and [f["done"] for f in frames] == [False] * (len(frames) - 1) + [True]
    assert ["".join(p["text"] for p in row).strip() for row in frames[-1]["rows"]] == text["candidates"]


def test_the_openapi_document_names_every_address(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/models", "/v1/models/{model}", "/v1/completions", "/v1/canvas", "/healthz", "/metrics",
        "/v1/latent/encode", "/v1/latent/decode", "/v1/latent/walk",
    }  # fmt: skip
    for path in document["paths"].values():
        for operation in path.values():
            assert {"200", "4XX"} <= set(operation["responses"]) and "422" not in operation["responses"]
    assert client.get("/healthz").json() == {"status": "ok"}


def test_metrics_count(client: TestClient) -> None:
    client.get("/nowhere/at/all")
    client.get("/v1/models")
    text = client.get("/metrics").text
    assert 'mezzotint_requests_total{path="other",status="404"}' in text and "nowhere" not in text
    assert 'mezzotint_requests_total{path="/v1/models",status="200"}' in text
    assert 'mezzotint_tokens_total{model="mdlm"}' in text and 'mezzotint_waiting{model="ar"} 0' in text


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("canvas", {"template": "no gap"}, "there is no gap in 'no gap'"),
        ("canvas", {"template": "[99999]"}, "tokens long"),
        ("canvas", {"template": "[2]", "prefix": "The"}, "leave prefix out"),
        ("canvas", {"decoder": "ddim"}, "mdlm has no decoder 'ddim'"),
        ("canvas", {"guidance": 2.0}, "mdlm cannot guide"),
        ("canvas", {"guide": "reward"}, "learned from no reward"),
        ("canvas", {"length": 100}, "only a run of --layout windows"),
        ("canvas", {"length": 10**6}, "length is limited to 4096"),
        ("canvas", {"stesp": 3}, "did you mean 'steps'"),
        ("canvas", {"wanted": {"haz": ["old"]}}, "unknown field 'haz'; did you mean 'has'?"),
        ("canvas", {"wanted": {"has": ["zzz"]}}, "unknown word 'zzz'"),
        ("canvas", {"wanted": {"has": ["old"], "without": ["old"]}}, "cannot have 'old' without 'old'"),
        ("canvas", {"wanted": {"length": 999}}, "a text of 999 tokens is wanted"),
        ("canvas", {"wanted": {"length": 5}, "template": "The [3]"}, "a template says how long the text is"),
        ("canvas", {"wanted": {"says": {"food": "Thai"}}}, "mdlm has no classifiers that could tell"),
        ("canvas", {"wanted": {"tree": "(S (NP *)"}}, "is not closed"),
        ("canvas", {"wanted": {"spans": [{"first": 3, "last": 3, "label": "NP"}]}}, "there is no 3:3=NP"),
        ("canvas", {"wanted": {"pos": ["DET"], "length": 3}}, "cannot be 1 and 3 tokens long at once"),
        ("canvas", {"model": "ar", "wanted": {"has": ["old"]}}, "nothing tells it that 'old' will come"),
        ("canvas", {"model": "vae", "wanted": {"has": ["old"]}}, "adavae cannot control"),
        ("canvas", {"model": "de-en", "source": "old", "wanted": {"length": 3}}, "has no wanted; leave it out"),
        ("canvas", {"source": "old"}, "which cannot write from a source"),
        ("canvas", {"source": "old", "n": 2}, "has no n; leave it out"),
        ("canvas", {"model": "de-en"}, "difformer writes from a text; give it as `source`"),
        ("canvas", {"model": "de-en", "source": "  "}, "the source cannot be read: there is nothing in it"),
        ("canvas", {"model": "de-en", "source": "old", "template": "[3]"}, "has no template; leave it out"),
        ("canvas", {"model": "de-en", "source": "old", "top_p": 0.5}, "has no top_p; leave it out"),
        ("canvas", {"model": "de-en", "source": "old", "temperature": 0.5, "decoder": "ddim"}, "leave them at 1"),
        ("canvas", {"model": "de-en", "source": "old " * 99, "stream": True}, "reads at most"),
        ("completions", {"model": "de-en"}, "writes from a source"),
        ("latent/walk", {"a": "old", "b": "new"}, "mdlm has no latent space"),
        ("latent/walk", {"model": "vae", "a": "old", "b": "new", "points": 1}, "points: input should be greater"),
        ("latent/walk", {"model": "vae", "a": "old", "b": "new", "points": 65}, "is limited to 64 here"),
        ("latent/walk", {"model": "vae", "a": "old " * 99, "b": "new"}, "tokens long"),
        ("latent/encode", {"model": "vae", "texts": []}, "texts: "),
        ("latent/encode", {"model": "vae", "texts": ["old"] * 65}, "is limited to 64 here"),
        ("latent/decode", {"model": "vae", "points": [[0, 0, 0, 0], [1]]}, "a point of vae has 4 numbers, not 1"),
        ("latent/decode", {"model": "vae", "points": [[0, 0, 0, 1e9]]}, "points.0.3: input should be less"),
        ("canvas", {"steps": 5000, "stream": True}, "steps is limited to 1024 here, not 5000"),
        ("canvas", {"n": 65}, "n is limited to 64 here"),
        ("canvas", {"n": "3"}, "n: should be a number"),
        ("canvas", {"n": 0}, "n: input should be greater than or equal to 1"),
        ("canvas", {"seed": True}, "seed: should be a number"),
        ("completions", {"prompt": "old " * 3000}, "at most 8000 characters"),
        ("completions", {"prompt": "old " * 1000, "stream": True}, "the prefix is 1000 tokens long"),
        ("completions", {"prompt": ["a"]}, "prompt: input should be a valid string"),
        ("completions", {"stop": ["a", ""]}, "stop takes up to 4 texts"),
        ("completions", {"logprobs": 3}, "unknown field 'logprobs'"),
        ("completions", {"top_p": 0}, "top_p: input should be greater than 0"),
    ],
)
def test_what_cannot_be_served_is_refused_with_a_sentence(
    client: TestClient, path: str, body: dict[str, Any], sentence: str
) -> None:
    assert sentence in error(client.post(f"/v1/{path}", json={"model": "mdlm"} | body), 400)


def test_what_is_posted_is_json_whatever_it_is_called(client: TestClient) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = json.dumps({"model": "mdlm", "n": 1})
    assert client.post("/v1/completions", content=body, headers=form).status_code == 200
    assert error(client.post("/v1/completions", content=b"model=mdlm", headers=form), 400) == "the body is not JSON"
    assert "JSON object" in error(client.post("/v1/completions", json=[1]), 400)
    assert "at most 65536 bytes" in error(client.post("/v1/completions", content=b" " * 70_000), 413)
    assert error(client.get("/v1/completions"), 405)
    for path in ("/../../etc/passwd", "/page/index.html", "/v1/models/..%2f..%2fetc%2fpasswd"):
        assert error(client.get(path), 404)


def test_five_hundred_malformed_requests_break_nothing(client: TestClient) -> None:
    draw = random.Random(0)
    odd = [
        None, True, 0, -1, 1.5, 1e308, 10**30, "", "[", "[3]", "\\[", "\ud800", "\0", [], {}, [[]], {"a": 1},
        "x" * 9000, [[0.5] * 4], ["old", "new"], "vae", "de-en",
        "<script>", "mdlm", "ar", float("nan"), float("inf"), "[1-999999999]", "exact", "reward", 2**63, ["", 1],
    ]  # fmt: skip
    names = [
        "model", "prompt", "suffix", "max_tokens", "n", "seed", "temperature", "top_p", "stop", "stream", "template",
        "prefix", "steps", "decoder", "threshold", "strength", "guidance", "guide", "length", "block", "reuse", "x",
        "source", "a", "b", "points", "texts",
    ]  # fmt: skip
    addresses = ["completions", "completions", "canvas", "canvas", "latent/encode", "latent/decode", "latent/walk"]
    seen = set()
    for i in range(500):
        address = draw.choice(addresses)
        body: bytes = json.dumps({name: draw.choice(odd) for name in draw.sample(names, draw.randrange(6))}).encode()
        if i % 5:  # most of them for a run that is there, so that they come further
            more = {"model": draw.choice(["mdlm", "vae", "de-en"])} | ({} if "latent" in address else {"steps": 1})
            body = json.dumps(json.loads(body) | (more if i % 2 else {})).encode()
        if i % 7 == 0:
            place = draw.randrange(len(body))
            body = body[:place] + bytes([draw.randrange(256)]) + body[place + draw.randrange(3) :]
        if i % 50 == 0:
            body = b"[" * 30_000
        answer = client.post(f"/v1/{address}", content=body)
        seen.add(answer.status_code)
        assert answer.status_code < 500, (body[:300], answer.text)
        if answer.status_code != 200:
            assert error(answer, answer.status_code)
    assert {200, 400, 404} <= seen and client.post("/v1/canvas", json={"model": "mdlm"}).status_code == 200


# -- who may ask ------------------------------------------------------------------------------------------------------


def test_a_server_with_a_key_asks_for_it() -> None:
    tape = Tape()
    tape.gate.set()
    with taped(tape, Access("0.0.0.0", 8000, KEY)) as client:
        for shown in (None, "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer é".encode("latin-1")):
            answer = client.get("/v1/models", headers={} if shown is None else {"Authorization": shown})  # type: ignore[arg-type]
            assert "asks for its key" in error(answer, 401) and answer.headers["www-authenticate"] == "Bearer"
        for path in ("/metrics", "/openapi.json", "/v1/models/tape"):
            error(client.get(path), 401)
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        assert client.get("/").status_code == client.get("/healthz").status_code == 200


def test_other_sites_and_other_names_for_this_machine_are_refused() -> None:
    with taped(Tape()) as client:
        assert "localhost only" in error(client.get("/v1/models", headers={"Host": "evil.example"}), 403)
        assert "other sites" in error(client.get("/v1/models", headers={"Origin": "https://evil.example"}), 403)
        assert client.get("/v1/models", headers={"Origin": HOME}).status_code == 200
        assert client.get("/v1/models", headers={"Host": "localhost:8000"}).status_code == 200
        assert error(client.get("/v1/models", headers={"Host": "[::1"}), 403)


@pytest.mark.parametrize(
    ("host", "key", "insecure", "sentence"),
    [
        ("0.0.0.0", None, False, "others can reach 0.0.0.0"),
        ("example.org", None, False, "others can reach"),
        ("127.0.0.1", "short", False, "at least 8"),
        ("127.0.0.1", None, False, None), ("localhost", None, False, None), ("::1", None, False, None),
        ("0.0.0.0", None, True, None), ("0.0.0.0", KEY, False, None),
    ],
)  # fmt: skip
def test_others_are_let_in_only_with_a_key_or_by_decision(
    host: str, key: str | None, insecure: bool, sentence: str | None
) -> None:
    if sentence is None:
        check_serving(host, key, insecure, ["run"])
        return
    with pytest.raises(UsageError, match=sentence):
        check_serving(host, key, insecure, ["run"])


def test_who_names_no_run_gets_those_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "BUNDLED", tmp_path / "bundled")
    assert bundled_runs() == ()
    with pytest.raises(UsageError, match="name the runs to serve"):
        check_serving("localhost", None, False, bundled_runs())
    for name in ("b", "a", "no run"):
        (tmp_path / "bundled" / name).mkdir(parents=True)
    for name in ("b", "a"):
        (tmp_path / "bundled" / name / "config.json").write_text("{}")
    assert [run.name for run in bundled_runs()] == ["a", "b"]


def test_two_runs_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="two runs are called tape"):
        make_app([Tape(), Tape()])  # type: ignore[list-item]


# -- the queue --------------------------------------------------------------------------------------------------------


def in_parallel(
    client: TestClient, bodies: Sequence[dict[str, Any]], model: str = "tape", what: str = "completions"
) -> tuple[list[threading.Thread], list[Any]]:
    answers: list[Any] = [None] * len(bodies)

    def post(place: int) -> None:
        answers[place] = client.post(f"/v1/{what}", json={"model": model} | bodies[place])

    threads = [threading.Thread(target=post, args=(place,)) for place in range(len(bodies))]
    for thread in threads:
        thread.start()
    return threads, answers


def until(holds: Any) -> None:
    ends = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.005)


def test_what_waits_is_written_together_and_a_full_queue_says_so() -> None:
    tape = Tape()
    with taped(tape, waiting=3) as client:
        first, _ = in_parallel(client, [{}])
        until(lambda: tape.together_with == [1])
        rest, answers = in_parallel(client, [{"prompt": f"{i} ", "seed": i} for i in range(3)])
        until(lambda: 'mezzotint_waiting{model="tape"} 3' in client.get("/metrics").text)
        full = client.post("/v1/completions", json={"model": "tape"})
        assert "too many" in error(full, 429) and full.headers["retry-after"] == "1"
        tape.gate.set()
        for thread in [*first, *rest]:
            thread.join(20)
        assert tape.together_with == [1, 3]
        assert [answer.json()["choices"][0]["text"] for answer in answers] == ["one two"] * 3


def test_one_that_fails_fails_alone() -> None:
    tape = Tape(fault=RuntimeError("a secret place"))
    with taped(tape, gather_seconds=0.5) as client:
        tape.gate.set()
        threads, answers = in_parallel(client, [{"prompt": "poison"}, {"prompt": "fine "}, {"prompt": "bad"}])
        for thread in threads:
            thread.join(20)
        assert "secret" not in error(answers[0], 500)
        assert answers[1].status_code == 200 and error(answers[2], 400) == "bad is bad"
        assert tape.together_with[0] == 2


def test_a_request_that_takes_too_long_is_given_up() -> None:
    tape = Tape()
    with taped(tape, seconds=0.3) as client:
        assert "not finished after 0.3 seconds" in error(client.post("/v1/completions", json={"model": "tape"}), 408)
        tape.gate.set()
        until(lambda: tape.shown == 1)
        assert client.post("/v1/completions", json={"model": "tape"}).status_code == 200
        assert tape.shown == 1 + 4, "the given-up request was written to its end"


def test_drafts_for_a_slow_reader_are_left_out_but_never_the_last() -> None:
    tape = Tape(frames=300)
    tape.gate.set()
    with taped(tape, frames=2) as client:
        *frames, last = events(client.post("/v1/canvas", json={"model": "tape", "stream": True}).text)
        assert frames[-1]["done"] and last["object"] == "canvas"


def test_who_goes_away_frees_the_worker() -> None:
    """Spoken without a server, as one would: the caller is there, gets a first draft, and is gone."""
    tape = Tape(frames=10_000)
    tape.gate.set()
    app = make_app([tape])  # type: ignore[list-item]

    async def visit(stream: bool) -> None:
        left, sent = asyncio.Event(), []
        body = json.dumps({"model": "tape", "stream": stream}).encode()
        first = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if first:
                return first.pop()
            if stream:
                await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if len(sent) == 3:
                left.set()
            await asyncio.sleep(0)

        scope = {
            "type": "http", "method": "POST", "path": "/v1/canvas", "raw_path": b"/v1/canvas", "query_string": b"",
            "headers": [(b"host", b"localhost")], "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1", "scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1),
            "root_path": "",
        }  # fmt: skip
        await app(scope, receive, send)

    tape.gate.clear()
    threading.Timer(0.5, tape.gate.set).start()
    asyncio.run(asyncio.wait_for(visit(stream=False), 20))
    until(lambda: tape.shown >= 1)
    asyncio.run(asyncio.wait_for(visit(stream=True), 20))
    before = tape.shown
    time.sleep(0.2)
    assert tape.shown <= before + 2 < 10_000


@pytest.mark.parametrize("first", [{"prefix": "slow"}, {"prefix": "slow", "stream": True}])
def test_one_that_takes_long_does_not_hold_the_others(first: dict[str, Any]) -> None:
    tape = Tape()
    tape.gate.set()
    with taped(tape, seconds=6, turn_seconds=0.1) as client:
        threads, answers = in_parallel(client, [first | {"steps": 7}], "tape", "canvas")
        until(lambda: tape.shown > 2)
        for _ in range(3):
            since = time.monotonic()
            assert client.post("/v1/canvas", json={"model": "tape"}).json()["texts"][0]["text"] == "one two"
            assert time.monotonic() - since < 3 and threads[0].is_alive() and answers == [None]
        threads[0].join(20)
        assert "not finished after 6 seconds" in answers[0].text
        assert client.post("/v1/canvas", json={"model": "tape"}).status_code == 200


@pytest.mark.parametrize("deterministic", [True, False])
def test_what_a_seed_promises(
    served_runs: dict[str, Run], deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One text a call of the network, whatever is asked at once; or many, where only the numbers are promised."""
    run, rows = served_runs["mdlm"], []
    sample = run.system.sample
    monkeypatch.setattr(run.system, "sample", lambda r: rows.append(len(r.canvas.ids)) or sample(r))
    bodies = [
        {"n": 3, "seed": 1, "steps": 4}, {"n": 1, "seed": 1, "steps": 4}, {"n": 2, "seed": 7, "steps": 9},
        {"n": 2, "template": "The [ ] pub [2]", "steps": 4}, {"n": 1, "template": "no gap"},
    ]  # fmt: skip
    app = make_app([run], limits=Limits(gather_seconds=0.5), deterministic=deterministic)
    with TestClient(app, HOME, raise_server_exceptions=False) as client:
        assert client.get("/v1/models/mdlm").json()["promise"] == ("tokens" if deterministic else "random numbers")
        threads, answers = in_parallel(client, bodies, "mdlm", "canvas")
        for thread in threads:
            thread.join(60)
        together = rows[:]
        texts = [[text["text"] for text in answer.json().get("texts", [])] for answer in answers]
        if not deterministic:
            assert max(together) >= 4
            return
        assert set(together) == {1} and len(together) == 8
        assert "no gap" in error(answers[-1], 400)
        assert texts[0][:1] == texts[1]
        for body, found in zip(bodies, texts, strict=True):
            assert found == [
                text["text"]
                for text in client.post("/v1/canvas", json=body | {"model": "mdlm"}).json().get("texts", [])
            ]
        assert texts[2] == [s.text for s in run.generate(2, seed=7, steps=9, batch_size=1)]
        *frames, last = events(client.post("/v1/canvas", json=bodies[2] | {"model": "mdlm", "stream": True}).text)
        assert [text["text"] for text in last["texts"]] == texts[2]
        assert all(len(frame["rows"]) == len(frame["nfe"]) == 2 for frame in frames)
        assert [frame["done"] for frame in frames] == [False] * (len(frames) - 1) + [True]
        assert frames[-1]["nfe"] == [text["nfe"] for text in last["texts"]] and min(frames[1]["nfe"]) == 1
        counted = client.get("/metrics").text
        assert f'mezzotint_rows_total{{model="mdlm"}} {2 * 8 + 2}' in counted


# -- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_takes_nothing_from_elsewhere_and_no_markup_from_models(client: TestClient) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
        assert "http:" not in answer.text and "https:" not in answer.text and "//cdn" not in answer.text
        for way in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "DOMParser", "eval(", "srcdoc",
                    "setHTML", "createContextualFragment", "Function(", ".style", "onclick="):  # fmt: skip
            assert way not in answer.text, (path, way)
    assert "textContent = piece.known ? piece.text" in client.get("/page.js").text


def test_markup_in_a_text_travels_as_text() -> None:
    tape = Tape(text="<script>alert(1)</script> &amp;")
    tape.gate.set()
    with taped(tape) as client:
        answer = client.post("/v1/completions", json={"model": "tape", "prompt": "<b>"})
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["choices"][0]["text"] == "<script>alert(1)</script> &amp;"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


# -- a real server, and the client that others have -------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(served_runs: dict[str, Run]) -> Iterator[str]:
    """Where a server with a key answers, in a thread of its own."""
    with answering(list(served_runs.values()), KEY) as found:
        yield found


def test_openais_client_works_unchanged(address: str, client: TestClient) -> None:
    import openai

    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as theirs:
        assert [model.id for model in theirs.models.list()] == ["mdlm", "ar", "vae", "de-en"]
        assert theirs.models.retrieve("ar").id == "ar"
        body: dict[str, Any] = {"model": "mdlm", "prompt": "The old ", "max_tokens": 6, "n": 2, "seed": 1}
        whole = theirs.completions.create(**body)
        assert whole.usage is not None and whole.usage.total_tokens > 2
        again = client.post("/v1/completions", json=body).json()
        assert [choice.text for choice in whole.choices] == [choice["text"] for choice in again["choices"]]
        streamed = theirs.completions.create(**body, stream=True)
        texts = ["", ""]
        for choice in (choice for chunk in streamed for choice in chunk.choices):
            texts[choice.index] += choice.text
        assert texts == [choice.text for choice in whole.choices]
        filled = theirs.completions.create(model="mdlm", prompt="The ", suffix=" by the river.", max_tokens=3)
        assert filled.choices[0].finish_reason == "stop"
        with pytest.raises(openai.BadRequestError, match="ar cannot infill"):
            theirs.completions.create(model="ar", prompt="The ", suffix=" river.")
        with pytest.raises(openai.NotFoundError, match="did you mean 'mdlm'"):
            theirs.completions.create(model="mdml", prompt="The ")
    with (
        openai.OpenAI(base_url=f"{address}/v1", api_key="another", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match="asks for its key"),
    ):
        stranger.models.list()


def test_a_port_that_is_taken_is_said_in_a_sentence() -> None:
    with listen("127.0.0.1", 0) as listening:
        listening.listen()
        with pytest.raises(UsageError, match=r"cannot be listened on .*try another --port"):
            listen("127.0.0.1", listening.getsockname()[1])
    with pytest.raises(UsageError, match="from 0 to 65535, not 99999"):
        listen("127.0.0.1", 99_999)
