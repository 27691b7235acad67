"""What cannot be served, as OpenAI's clients read it: a status and one sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mezzotint import MezzotintError

KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 500: "server_error"}
SENTENCES = {
    400: "the body is not JSON",
    404: "there is nothing at this address; /openapi.json says what there is",
    405: "this address does not take that method; /openapi.json says which it takes",
}


class Refusal(Exception):
    """A request that is not served."""

    def __init__(self, status: int, sentence: str, code: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"


def error_body(status: int, sentence: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error as the JSON object of OpenAI's API."""
    kind = KINDS.get(status, "invalid_request_error")
    return {"error": {"message": sentence, "type": kind, "param": param, "code": code}}


def answer(refusal: Refusal) -> JSONResponse:
    """The HTTP answer to a request that is not served."""
    return JSONResponse(error_body(refusal.status, str(refusal), refusal.code), refusal.status, refusal.headers)


def refusal_of(error: BaseException) -> Refusal:
    """Any error as a refusal; what is not the caller's fault says nothing of where it happened."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, MezzotintError):
        return Refusal(400, " ".join(str(error).splitlines()))
    return Refusal(500, "something went wrong here; the server's log says what")


async def on_refusal(request: Request, error: Exception) -> JSONResponse:
    return answer(refusal_of(error))


async def on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    sentence = SENTENCES.get(error.status_code, str(error.detail))
    headers: Mapping[str, str] | None = error.headers
    return JSONResponse(error_body(error.status_code, sentence), error.status_code, headers)


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "body"]
    name = place[0] if place and first["type"] != "json_invalid" else None
    return JSONResponse(error_body(400, _sentence(first, place), param=name), 400)


def _sentence(fault: Mapping[str, Any], place: Sequence[str]) -> str:
    message = str(fault["msg"])
    if fault["type"] == "json_invalid":
        return SENTENCES[400]
    if message.startswith("Value error, unknown"):
        return message.removeprefix("Value error, ")
    if not place:
        return "the body has to be a JSON object"
    message = message.removeprefix("Value error, ")
    return f"{'.'.join(place)[:100]}: {message[:1].lower()}{message[1:]}"
