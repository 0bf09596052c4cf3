"""PlatformError to the contract's error body, from every route and from unknown ones too."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from crosstape.common.errors import (
    LONGEST_ECHO,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PlatformError,
    ValidationFailed,
)
from crosstape.common.time import iso_milliseconds
from crosstape.common.web.request_context import context_headers

log = structlog.get_logger(__name__)

_encoder = msgspec.json.Encoder(enc_hook=str)


def error_body(error: PlatformError) -> bytes:
    """The contract's body. `detail` repeats the message for clients of seed 2 and of FastAPI."""
    return _encoder.encode(
        {
            "success": False,
            "error_code": error.error_code,
            "message": encodable(error.message),
            "details": _all_encodable(error.details),
            "timestamp": iso_milliseconds(dt.datetime.now(dt.UTC)),
            "detail": encodable(error.message),
        }
    )


def encodable(text: str) -> str:
    """`text` without lone surrogates, which no JSON answer could carry."""
    return text.encode("utf-8", "replace").decode()


def _all_encodable(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, Mapping):
        return {encodable(str(key)): _all_encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_all_encodable(part) for part in value]
    return value


def error_response(error: PlatformError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed with `error`."""
    return Response(
        error_body(error), error.status, {**error.headers, **(headers or {})}, media_type="application/json"
    )


def install_error_handlers(app: FastAPI) -> None:
    """Every failure of `app` answers in the contract's form; what nobody foresaw is logged and is INTERNAL_ERROR."""

    @app.exception_handler(PlatformError)
    async def platform_error(request: Request, error: PlatformError) -> Response:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        return error_response(validation_failed(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return error_response(_of_status(error, request), error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        log.error("unhandled_error", path=request.url.path, exc_info=error)
        message = "An unexpected error occurred. It has been logged."
        return error_response(PlatformError(message), context_headers(request.scope))


def validation_failed(errors: Sequence[Any]) -> ValidationFailed:
    """pydantic's findings as one sentence and a list, without echoing input but for the names in it."""
    found = [
        {
            "parameter": ".".join(str(part) for part in error["loc"][1:])[:LONGEST_ECHO] or "body",
            "problem": error["msg"].removeprefix("Value error, "),
        }
        for error in errors[:20]
    ]
    sentence = "; ".join(f"{entry['parameter']}: {entry['problem']}" for entry in found[:5])
    return ValidationFailed(f"Invalid request: {sentence}", {"errors": found})


def _of_status(error: HTTPException, request: Request) -> PlatformError:
    if error.status_code == 404:
        return NotFound(f"No route {encodable(request.url.path)[:LONGEST_ECHO]}. See /docs for the routes there are.")
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.method} is not allowed here.")
    if error.status_code == 413:
        return PayloadTooLarge(str(error.detail))
    if error.status_code < 500:
        return ValidationFailed(str(error.detail))
    return PlatformError("An unexpected error occurred. It has been logged.")
