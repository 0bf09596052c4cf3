"""Which headers pass through the edge, and which are its own. Names are lower case, as in ASGI."""

from __future__ import annotations

from collections.abc import Iterable

Header = tuple[bytes, bytes]

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade http2-settings".split()
)
_OF_THE_CONNECTION = _HOP_BY_HOP | {b"host", b"expect", b"forwarded", b"x-request-id", b"x-real-ip", b"via"}
_FORGEABLE = (b"x-internal-", b"x-user-", b"x-auth-", b"x-forwarded-")
_OF_OUR_ANSWER = _HOP_BY_HOP | {b"date", b"server", b"x-request-id", b"x-process-time", b"x-powered-by"}

SECURITY: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""On every answer that does not say otherwise itself."""


def to_service(headers: Iterable[Header], request_id: str) -> list[tuple[str, str]]:
    """A client's headers for a service: without hop-by-hop ones and without what only the edge may state."""
    kept = _without(headers, _OF_THE_CONNECTION)
    return [
        *((name.decode("ascii", "replace"), value.decode("utf-8", "replace")) for name, value in kept),
        ("x-request-id", request_id),
    ]


def to_client(headers: Iterable[Header]) -> list[Header]:
    """A service's headers for the client: without hop-by-hop ones and what says how we are built."""
    return _without(headers, _OF_OUR_ANSWER)


def with_security(headers: list[Header]) -> list[Header]:
    """`headers` and the security headers it does not set itself."""
    given = {name.lower() for name, _ in headers}
    return headers + [header for header in SECURITY if header[0] not in given]


def size_of(headers: Iterable[Header]) -> int:
    """Bytes the headers took on the wire: each has a colon, a space and a line end."""
    return sum(len(name) + len(value) + 4 for name, value in headers)


def has_body(headers: Iterable[Header]) -> bool:
    """Whether a request announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t")) for name, value in headers
    )


def announced_length(headers: Iterable[Header]) -> int:
    """Content-Length, 0 when there is none."""
    return next((int(value) for name, value in headers if name == b"content-length" and value.isdigit()), 0)


def _without(headers: Iterable[Header], dropped: frozenset[bytes]) -> list[Header]:
    lower = [(name.lower(), value) for name, value in headers]
    named = {token.strip().lower() for name, value in lower if name == b"connection" for token in value.split(b",")}
    return [
        (name, value)
        for name, value in lower
        if name not in dropped and name not in named and not name.startswith(_FORGEABLE)
    ]
