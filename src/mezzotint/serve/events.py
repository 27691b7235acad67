"""Server-sent events: drafts of canvases, and completions piece by piece."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from mezzotint import Draft
from mezzotint.serve import refusals, schema, writing

if TYPE_CHECKING:
    from mezzotint import Run

KIND = "text/event-stream"


async def sent(found: AsyncIterator[BaseModel]) -> StreamingResponse:
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

    return StreamingResponse(lines(), media_type=KIND)


def _event(one: BaseModel) -> str:
    return f"data: {one.model_dump_json()}\n\n"


async def of_canvas(run: Run, asked: schema.CanvasRequest, found: AsyncIterator[Any]) -> AsyncIterator[BaseModel]:
    """Every draft, and the finished texts."""
    async with aclosing(found):  # type: ignore[type-var]
        async for one in found:
            if isinstance(one, Draft):
                yield writing.frame(one)
        yield writing.canvas(run, asked, one)


async def of_completion(
    run: Run, asked: schema.CompletionRequest, stop: list[str], found: AsyncIterator[Draft]
) -> AsyncIterator[BaseModel]:
    """What is new in each text, as soon as nothing can change it, and how it ended."""
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
            answer, spent = writing.completion(run, asked, stop, draft)
            for choice in answer.choices:
                yield chunk(choice.index, choice.text[len(sent.get(choice.index, "")) :], choice.finish_reason)
            if asked.stream_options is not None and asked.stream_options.include_usage:
                yield schema.Completion.model_validate({**head, "choices": [], "usage": spent.model_dump()})


def _cut(draft: Draft, asked: schema.CompletionRequest, stop: list[str]) -> list[str]:
    """What of each text can be sent on its way; all at the end where it may be cut by a number of tokens."""
    counted = asked.echo or (asked.max_tokens is not None and not asked.suffix)
    texts = [""] * len(draft.rows) if counted else writing.settled(draft, asked, stop)
    return [text[: min([place for place in map(text.find, stop) if place >= 0], default=len(text))] for text in texts]
