"""The addresses of latent spaces: where texts are, what is at a point, and what lies between two texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from mezzotint import UsageError
from mezzotint.serve import schema, writing
from mezzotint.serve.state import state_of

if TYPE_CHECKING:
    from mezzotint import Run, Sample

api = APIRouter(responses=schema.FAULTS)


@api.post("/v1/latent/encode", response_model=schema.Points)
async def encode(request: Request, body: schema.EncodeRequest) -> schema.Points:
    """Where texts are in a model's latent space."""

    def call(run: Run) -> list[Any]:
        return [run.latent.encode(body.texts).tolist()]

    points = await _result(request, body.model, len(body.texts), call, *body.texts)
    return schema.Points(model=body.model, points=points)


@api.post("/v1/latent/decode", response_model=schema.Written)
async def decode(request: Request, body: schema.DecodeRequest) -> schema.Written:
    """The texts at points of a model's latent space."""

    def call(run: Run) -> list[list[Sample]]:
        import torch

        space, size = run.latent, run.latent_size
        for point in body.points:
            if len(point) != size:
                raise UsageError(f"a point of {run.name} has {size} numbers, not {len(point)}")
        return [space.decode(torch.tensor(body.points), **_options(body))]

    samples = await _result(request, body.model, len(body.points), call)
    return writing.canvas_answer(state_of(request).worker(body.model).run, body.model, samples)


@api.post("/v1/latent/walk", response_model=schema.Written)
async def walk(request: Request, body: schema.WalkRequest) -> schema.Written:
    """The texts on the straight line from one text to another, both ends included."""

    def call(run: Run) -> list[list[Sample]]:
        return [run.latent.walk(body.a, body.b, body.points, **_options(body))]

    samples = await _result(request, body.model, body.points, call, body.a, body.b)
    return writing.canvas_answer(state_of(request).worker(body.model).run, body.model, samples)


def _options(body: schema.DecodeRequest | schema.WalkRequest) -> dict[str, Any]:
    return body.model_dump(include={"seed", "temperature", "top_p"})


async def _result(request: Request, model: str, n: int, call: Callable[[Run], Iterable[Any]], *texts: str) -> Any:
    """What a model's worker answers; `n` is how many points it is about."""
    worker = state_of(request).worker(model)
    writing.check_limits(worker.limits, {"points and texts": n}, *texts)
    return await writing.last(writing.run_job(worker, request, n, call))
