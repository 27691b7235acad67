"""The application: which address answers with what."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.exceptions import HTTPException

from mezzotint import Can, MezzotintError, UsageError
from mezzotint.serve import events, latent, refusals, schema, writing
from mezzotint.serve.guard import Guard
from mezzotint.serve.refusals import Refusal
from mezzotint.serve.settings import Access, Limits
from mezzotint.serve.state import ServerState, state_of
from mezzotint.serve.worker import Worker

if TYPE_CHECKING:
    from mezzotint import Run

PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""Each file of the page, by its address."""
api = APIRouter(responses=schema.FAULTS)


@api.get("/v1/models", response_model=schema.Models)
async def models(request: Request) -> schema.Models:
    """The runs that are served."""
    state = state_of(request)
    return schema.Models(data=[state.model(name) for name in state.workers])


@api.get("/v1/models/{model:path}", response_model=schema.Model)
async def model(request: Request, model: str) -> schema.Model:
    """One of them."""
    return state_of(request).model(model)


@api.post("/v1/completions", response_model=schema.Completion, responses={200: {"content": {events.KIND: {}}}})
async def completions(request: Request, body: schema.CompletionRequest) -> Any:
    """Texts that begin with the prompt and, where there is a suffix, end with it; in OpenAI's form.

    With `stream`, of each text what is written without a hole from the left, as soon as it is.
    """
    state, n = state_of(request), body.n or 1
    worker = state.worker(body.model)
    writing.check_limits(state.limits, {"n": n, "steps": body.steps}, body.prompt, body.suffix)
    stop, options = writing.stop_texts(body, state.limits), writing.completion_options(body)
    results = writing.run_job(worker, request, n, options, wants_drafts=bool(body.stream))
    if body.stream:
        return await events.stream(events.completion_events(worker.run, body, stop, results))
    answer, spent = writing.completion_of(worker.run, body, stop, await writing.last(results))
    return answer.model_copy(update={"usage": spent})


@api.post("/v1/canvas", response_model=schema.Written, responses={200: {"content": {events.KIND: {}}}})
async def canvas(request: Request, body: schema.CanvasRequest) -> Any:
    """Texts with a beginning, with gaps, from a source, or free.

    With `stream`, every draft (`canvas.frame`) as a server-sent event, then the texts, then `[DONE]`.
    """
    state = state_of(request)
    worker = state.worker(body.model)
    numbers = {"n": body.n, "steps": body.steps, "length": body.length or 0}
    tree = None if body.wanted is None else body.wanted.tree
    writing.check_limits(state.limits, numbers, body.template, body.prefix, body.source, tree)
    work: Any = writing.canvas_options(body) if body.source is None else writing.source_call(body)
    if body.source is None and Can.TRANSLATE in worker.run.card.can:
        raise UsageError(f"{worker.run.card.name} writes from a text; give it as `source`")
    results = writing.run_job(worker, request, body.n, work, wants_drafts=body.stream)
    if body.stream:
        return await events.stream(events.canvas_events(worker.run, body, results))
    return writing.canvas_of(worker.run, body, await writing.last(results))


@api.get("/healthz", response_model=schema.Health)
async def healthz() -> schema.Health:
    """A sign of life."""
    return schema.Health()


@api.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request) -> str:
    """Counts in Prometheus's text form."""
    state = state_of(request)
    lines = [
        "# HELP mezzotint_requests_total Answers, by address and status.",
        "# TYPE mezzotint_requests_total counter",
    ]
    for (path, status), count in sorted(state.answers.items()):
        lines.append(f'mezzotint_requests_total{{path="{path}",status="{status}"}} {count}')
    for name, help_text, kind in (
        ("batches", "Batches written.", "counter"), ("rows", "Texts written.", "counter"),
        ("tokens", "Tokens written.", "counter"), ("evaluations", "Network evaluations, text by text.", "counter"),
        ("waiting", "Requests that wait for their turn.", "gauge"),
    ):  # fmt: skip
        metric = f"mezzotint_{name}_total" if kind == "counter" else f"mezzotint_{name}"
        lines += [f"# HELP {metric} {help_text}", f"# TYPE {metric} {kind}"]
        for run, worker in state.workers.items():
            count = getattr(worker.count, name) if kind == "counter" else worker.waiting
            lines.append(f"{metric}{{model={json.dumps(run, ensure_ascii=False)}}} {count}")
    return "\n".join(lines) + "\n"


def make_app(
    runs: Sequence[Run], access: Access | None = None, limits: Limits | None = None, *, deterministic: bool = False
) -> Guard:
    """The server of some runs, which are known by their names; UsageError where two have one name.

    Where it is to be deterministic, each text is written by itself: equal tokens for a seed, at the price of speed.
    """
    names = [run.name for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two runs are called {name}; rename the folder of one of them")
    limits = limits or Limits()
    state = ServerState(limits, {run.name: Worker(run, limits, deterministic) for run in runs})

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for worker in state.workers.values():
            worker.close()

    app = FastAPI(
        title="Mezzotint", version=version("mezzotint"), lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Text generated by denoising. Errors are sentences, in OpenAI's form.",
    )  # fmt: skip
    app.state.server = state
    app.include_router(api)
    app.include_router(latent.api)
    for address, (name, kind) in PAGE.items():
        app.add_api_route(address, _static(name, kind), methods=["GET"], include_in_schema=False)
    app.add_exception_handler(MezzotintError, refusals.on_refusal)
    app.add_exception_handler(Refusal, refusals.on_refusal)
    app.add_exception_handler(HTTPException, refusals.on_http)
    app.add_exception_handler(RequestValidationError, refusals.on_invalid)
    app.add_exception_handler(Exception, refusals.on_refusal)
    return Guard(app, access or Access(), limits, state.answers)


def _static(name: str, kind: str) -> Any:
    """An address that answers with one file of the package, read once."""
    content = (files(__package__) / "page" / name).read_bytes()

    async def answer() -> Response:
        return Response(content, media_type=kind)

    return answer
