"""From a request to a job and back: limits, waiting, and answers as OpenAI's clients and our own page read them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.requests import Request

import mezzotint
from mezzotint import Draft, MezzotintError, UsageError, literal
from mezzotint.serve import schema
from mezzotint.serve.refusals import Refusal
from mezzotint.serve.settings import Limits
from mezzotint.serve.worker import Job, Worker

if TYPE_CHECKING:
    from mezzotint import Run, Sample, Translation

POLL = 0.1
"""Seconds between two looks at whether the caller is still there."""


async def run_job(
    worker: Worker,
    request: Request,
    n: int,
    work: Mapping[str, Any] | Callable[[Run], Iterable[Any]],
    *,
    wants_drafts: bool = False,
) -> AsyncIterator[Any]:
    """The drafts and answers of a job (worker.py), to its end; Refusal or MezzotintError where it is not served.

    Whoever stops reading, or has gone, or runs out of time, frees the worker at its next draft.
    """
    limits = worker.limits
    ends = request.scope["arrived"] + limits.seconds
    job = Job(n, work, wants_drafts, limits.frames, asyncio.get_running_loop())
    worker.put(job)
    try:
        done = False
        while not done:
            left = ends - time.monotonic()
            if left <= 0:
                raise Refusal(408, f"not finished after {limits.seconds:g} seconds; ask for fewer texts or steps")
            try:
                result = await asyncio.wait_for(job.inbox.get(), min(POLL, left))
            except TimeoutError:
                if await request.is_disconnected():
                    raise Refusal(408, "the caller has gone") from None
                continue
            if isinstance(result, BaseException):
                raise _without_folder(result, worker.run)
            yield result
            done = not isinstance(result, Draft) or (result.done and not callable(work))
    finally:
        job.cancelled.set()


def _without_folder(error: BaseException, run: Run) -> BaseException:
    """The error with a run's name where its folder stood: what lies where on this machine is nobody's business."""
    if not isinstance(error, MezzotintError) or str(run.folder) not in str(error):
        return error
    return type(error)(str(error).replace(str(run.folder), run.name))


async def last(results: AsyncIterator[Any]) -> Any:
    """The last result of a job."""
    *_, result = [result async for result in results]
    return result


def check_limits(limits: Limits, numbers: Mapping[str, int], *texts: str | None) -> None:
    """UsageError where a request is larger than the server's limits."""
    for name, number in numbers.items():
        most = {"steps": limits.steps, "length": limits.length}.get(name, limits.texts)
        if number > most:
            raise UsageError(f"{name} is limited to {most} here, not {number}")
    for text in texts:
        if text is not None and len(text) > limits.text_chars:
            raise UsageError(f"a text has at most {limits.text_chars} characters here, not {len(text)}")


# -- completions ------------------------------------------------------------------------------------------------------


def completion_options(body: schema.CompletionRequest) -> dict[str, Any]:
    """The keyword arguments of `Run.task`."""
    options = {"steps": body.steps, "seed": _or(body.seed, 0)}
    options |= {"temperature": _or(body.temperature, 1.0), "top_p": _or(body.top_p, 1.0)}
    if not body.suffix:
        return options | ({"prefix": body.prompt} if body.prompt else {})
    most = 8 if body.max_tokens is None else body.max_tokens
    gap = f"[1-{most}]" if most > 1 else "[1]"
    return options | {"template": literal(body.prompt, gap) + gap + literal(body.suffix)}


def stop_texts(body: schema.CompletionRequest, limits: Limits) -> list[str]:
    """The texts at which a completion is cut."""
    texts = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(texts) > limits.stops or not all(texts):
        raise UsageError(f"stop takes up to {limits.stops} texts, none of them empty")
    return texts


def choice_of(run: Run, body: schema.CompletionRequest, sample: Sample, stop: list[str]) -> tuple[schema.Choice, int]:
    """A finished text as a completion, and its number of tokens."""
    text, tokens, reason = _between(sample.text, body), sum(sample.gaps), "stop"
    if not body.suffix:
        before = len(run.tokenizer.encode(body.prompt.removesuffix(" "))) if body.prompt else 0
        own = sample.ids[before:]
        tokens = len(own)
        if body.max_tokens is not None and tokens > body.max_tokens:
            tokens, reason = body.max_tokens, "length"
            kept = run.tokenizer.decode(own[:tokens], virtual_space=not body.prompt)
            text = _between(body.prompt.removesuffix(" ") + kept, body)
    places = [place for place in map(text.find, stop) if place >= 0]
    if places:
        text, reason = text[: min(places)], "stop"
    return schema.Choice.model_validate({"index": sample.index, "text": text, "finish_reason": reason}), tokens


def completion_of(
    run: Run, body: schema.CompletionRequest, stop: list[str], draft: Draft
) -> tuple[schema.Completion, schema.Usage]:
    """The finished texts as an answer, and what they took."""
    pairs = [choice_of(run, body, sample, stop) for sample in draft.samples]
    front = body.prompt if body.echo else ""
    choices = [choice.model_copy(update={"text": front + choice.text}) for choice, _ in pairs]
    answer = schema.Completion(
        id=new_id("cmpl"), created=int(time.time()), model=body.model, choices=choices
    )  # fmt: skip
    given = body.prompt + (body.suffix or "")
    return answer, usage(run, given, draft.samples, sum(tokens for _, tokens in pairs))


