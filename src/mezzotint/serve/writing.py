"""From a request to a job and back: limits, waiting, the texts as OpenAI's clients and our own page read them."""

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


async def news(
    worker: Worker,
    request: Request,
    n: int,
    how: Mapping[str, Any] | Callable[[Run], Iterable[Any]],
    *,
    film: bool = False,
) -> AsyncIterator[Any]:
    """What a job (worker.py) has to tell, to its end; Refusal or MezzotintError where it is not served.

    Whoever stops reading, or has gone, or runs out of time, frees the worker at its next draft.
    """
    limits = worker.limits
    ends = request.scope["arrived"] + limits.seconds
    job = Job(n, how, film, limits.frames, asyncio.get_running_loop())
    worker.ask(job)
    try:
        done = False
        while not done:
            left = ends - time.monotonic()
            if left <= 0:
                raise Refusal(408, f"not finished after {limits.seconds:g} seconds; ask for fewer texts or steps")
            try:
                one = await asyncio.wait_for(job.inbox.get(), min(POLL, left))
            except TimeoutError:
                if await request.is_disconnected():
                    raise Refusal(408, "the caller has gone") from None
                continue
            if isinstance(one, BaseException):
                raise _placeless(one, worker.run)
            yield one
            done = not isinstance(one, Draft) or (one.done and not callable(how))
    finally:
        job.gone.set()


def _placeless(error: BaseException, run: Run) -> BaseException:
    """The error with a run's name where its folder stood: what lies where on this machine is nobody's business."""
    if not isinstance(error, MezzotintError) or str(run.folder) not in str(error):
        return error
    return type(error)(str(error).replace(str(run.folder), run.name))


async def last(found: AsyncIterator[Any]) -> Any:
    """The last of some news."""
    *_, one = [one async for one in found]
    return one


def bounded(limits: Limits, numbers: Mapping[str, int], *texts: str | None) -> None:
    """UsageError where a request is larger than the server's limits."""
    for name, asked in numbers.items():
        most = {"steps": limits.steps, "length": limits.length}.get(name, limits.texts)
        if asked > most:
            raise UsageError(f"{name} is limited to {most} here, not {asked}")
    for text in texts:
        if text is not None and len(text) > limits.text_chars:
            raise UsageError(f"a text has at most {limits.text_chars} characters here, not {len(text)}")


# -- completions ------------------------------------------------------------------------------------------------------


def completion_call(asked: schema.CompletionRequest) -> dict[str, Any]:
    """What the library is asked for."""
    how = {"steps": asked.steps, "seed": _or(asked.seed, 0)}
    how |= {"temperature": _or(asked.temperature, 1.0), "top_p": _or(asked.top_p, 1.0)}
    if not asked.suffix:
        return how | ({"prefix": asked.prompt} if asked.prompt else {})
    most = 8 if asked.max_tokens is None else asked.max_tokens
    gap = f"[1-{most}]" if most > 1 else "[1]"
    return how | {"template": literal(asked.prompt, gap) + gap + literal(asked.suffix)}


def stops(asked: schema.CompletionRequest, limits: Limits) -> list[str]:
    """The texts at which a completion is cut."""
    found = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    if len(found) > limits.stops or not all(found):
        raise UsageError(f"stop takes up to {limits.stops} texts, none of them empty")
    return found


def completed(run: Run, asked: schema.CompletionRequest, sample: Sample, stop: list[str]) -> tuple[schema.Choice, int]:
    """A finished text as a completion, and its number of tokens."""
    text, tokens, why = _between(sample.text, asked), sum(sample.gaps), "stop"
    if not asked.suffix:
        before = len(run.tokenizer.encode(asked.prompt.removesuffix(" "))) if asked.prompt else 0
        own = sample.ids[before:]
        tokens = len(own)
        if asked.max_tokens is not None and tokens > asked.max_tokens:
            tokens, why = asked.max_tokens, "length"
            said = run.tokenizer.decode(own[:tokens], virtual_space=not asked.prompt)
            text = _between(asked.prompt.removesuffix(" ") + said, asked)
    found = [place for place in map(text.find, stop) if place >= 0]
    if found:
        text, why = text[: min(found)], "stop"
    return schema.Choice.model_validate({"index": sample.index, "text": text, "finish_reason": why}), tokens


