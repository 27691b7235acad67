"""The application: which address answers with what."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

import mezzotint
from mezzotint import MezzotintError, UsageError
from mezzotint.serve import refusals, schema, writing
from mezzotint.serve.guard import Guard
from mezzotint.serve.refusals import Refusal
from mezzotint.serve.settings import Door, Limits
from mezzotint.serve.worker import Worker

if TYPE_CHECKING:
    from mezzotint import Draft, Run

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""Each file of the page, by its address."""
EVENTS = "text/event-stream"
FAULTS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": schema.Failed, "description": "what was wrong, in a sentence"},
    "5XX": {"model": schema.Failed, "description": "a fault of the server"},
}


@dataclass
class House:
    """What one server has."""

    limits: Limits
    workers: Mapping[str, Worker]
    created: int = field(default_factory=lambda: int(time.time()))
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def worker(self, name: str) -> Worker:
        """Whose texts are asked for; Refusal (404) with the nearest spelling."""
        if name not in self.workers:
            raise Refusal(404, str(mezzotint.unknown("model", name[:100], self.workers)), "model_not_found")
        return self.workers[name]

    def model(self, name: str) -> schema.Model:
        """What its card says."""
        run = self.worker(name).run
        return schema.Model(
            id=name, created=self.created, system=run.card.name, title=run.card.title, paper=run.card.paper,
            can=sorted(ability.value for ability in run.card.can),
            decoders=sorted(decoder.value for decoder in run.card.decoders),
            unit="word" if run.tokenizer.kind == "word" else "piece",
            canvas=run.spec.canvas, layout=str(run.config["data"].get("layout", "texts")),
        )  # fmt: skip


api = APIRouter(responses=FAULTS)


@api.get("/v1/models", response_model=schema.Models)
async def models(request: Request) -> schema.Models:
    """The runs that are served."""
    house = _house(request)
    return schema.Models(data=[house.model(name) for name in house.workers])


@api.get("/v1/models/{model:path}", response_model=schema.Model)
async def model(request: Request, model: str) -> schema.Model:
    """One of them."""
    return _house(request).model(model)


@api.post("/v1/completions", response_model=schema.Completion, responses={200: {"content": {EVENTS: {}}}})
async def completions(request: Request, asked: schema.CompletionAsked) -> Any:
    """Texts that begin with the prompt and, where there is a suffix, end with it; in OpenAI's form.

    With `stream`, of each text what is written without a hole from the left, as soon as it is.
    """
    house, n = _house(request), asked.n or 1
    worker = house.worker(asked.model)
    writing.bounded(house.limits, n, asked.steps, asked.prompt, asked.suffix)
    stop, how = writing.stops(asked, house.limits), writing.completion_call(asked)
    found = writing.drafts(worker, request, n, how, film=bool(asked.stream))
    if asked.stream:
        return await _events(_completion_events(worker.run, asked, stop, found))
    last = await _last(found)
    answer, spent = _completion(worker.run, asked, stop, last)
    return answer.model_copy(update={"usage": spent})


@api.post("/v1/canvas", response_model=schema.Written, responses={200: {"content": {EVENTS: {}}}})
async def canvas(request: Request, asked: schema.CanvasAsked) -> Any:
    """Texts with a beginning, with gaps, or free.

    With `stream`, every draft (`canvas.frame`) as a server-sent event, then the texts, then `[DONE]`.
    """
    house = _house(request)
    worker = house.worker(asked.model)
    writing.bounded(house.limits, asked.n, asked.steps, asked.template, asked.prefix)
    if (asked.length or 0) > house.limits.length:
        raise UsageError(f"length is limited to {house.limits.length} here, not {asked.length}")
    found = writing.drafts(worker, request, asked.n, writing.canvas_call(asked), film=asked.stream)
    if asked.stream:
        return await _events(_canvas_events(worker.run, asked, found))
    return writing.written(worker.run, asked, (await _last(found)).samples)


@api.get("/healthz", response_model=schema.Health)
async def healthz() -> schema.Health:
    """A sign of life."""
    return schema.Health()


@api.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> str:
    """Counts in Prometheus's text form."""
    house = _house(request)
    lines = [
        "# HELP mezzotint_requests_total Answers, by address and status.",
        "# TYPE mezzotint_requests_total counter",
    ]
    for (path, status), count in sorted(house.answers.items()):
        lines.append(f'mezzotint_requests_total{{path="{path}",status="{status}"}} {count}')
    for name, told, kind in (
        ("batches", "Batches written.", "counter"), ("rows", "Texts written.", "counter"),
        ("tokens", "Tokens written.", "counter"), ("evaluations", "Network evaluations, text by text.", "counter"),
        ("waiting", "Requests that wait for their turn.", "gauge"),
    ):  # fmt: skip
        whole = f"mezzotint_{name}_total" if kind == "counter" else f"mezzotint_{name}"
        lines += [f"# HELP {whole} {told}", f"# TYPE {whole} {kind}"]
        for run, worker in house.workers.items():
            count = getattr(worker.count, name) if kind == "counter" else worker.waiting
            lines.append(f"{whole}{{model={json.dumps(run, ensure_ascii=False)}}} {count}")
    return "\n".join(lines) + "\n"