def usage(run: Run, given: str, samples: Sequence[Sample], tokens: int) -> schema.Usage:
    """Tokens and network evaluations of an answer."""
    before = len(run.tokenizer.encode(given.removesuffix(" "))) if given else 0
    spent = sum(sample.nfe for sample in samples)
    return schema.Usage(
        prompt_tokens=before, completion_tokens=tokens, total_tokens=before + tokens, network_evaluations=spent
    )


def settled_texts(draft: Draft, body: schema.CompletionRequest, stop: list[str]) -> list[str]:
    """Of each text, the beginning that no later draft changes: what is written without a hole from the left."""
    longest = max(map(len, stop), default=1)
    texts = []
    for row in draft.rows:
        text = ""
        for piece in row:
            if not piece.known:
                break
            text += "" if piece.given else piece.text
            if piece.given and text:  # behind the gap
                break
        text = text.removeprefix(" ") if body.prompt.endswith(" ") or not body.prompt else text
        # A letter of several tokens, or a text at which to stop, may still be growing.
        texts.append("" if "\ufffd" in text else text[: max(0, len(text) - longest + 1)])
    return texts


def _between(text: str, body: schema.CompletionRequest) -> str:
    """A text without the prompt and the suffix that were given."""
    text = text.removesuffix(body.suffix) if body.suffix else text
    return text.removeprefix(body.prompt if text.startswith(body.prompt) else body.prompt.removesuffix(" "))


# -- canvases ---------------------------------------------------------------------------------------------------------


def canvas_options(body: schema.CanvasRequest) -> dict[str, Any]:
    """The keyword arguments of `Run.task`; what was left alone is left to it."""
    options = body.model_dump(exclude={"model", "n", "stream", "source", "wanted"}, exclude_none=True)
    if body.wanted is not None:
        options |= {"wanted": body.wanted.wanted(), "steering": body.wanted.steering()}
    return {name: value for name, value in options.items() if name != "reuse" or value}


def canvas_answer(run: Run, model: str, samples: Sequence[Sample], given: str = "") -> schema.Written:
    """The finished texts; `given` is how they begin."""
    texts = [
        schema.Text(
            index=s.index,
            text=s.text,
            seed=s.seed,
            steps=s.steps,
            nfe=s.nfe,
            tokens=len(s.ids),
            gaps=list(s.gaps),
            unmet=list(s.unmet),
        )
        for s in samples
    ]
    spent = usage(run, given, samples, sum(text.tokens for text in texts))
    return schema.Written(id=new_id("canvas"), created=int(time.time()), model=model, texts=texts, usage=spent)


def source_call(body: schema.CanvasRequest) -> Callable[[Run], Iterable[Draft | Translation]]:
    """The call of the library where there is a source; UsageError for fields that do not go with one."""
    source = body.source or ""
    allowed = {"steps", "seed", "temperature"}
    for name in sorted(body.model_fields_set - allowed - {"model", "source", "stream", "decoder"}):
        if getattr(body, name) != type(body).model_fields[name].default:
            raise UsageError(f"a text that is written from a source has no {name}; leave it out")
    options = body.model_dump(include=body.model_fields_set & allowed)
    if "decoder" in body.model_fields_set:
        options["decoder"] = body.decoder.value
    return lambda run: mezzotint.translating(run, source, **options)


def canvas_of(run: Run, body: schema.CanvasRequest, result: Draft | Translation) -> schema.Written:
    """The answer to a request for a canvas."""
    if isinstance(result, Draft):
        return canvas_answer(run, body.model, result.samples, body.prefix or "")
    return _translation_answer(run, body, result)


def _translation_answer(run: Run, body: schema.CanvasRequest, translation: Translation) -> schema.Written:
    """A text that was written from a source, and those that it was chosen from."""
    tokens = len(run.tokenizer.encode(translation.text)) if translation.text else 0
    text = schema.Text(
        index=0, text=translation.text, seed=body.seed, steps=body.steps, nfe=translation.nfe, tokens=tokens, gaps=[],
        candidates=list(translation.candidates), note=translation.note,
    )  # fmt: skip
    before = len(run.tokenizer.encode(translation.source))
    spent = schema.Usage(
        prompt_tokens=before,
        completion_tokens=tokens,
        total_tokens=before + tokens,
        network_evaluations=translation.nfe,
    )
    return schema.Written(id=new_id("canvas"), created=int(time.time()), model=body.model, texts=[text], usage=spent)


def frame(draft: Draft) -> schema.Frame:
    """A draft as an event."""
    rows = [
        [schema.Piece(text=p.text, known=p.known, given=p.given, confidence=round(p.confidence, 4)) for p in row]
        for row in draft.rows
    ]
    return schema.Frame(step=draft.step, steps=draft.steps, t=draft.t, rows=rows, nfe=draft.nfe, done=draft.done)


def new_id(kind: str) -> str:
    """A fresh id for an answer."""
    return f"{kind}-{uuid4().hex}"


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
