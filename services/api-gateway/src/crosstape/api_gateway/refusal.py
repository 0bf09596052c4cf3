"""Errors of what never became a whole request."""

from __future__ import annotations

import httptools

from crosstape.common.errors import PlatformError


class BadRequest(PlatformError):
    """What came is not HTTP, or HTTP that two readers could understand differently: 400."""

    error_code = "VALIDATION_ERROR"
    status = 400


class RequestTimeout(PlatformError):
    """The head of the request, or its body, did not arrive in time: 408."""

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


def not_understood(error: Exception) -> BadRequest:
    """What the parser's error is told as."""
    if isinstance(error, httptools.HttpParserInvalidURLError):
        return BadRequest("This is no URL: in one, characters that are not ASCII are percent-encoded UTF-8.")
    return BadRequest("This is not an HTTP request that can be understood in one way.")
