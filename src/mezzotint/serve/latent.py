"""The addresses of latent spaces: where texts are, what is at a point, and what lies between two texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from mezzotint import UsageError
from mezzotint.serve import schema, writing
from mezzotint.serve.state import house_of

if TYPE_CHECKING:
    from mezzotint import Run, Sample

api = APIRouter(responses=schema.FAULTS)


@api.post("/v1/latent/encode", response_model=schema.Points)
async def encode(request: Request, asked: schema.EncodeRequest) -> schema.Points:
    """Where texts are in a model's latent space."""

    def call(run: Run) -> list[Any]:
        return [run.latent.encode(asked.texts).tolist()]

    found = await _done(request, asked.model, len(asked.texts), call, *asked.texts)
    return schema.Points(model=asked.model, points=found)


@api.post("/v1/latent/decode", response_model=schema.Written)
async def decode(request: Request, asked: schema.DecodeRequest) -> schema.Written:
    """The texts at points of a model's latent space."""

    def call(run: Run) -> list[list[Sample]]:
        import torch

        space, size = run.latent, run.latent_size
        for point in asked.points:
            if len(point) != size:
                raise UsageError(f"a point of {run.name} has {size} numbers, not {len(point)}")
        return [space.decode(torch.tensor(asked.points), **_how(asked))]

    found = await _done(request, asked.model, len(asked.points), call)
    return writing.written(house_of(request).worker(asked.model).run, asked.model, found)


@api.post("/v1/latent/walk", response_model=schema.Written)
async def walk(request: Request, asked: schema.WalkRequest) -> schema.Written:
    """The texts on the straight line from one text to another, both ends included."""

    def call(run: Run) -> list[list[Sample]]:
        return [run.latent.walk(asked.a, asked.b, asked.points, **_how(asked))]

    found = await _done(request, asked.model, asked.points, call, asked.a, asked.b)
    return writing.written(house_of(request).worker(asked.model).run, asked.model, found)


def _how(asked: schema.DecodeRequest | schema.WalkRequest) -> dict[str, Any]:
    return asked.model_dump(include={"seed", "temperature", "top_p"})


async def _done(request: Request, model: str, n: int, call: Callable[[Run], Iterable[Any]], *texts: str) -> Any:
    """What a model's worker answers; `n` is how many points it is about."""
    worker = house_of(request).worker(model)
    writing.bounded(worker.limits, {"points and texts": n}, *texts)
    return await writing.last(writing.news(worker, request, n, call))
