"""Which headers pass through the edge, and which are its own. Names are lower case, as in ASGI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Header = tuple[bytes, bytes]

HEEDED = frozenset(
    b"accept authorization content-length expect host transfer-encoding upgrade x-forwarded-for x-request-id".split()
)
"""The headers of a request that the edge itself goes by."""
Heeded = Mapping[bytes, Sequence[bytes]]
"""Their values by name, of those there are."""

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade http2-settings".split()
)
_OF_THE_CONNECTION = _HOP_BY_HOP | {
    b"host", b"content-length", b"expect", b"authorization", b"forwarded", b"x-request-id", b"x-real-ip",
    b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip", b"client-ip", b"via",
    b"traceparent", b"tracestate", b"baggage", b"x-original-url", b"x-rewrite-url", b"x-http-method-override",
}  # fmt: skip
_FORGEABLE = (b"x-crosstape-", b"x-internal-", b"x-user-", b"x-auth-", b"x-forwarded-", b"x-original-")
_OF_OUR_ANSWER = _HOP_BY_HOP | {b"date", b"server", b"x-request-id", b"x-process-time", b"x-powered-by"}
_OF_A_HANDSHAKE = frozenset({b"authorization", b"user-agent", b"accept-language"})
_HANDSHAKE = b"sec-websocket-"


def to_service(headers: Iterable[Header]) -> list[Header]:
    """A client's headers for a service: without hop-by-hop ones, its credential, and what only the edge may state.

    Where the body ends is among the latter: `Connection: content-length` would have it end elsewhere for the service,
    and begin another request there. What the edge states is added afterwards, where no `Connection` can name it. An
    underscore counts as a hyphen: there are servers that read both as one.
    """
    return _without(headers, _OF_THE_CONNECTION)


def to_socket_service(headers: Iterable[Header]) -> list[Header]:
    """A WebSocket handshake's headers for the service: what the two ends negotiate, and the client's credential."""
    return [(name, value) for name, value in headers if name.startswith(_HANDSHAKE) or name in _OF_A_HANDSHAKE]


def to_client(headers: Iterable[Header]) -> list[Header]:
    """A service's headers for the client: without hop-by-hop ones and what says how we are built."""
    return _without(headers, _OF_OUR_ANSWER)


def request_head(method: bytes, target: bytes, host: bytes, headers: Iterable[Header]) -> bytes:
    """The first bytes of a request. Everything in it has come through a strict parser or was made here."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"%b %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (method, target, host, b"".join(lines))


def _without(headers: Iterable[Header], dropped: frozenset[bytes]) -> list[Header]:
    kept = []
    named: set[bytes] = set()
    for header in headers:
        name, value = header
        if name in dropped:
            if name == b"connection":
                named.update(token.strip().lower() for token in value.split(b","))
        elif not (name[:1] == b"x" and name.replace(b"_", b"-").startswith(_FORGEABLE)):
            kept.append(header)
    return [header for header in kept if header[0] not in named] if named else kept
