"""What can go wrong, as one tree: `CrosstapeError` catches all of it, `ApiError` what the platform itself refused."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import responses
from typing import Any

import msgspec
from msgspec import Struct

LONGEST_EXCERPT = 200


class CrosstapeError(Exception):
    """Anything this SDK raises on purpose."""


class ConnectionFailed(CrosstapeError):
    """No answer: nobody listens there, the connection broke, or the time was over."""


class UnexpectedAnswer(CrosstapeError):
    """An answer that the contract does not know: something else listens there, or it is newer than this SDK."""


class MissingLibrary(CrosstapeError):
    """A method needs a library that is not installed; the message says how to install it."""


class ApiError(CrosstapeError):
    """The platform's own error answer.

    `error_code` is the contract's (`SYMBOL_NOT_FOUND`), `status` the HTTP status (0 from a stream), `details` what
    the answer adds, `request_id` what to tell an operator, `retry_after` seconds, None where the answer does not say.
    """

    def __init__(
        self,
        error_code: str,
        message: str,
        *,
        status: int = 0,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ):
        super().__init__(f"{error_code}: {message}")
        self.error_code = error_code
        self.message = message
        self.status = status
        self.details = dict(details or {})
        self.request_id = request_id
        self.retry_after = retry_after


class ValidationFailed(ApiError):
    """A parameter is wrong; `details` names it."""


class InvalidTimeFormat(ValidationFailed):
    """A time is in no form that the platform reads."""


class NotFound(ApiError):
    """There is no such thing."""


class DataNotFound(NotFound):
    """The question is right and there is nothing to answer it with."""


class ExchangeNotFound(NotFound):
    """No exchange has this id."""


class OrderNotFound(NotFound):
    """No order of the caller's has this id."""


class SymbolNotFound(NotFound):
    """No market has this symbol, or several have."""

    @property
    def suggestions(self) -> list[str]:
        """Up to five symbols that were perhaps meant."""
        return [str(suggestion) for suggestion in self.details.get("suggestions", [])]


class Unauthenticated(ApiError):
    """No credential, or one that is not valid (any more)."""


class Forbidden(ApiError):
    """The credential is valid and does not allow this."""


class Conflict(ApiError):
    """What is there already stands against it."""


class RateLimited(ApiError):
    """Too many requests, also after those retries that were worth waiting for."""


class Unavailable(ApiError):
    """A part of the platform, or an exchange behind it, is away at the moment or has failed."""


class StreamClosed(ApiError):
    """The server closed a stream for good; `code` is the WebSocket's closing code."""

    def __init__(self, code: int, error_code: str, message: str, details: Mapping[str, Any] | None = None):
        super().__init__(error_code, message, details=details)
        self.code = code


_CLASSES: dict[str, type[ApiError]] = {
    "VALIDATION_ERROR": ValidationFailed,
    "INVALID_TIME_FORMAT": InvalidTimeFormat,
    "NOT_FOUND": NotFound,
    "DATA_NOT_FOUND": DataNotFound,
    "EXCHANGE_NOT_FOUND": ExchangeNotFound,
    "ORDER_NOT_FOUND": OrderNotFound,
    "SYMBOL_NOT_FOUND": SymbolNotFound,
    "UNAUTHENTICATED": Unauthenticated,
    "FORBIDDEN": Forbidden,
    "CONFLICT": Conflict,
    "RATE_LIMITED": RateLimited,
    "DATABASE_ERROR": Unavailable,
    "DATABASE_CONNECTION_ERROR": Unavailable,
    "DATABASE_QUERY_ERROR": Unavailable,
    "DATABASE_TIMEOUT_ERROR": Unavailable,
    "SERVICE_UNAVAILABLE": Unavailable,
    "UPSTREAM_TIMEOUT": Unavailable,
    "EXCHANGE_ERROR": Unavailable,
    "INTERNAL_ERROR": Unavailable,
}


_BY_STATUS = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
    504: "UPSTREAM_TIMEOUT",
}


PASSING = (ConnectionFailed, RateLimited, Unavailable)
"""What may be over in a moment."""


class _Body(Struct):
    error_code: str
    message: str
    details: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Body)


def error_class(error_code: str) -> type[ApiError]:
    """The class of a code; `ApiError` itself for one that this SDK does not know."""
    return _CLASSES.get(error_code, ApiError)


def is_passing(error_code: str) -> bool:
    """Whether what was refused with this code may be granted in a moment."""
    return error_class(error_code) is Unavailable


def api_error(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error of an answer that is no success. Where the body is not the contract's (a proxy's page, a refused
    WebSocket) the code follows from the status, and the message is an excerpt."""
    try:
        read = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        excerpt = body[:LONGEST_EXCERPT].decode(errors="replace")
        by_status = "SERVICE_UNAVAILABLE" if status >= 500 else f"HTTP_{status}"
        read = _Body(_BY_STATUS.get(status, by_status), excerpt or responses.get(status, ""))
    return error_class(read.error_code)(
        read.error_code,
        read.message,
        status=status,
        details=read.details,
        request_id=headers.get("X-Request-ID"),
        retry_after=_seconds(headers.get("Retry-After", "")),
    )


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() else None
