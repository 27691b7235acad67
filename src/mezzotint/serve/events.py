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


async def stream(objects: AsyncIterator[BaseModel]) -> StreamingResponse:
    """Objects as events. The first is waited for, so that a refusal has a status of its own."""
    first = await anext(objects)

    async def lines() -> AsyncIterator[str]:
        async with aclosing(objects):  # type: ignore[type-var]
            yield _event(first)
            try:
                async for each in objects:
                    yield _event(each)
            except Exception as error:
                refusal = refusals.refusal_of(error)
                yield f"data: {json.dumps(refusals.error_body(refusal.status, str(refusal), refusal.code))}\n\n"
                return
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type=KIND)


def _event(content: BaseModel) -> str:
    return f"data: {content.model_dump_json()}\n\n"


async def canvas_events(run: Run, body: schema.CanvasRequest, results: AsyncIterator[Any]) -> AsyncIterator[BaseModel]:
    """Every draft, and the finished texts."""
    async with aclosing(results):  # type: ignore[type-var]
        async for result in results:
            if isinstance(result, Draft):
                yield writing.frame(result)
        yield writing.canvas_of(run, body, result)


async def completion_events(
    run: Run, body: schema.CompletionRequest, stop: list[str], results: AsyncIterator[Draft]
) -> AsyncIterator[BaseModel]:
    """What is new in each text, as soon as nothing can change it, and how it ended."""
    head = {"id": writing.new_id("cmpl"), "created": int(time.time()), "model": body.model}
    sent: dict[int, str] = {}

    def chunk(index: int, text: str, reason: str | None = None) -> schema.Completion:
        choice = {"index": index, "text": text, "finish_reason": reason}
        return schema.Completion.model_validate({**head, "choices": [choice]})

    async with aclosing(results):  # type: ignore[type-var]
        async for draft in results:
            if not draft.done:
                for index, text in enumerate(_sendable(draft, body, stop)):
                    if len(text) > len(sent.get(index, "")) or not sent:
                        yield chunk(index, text[len(sent.get(index, "")) :])
                        sent[index] = text
                continue
            answer, spent = writing.completion_of(run, body, stop, draft)
            for choice in answer.choices:
                yield chunk(choice.index, choice.text[len(sent.get(choice.index, "")) :], choice.finish_reason)
            if body.stream_options is not None and body.stream_options.include_usage:
                yield schema.Completion.model_validate({**head, "choices": [], "usage": spent.model_dump()})


def _sendable(draft: Draft, body: schema.CompletionRequest, stop: list[str]) -> list[str]:
    """What of each text can be sent on its way; all at the end where it may be cut by a number of tokens."""
    is_at_end = body.echo or (body.max_tokens is not None and not body.suffix)
    texts = [""] * len(draft.rows) if is_at_end else writing.settled_texts(draft, body, stop)
    return [text[: min([place for place in map(text.find, stop) if place >= 0], default=len(text))] for text in texts]
