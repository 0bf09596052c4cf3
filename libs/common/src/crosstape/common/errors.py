"""Errors a caller caused or must hear of: each carries its code of the contract and its HTTP status.

And the one that only an operator can mend: WrongSetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LONGEST_ECHO = 200
"""How much of a caller's own text a message repeats."""


class PlatformError(Exception):
    """An answer to the caller. `details` must hold nothing of ours: no SQL, host, path or stack.

    Subclasses fix `error_code` and `status`; `message` says what to do.
    """

    error_code = "INTERNAL_ERROR"
    status = 500

    def __init__(
        self, message: str, details: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ):
        super().__init__(message)
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})


class ValidationFailed(PlatformError):
    """The request is malformed: 422."""

    error_code = "VALIDATION_ERROR"
    status = 422


class InvalidTimeFormat(PlatformError):
    """A time is in none of the accepted formats: 422, with seed 2's exact sentence; `details` name its parameter."""

    error_code = "INVALID_TIME_FORMAT"
    status = 422

    def __init__(self, text: str, parameter: str = ""):
        super().__init__(
            f"Invalid time format: {text[:LONGEST_ECHO]}. Expected ISO 8601 format (e.g., 2025-07-01T00:00:00Z, "
            "2025-07-01T00:00:00+03:00) or legacy format (YYYYMMDD-HHmm)",
            {"parameter": parameter} if parameter else None,
        )


class DataNotFound(PlatformError):
    """The query is right and there is nothing: 404."""

    error_code = "DATA_NOT_FOUND"
    status = 404


class SymbolNotFound(PlatformError):
    """No instrument has this spelling, or several have: 404 with up to five `suggestions`."""

    error_code = "SYMBOL_NOT_FOUND"
    status = 404


class ExchangeNotFound(PlatformError):
    """No exchange has this id: 404."""

    error_code = "EXCHANGE_NOT_FOUND"
    status = 404


class NotFound(PlatformError):
    """No such route: 404."""

    error_code = "NOT_FOUND"
    status = 404


class MethodNotAllowed(PlatformError):
    """The route exists, not for this method: 405."""

    error_code = "METHOD_NOT_ALLOWED"
    status = 405


class PayloadTooLarge(PlatformError):
    """The request's body is over the limit: 413."""

    error_code = "PAYLOAD_TOO_LARGE"
    status = 413


class OrderNotFound(PlatformError):
    """No order of the caller's has this id: 404."""

    error_code = "ORDER_NOT_FOUND"
    status = 404


class Unauthenticated(PlatformError):
    """No credential, or one that proves nothing (any more): 401."""

    error_code = "UNAUTHENTICATED"
    status = 401

    def __init__(self, message: str):
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(PlatformError):
    """The caller is known and may not do this: 403."""

    error_code = "FORBIDDEN"
    status = 403


class Conflict(PlatformError):
    """What is there already stands against it: 409."""

    error_code = "CONFLICT"
    status = 409


class RateLimited(PlatformError):
    """Too many requests: 429; `retry_after` is in whole seconds, at least 1."""

    error_code = "RATE_LIMITED"
    status = 429

    def __init__(self, message: str, retry_after: int):
        super().__init__(message, {"retry_after": retry_after}, {"Retry-After": str(retry_after)})


class ExchangeError(PlatformError):
    """An exchange answered with an error or not at all: 502."""

    error_code = "EXCHANGE_ERROR"
    status = 502


class DatabaseError(PlatformError):
    """The store failed: 503."""

    error_code = "DATABASE_ERROR"
    status = 503


class DatabaseConnectionError(DatabaseError):
    """The store cannot be reached: 503."""

    error_code = "DATABASE_CONNECTION_ERROR"


class DatabaseQueryError(DatabaseError):
    """The store refused or failed a query: 503."""

    error_code = "DATABASE_QUERY_ERROR"


class DatabaseTimeout(DatabaseError):
    """The store did not answer within the request's deadline: 503."""

    error_code = "DATABASE_TIMEOUT_ERROR"


class ServiceUnavailable(PlatformError):
    """A part of the platform is down: 503."""

    error_code = "SERVICE_UNAVAILABLE"
    status = 503


class UpstreamTimeout(PlatformError):
    """A part of the platform did not answer in time: 504."""

    error_code = "UPSTREAM_TIMEOUT"
    status = 504


class WrongSetting(Exception):
    """What a setting says is of no use where it is needed; the message names it and says what to do.

    Only another setting helps, and they are read once, at the start: so it ends the process, which says why, and
    whatever starts it again lets it read them anew.
    """
