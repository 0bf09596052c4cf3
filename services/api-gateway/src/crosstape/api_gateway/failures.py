"""What a client is told when a service fails it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from msgspec import Struct

from crosstape.api_gateway.headers import Header
from crosstape.common.errors import (
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    PlatformError,
    ServiceUnavailable,
    UpstreamTimeout,
    ValidationFailed,
)
from crosstape.common.identity.internal import HEADER, REFUSED

_IDENTITY, _REFUSED = HEADER.lower().encode(), REFUSED.encode()


class UpstreamFailed(Exception):
    """The service is to blame: its breaker and the metrics count it by `reason`. `answer` is for the client."""

    def __init__(self, reason: str, answer: PlatformError):
        super().__init__(reason)
        self.reason = reason
        self.answer = answer


class ErrorBody(Struct):
    """The contract's error body."""

    success: Literal[False]
    error_code: str
    message: str
    details: dict[str, Any]
    timestamp: str
    detail: str


_decoder = msgspec.json.Decoder(ErrorBody)


def is_contract_error(body: bytes) -> bool:
    """Whether a service's error answer may pass as it is."""
    try:
        _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def unavailable(service: str, retry_after: int | None = None) -> ServiceUnavailable:
    """503; `retry_after` in seconds when it is known."""
    return ServiceUnavailable(
        f"The {service} service is not available at the moment. Try again shortly.",
        {"service": service},
        {"Retry-After": str(retry_after)} if retry_after else None,
    )


def unreachable(service: str) -> UpstreamFailed:
    """No connection, or one that broke before an answer."""
    return UpstreamFailed("unreachable", unavailable(service))


def is_identity_refusal(headers: Iterable[Header]) -> bool:
    """Whether the service did not believe what the edge shows of the caller, which says nothing about the caller."""
    return any(name == _IDENTITY and value == _REFUSED for name, value in headers)


def identity_refused(service: str) -> UpstreamFailed:
    """Secrets or clocks of the edge and the service differ; the service's log says which."""
    return UpstreamFailed("identity", unavailable(service))


def too_slow(service: str, seconds: float) -> UpstreamFailed:
    """Nothing came for `seconds`."""
    sentence = f"The {service} service took longer than {seconds:g} s."
    return UpstreamFailed("timeout", UpstreamTimeout(sentence, {"service": service}))


def replacement(service: str, status: int) -> UpstreamFailed | PlatformError:
    """What stands for an answer that is neither a success nor the contract's error: 3xx, foreign 4xx and 5xx."""
    if status == 404:
        return NotFound("There is nothing here.")
    if status == 405:
        return MethodNotAllowed("The method is not allowed here.")
    if status == 413:
        return PayloadTooLarge("The body is too large.")
    if 400 <= status < 500:
        return ValidationFailed("The request was refused.", {"status": status})
    if status in (502, 503):
        return UpstreamFailed("foreign_error", unavailable(service))
    if status == 504:
        sentence = f"The {service} service took too long."
        return UpstreamFailed("foreign_error", UpstreamTimeout(sentence, {"service": service}))
    return UpstreamFailed("foreign_error", PlatformError("An unexpected error occurred. It has been logged."))
