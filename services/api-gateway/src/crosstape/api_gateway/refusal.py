"""Errors of what never became a request."""

from __future__ import annotations

from crosstape.common.errors import PlatformError


class BadRequest(PlatformError):
    """What came is not HTTP, or HTTP that two readers could understand differently: 400."""

    error_code = "VALIDATION_ERROR"
    status = 400


class RequestTimeout(PlatformError):
    """The head of the request did not arrive in time: 408."""

    error_code = "VALIDATION_ERROR"
    status = 408


class UriTooLong(PlatformError):
    """Path and query are over the limit: 414."""

    error_code = "VALIDATION_ERROR"
    status = 414


class HeadersTooLarge(PlatformError):
    """The headers are over the limit: 431."""

    error_code = "VALIDATION_ERROR"
    status = 431
