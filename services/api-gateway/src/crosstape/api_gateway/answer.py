"""The bytes of an answer's head: what every answer of the edge has, whoever makes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from msgspec import Struct

from crosstape.api_gateway.headers import Header
from crosstape.api_gateway.rates import Verdict
from crosstape.common.errors import PlatformError
from crosstape.common.web.errors import error_body

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus}
_SECURITY = {
    b"cache-control": b"no-store",  # tokens, and prices that are old a moment later
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
"""Where an answer does not say otherwise itself."""
_SECURITY_LINES = b"".join(b"%b: %b\r\n" % header for header in _SECURITY.items())
_OURS = frozenset({b"connection", b"date", b"transfer-encoding", b"x-process-time", b"x-request-id"})
_NOTED = _OURS | _SECURITY.keys() | {b"content-length"}


class Head(Struct):
    """`lines` but for what says where the body ends; `length` is that of the body, when the answer told it."""

    lines: list[bytes]
    length: int | None
    closes: bool


def answer_head(status: int, headers: Iterable[Header], date: bytes, request_id: str, seconds: float) -> Head:
    """Names are lower case. Raises ValueError for a value that would begin a line of its own."""
    lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, date]
    length, closes, given = None, False, None
    for name, value in headers:
        if b"\n" in value or b"\r" in value:
            raise ValueError("a header's value has a line end")
        if name in _NOTED:
            if name == b"connection":
                closes = value.lower() == b"close"
            if name in _OURS:
                continue
            if name == b"content-length":
                length = int(value)
            else:
                given = {*(given or ()), name}
        lines.append(b"%b: %b\r\n" % (name, value))
    if given is None:
        lines.append(_SECURITY_LINES)
    else:
        lines.extend(b"%b: %b\r\n" % header for header in _SECURITY.items() if header[0] not in given)
    lines.append(b"x-request-id: %b\r\nx-process-time: %.6f\r\n" % (request_id.encode(), seconds))
    return Head(lines, length, closes)


def whole_answer(error: PlatformError, date: bytes, request_id: str, verdict: Verdict) -> list[bytes]:
    """The contract's error as the last answer of a connection, to what never became a request."""
    body = error_body(error)
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    lines = answer_head(error.status, headers, date, request_id, 0.0).lines
    return [*lines, limit_lines(verdict), b"connection: close\r\n\r\n", body]


def limit_lines(verdict: Verdict) -> bytes:
    """The contract's three; Reset is when the bucket will be full again."""
    return b"ratelimit-limit: %d\r\nratelimit-remaining: %d\r\nratelimit-reset: %d\r\n" % (
        verdict.limit,
        verdict.remaining,
        verdict.reset,
    )