def completion(
    run: Run, asked: schema.CompletionRequest, stop: list[str], draft: Draft
) -> tuple[schema.Completion, schema.Usage]:
    """The finished texts as an answer, and what they took."""
    pairs = [completed(run, asked, sample, stop) for sample in draft.samples]
    front = asked.prompt if asked.echo else ""
    choices = [choice.model_copy(update={"text": front + choice.text}) for choice, _ in pairs]
    answer = schema.Completion(
        id=named("cmpl"), created=int(time.time()), model=asked.model, choices=choices
    )  # fmt: skip
    given = asked.prompt + (asked.suffix or "")
    return answer, usage(run, given, draft.samples, sum(tokens for _, tokens in pairs))


def usage(run: Run, given: str, samples: Sequence[Sample], tokens: int) -> schema.Usage:
    """What it took."""
    before = len(run.tokenizer.encode(given.removesuffix(" "))) if given else 0
    spent = sum(sample.nfe for sample in samples)
    return schema.Usage(
        prompt_tokens=before, completion_tokens=tokens, total_tokens=before + tokens, network_evaluations=spent
    )


def settled(draft: Draft, asked: schema.CompletionRequest, stop: list[str]) -> list[str]:
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
        text = text.removeprefix(" ") if asked.prompt.endswith(" ") or not asked.prompt else text
        # A letter of several tokens, or a text at which to stop, may still be growing.
        texts.append("" if "\ufffd" in text else text[: max(0, len(text) - longest + 1)])
    return texts


def _between(text: str, asked: schema.CompletionRequest) -> str:
    """A text without the prompt and the suffix that were given."""
    text = text.removesuffix(asked.suffix) if asked.suffix else text
    return text.removeprefix(asked.prompt if text.startswith(asked.prompt) else asked.prompt.removesuffix(" "))


# -- canvases ---------------------------------------------------------------------------------------------------------


def canvas_call(asked: schema.CanvasRequest) -> dict[str, Any]:
    """What the library is asked for; what was left alone is left to it."""
    how = asked.model_dump(exclude={"model", "n", "stream", "source", "wanted"}, exclude_none=True)
    if asked.wanted is not None:
        how |= {"wanted": asked.wanted.wanted(), "steering": asked.wanted.steering()}
    return {name: value for name, value in how.items() if name != "reuse" or value}


def written(run: Run, model: str, samples: Sequence[Sample], given: str = "") -> schema.Written:
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
    return schema.Written(id=named("canvas"), created=int(time.time()), model=model, texts=texts, usage=spent)


def source_call(asked: schema.CanvasRequest) -> Callable[[Run], Iterable[Draft | Translation]]:
    """What the library is asked for where there is a source; UsageError for what goes with none."""
    source = asked.source or ""
    kept = {"steps", "seed", "temperature"}
    for name in sorted(asked.model_fields_set - kept - {"model", "source", "stream", "decoder"}):
        if getattr(asked, name) != type(asked).model_fields[name].default:
            raise UsageError(f"a text that is written from a source has no {name}; leave it out")
    how = asked.model_dump(include=asked.model_fields_set & kept)
    if "decoder" in asked.model_fields_set:
        how["decoder"] = asked.decoder.value
    return lambda run: mezzotint.translating(run, source, **how)


def canvas(run: Run, asked: schema.CanvasRequest, found: Draft | Translation) -> schema.Written:
    """What came of a canvas."""
    if isinstance(found, Draft):
        return written(run, asked.model, found.samples, asked.prefix or "")
    return _translated(run, asked, found)


def _translated(run: Run, asked: schema.CanvasRequest, found: Translation) -> schema.Written:
    """A text that was written from a source, and those that it was chosen from."""
    tokens = len(run.tokenizer.encode(found.text)) if found.text else 0
    text = schema.Text(
        index=0, text=found.text, seed=asked.seed, steps=asked.steps, nfe=found.nfe, tokens=tokens, gaps=[],
        candidates=list(found.candidates), note=found.note,
    )  # fmt: skip
    before = len(run.tokenizer.encode(found.source))
    spent = schema.Usage(
        prompt_tokens=before, completion_tokens=tokens, total_tokens=before + tokens, network_evaluations=found.nfe
    )
    return schema.Written(id=named("canvas"), created=int(time.time()), model=asked.model, texts=[text], usage=spent)


def frame(draft: Draft) -> schema.Frame:
    """A draft as an event."""
    rows = [
        [schema.Piece(text=p.text, known=p.known, given=p.given, confidence=round(p.confidence, 4)) for p in row]
        for row in draft.rows
    ]
    return schema.Frame(step=draft.step, steps=draft.steps, t=draft.t, rows=rows, nfe=draft.nfe, done=draft.done)


def named(kind: str) -> str:
    """A fresh name for an answer."""
    return f"{kind}-{uuid4().hex}"


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