def make_app(runs: Sequence[Run], door: Door | None = None, limits: Limits | None = None) -> Guard:
    """The server of some runs, which are known by their names; UsageError where two have one name."""
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two runs are called {name}; rename the folder of one of them")
    limits = limits or Limits()
    house = House(limits, {run.name: Worker(run, limits) for run in runs})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for worker in house.workers.values():
            worker.close()

    app = FastAPI(
        title="Mezzotint", version=version("mezzotint"), lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Text generated by denoising. Errors are sentences, in OpenAI's form.",
    )  # fmt: skip
    app.state.house = house
    app.include_router(api)
    for address, (name, kind) in PAGE.items():
        app.add_api_route(address, _static(name, kind), methods=["GET"], include_in_schema=False)
    app.add_exception_handler(MezzotintError, refusals.on_refusal)
    app.add_exception_handler(Refusal, refusals.on_refusal)
    app.add_exception_handler(HTTPException, refusals.on_http)
    app.add_exception_handler(RequestValidationError, refusals.on_misfit)
    app.add_exception_handler(Exception, refusals.on_refusal)
    return Guard(app, door or Door(), limits, house.answers)


def _house(request: Request) -> House:
    house = request.app.state.house
    assert isinstance(house, House)
    return house


def _static(name: str, kind: str) -> Any:
    """An address that answers with one file of the package, read once."""
    content = (files(__package__) / "page" / name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer


async def _last(found: AsyncIterator[Draft]) -> Draft:
    *_, last = [draft async for draft in found]
    return last


# -- server-sent events -----------------------------------------------------------------------------------------------


async def _events(found: AsyncIterator[BaseModel]) -> StreamingResponse:
    """Some objects as events. The first is waited for, so that what is refused has a status of its own."""
    first = await anext(found)

    async def lines() -> AsyncIterator[str]:
        async with aclosing(found):  # type: ignore[type-var]
            yield _event(first)
            try:
                async for one in found:
                    yield _event(one)
            except Exception as error:
                refusal = refusals.of(error)
                yield f"data: {json.dumps(refusals.body(refusal.status, str(refusal), refusal.code))}\n\n"
                return
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type=EVENTS)


def _event(one: BaseModel) -> str:
    return f"data: {one.model_dump_json()}\n\n"


async def _canvas_events(run: Run, asked: schema.CanvasAsked, found: AsyncIterator[Draft]) -> AsyncIterator[BaseModel]:
    async with aclosing(found):  # type: ignore[type-var]
        async for draft in found:
            yield writing.frame(draft)
            if draft.done:
                yield writing.written(run, asked, draft.samples)


async def _completion_events(
    run: Run, asked: schema.CompletionAsked, stop: list[str], found: AsyncIterator[Draft]
) -> AsyncIterator[BaseModel]:
    head = {"id": writing.named("cmpl"), "created": int(time.time()), "model": asked.model}
    sent: dict[int, str] = {}

    def chunk(index: int, text: str, why: str | None = None) -> schema.Completion:
        choice = {"index": index, "text": text, "finish_reason": why}
        return schema.Completion.model_validate({**head, "choices": [choice]})

    async with aclosing(found):  # type: ignore[type-var]
        async for draft in found:
            if not draft.done:
                for index, text in enumerate(_cut(draft, asked, stop)):
                    if len(text) > len(sent.get(index, "")) or not sent:
                        yield chunk(index, text[len(sent.get(index, "")) :])
                        sent[index] = text
                continue
            answer, spent = _completion(run, asked, stop, draft)
            for choice in answer.choices:
                yield chunk(choice.index, choice.text[len(sent.get(choice.index, "")) :], choice.finish_reason)
            if asked.stream_options is not None and asked.stream_options.include_usage:
                yield schema.Completion.model_validate({**head, "choices": [], "usage": spent.model_dump()})


def _cut(draft: Draft, asked: schema.CompletionAsked, stop: list[str]) -> list[str]:
    """What of each text can be sent on its way; all at the end where it may be cut by a number of tokens."""
    counted = asked.echo or (asked.max_tokens is not None and not asked.suffix)
    texts = [""] * len(draft.rows) if counted else writing.settled(draft, asked, stop)
    return [text[: min([place for place in map(text.find, stop) if place >= 0], default=len(text))] for text in texts]


def _completion(
    run: Run, asked: schema.CompletionAsked, stop: list[str], draft: Draft
) -> tuple[schema.Completion, schema.Usage]:
    pairs = [writing.completed(run, asked, sample, stop) for sample in draft.samples]
    front = asked.prompt if asked.echo else ""
    choices = [choice.model_copy(update={"text": front + choice.text}) for choice, _ in pairs]
    answer = schema.Completion(
        id=writing.named("cmpl"), created=int(time.time()), model=asked.model, choices=choices
    )  # fmt: skip
    given = asked.prompt + (asked.suffix or "")
    return answer, writing.usage(run, given, draft.samples, sum(tokens for _, tokens in pairs))
