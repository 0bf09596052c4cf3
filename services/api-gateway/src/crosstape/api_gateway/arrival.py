"""The head of a request as it arrives: its bounds, and the turn that it becomes."""

from __future__ import annotations

from random import getrandbits
from typing import Any
from urllib.parse import unquote

import httptools
from msgspec import Struct

from crosstape.api_gateway.headers import HEEDED, Header
from crosstape.api_gateway.refusal import BadRequest, HeadersTooLarge, UriTooLong
from crosstape.api_gateway.turn import EXTENSION, Line, Turn
from crosstape.common.web.request_context import valid_request_id

MOST_HEADERS = 100
_SLACK = 64 * 1024


class Bounds(Struct, frozen=True):
    """Of sizes in bytes, of time in seconds, and of how many connections there may be in all."""

    url: int
    headers: int
    header_seconds: float
    stall_seconds: float
    """How long a client may take next to nothing of an answer that is still being made."""
    connections: int


class Arrival:
    """Takes a head piece by piece. What is raised is the answer: UriTooLong, HeadersTooLarge, BadRequest."""

    def __init__(self, bounds: Bounds):
        self._bounds = bounds
        self._url = b""
        self._headers: list[Header] = []
        self._heeded: dict[bytes, list[bytes]] = {}
        self._header_bytes = 0
        self._unfinished = 0

    def add_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url
        if len(self._url) > self._bounds.url:
            raise UriTooLong(f"The URL may have {self._bounds.url} bytes.")

    def add_header(self, name: bytes, value: bytes) -> None:
        """A whole header."""
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self._bounds.headers or len(self._headers) >= MOST_HEADERS:
            raise self._too_large()
        name = name.lower()
        self._headers.append((name, value))
        if name in HEEDED:
            self._heeded.setdefault(name, []).append(value)

    def goes_on(self, count: int) -> None:
        """`count` more bytes came, and it is still not complete: a header is seen when it is whole, until then only
        its bytes can be counted."""
        self._unfinished += count
        if self._unfinished > self._bounds.url + self._bounds.headers + _SLACK:
            raise self._too_large()

    @property
    def request_id(self) -> str:
        """The client's, if a valid one has come; else a new one."""
        value = self._last(b"x-request-id")
        return (value and valid_request_id(value)) or new_request_id()

    def turn(self, parser: httptools.HttpRequestParser, line: Line, peer: Any, state: dict[str, Any]) -> Turn:
        """The request, complete but for its body; `peer` is the client's address, `state` the application's."""
        version = parser.get_http_version()
        if version not in ("1.0", "1.1"):
            raise BadRequest("This is neither HTTP/1.0 nor HTTP/1.1.")
        hosts = len(self._heeded.get(b"host", ()))
        if hosts != 1 and not (version == "1.0" and hosts == 0):
            raise BadRequest("A request has one Host header.")
        body_length = None if b"transfer-encoding" in self._heeded else int(self._last(b"content-length") or 0)
        upgrades = parser.should_upgrade()
        if upgrades and body_length != 0:
            raise BadRequest("A request that asks for another protocol has no body.")
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": "http",
            "server": None,
            "client": peer,
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self._headers,
            "state": state,
        }
        turn = Turn(
            line,
            scope,
            self.request_id,
            heeded=self._heeded,
            body_length=body_length,
            keeps_alive=version == "1.1" and not upgrades and parser.should_keep_alive(),
            expects_continue=self._last(b"expect").lower() == b"100-continue",
        )
        turn.wants_socket = upgrades and version == "1.1" and self._last(b"upgrade").lower() == b"websocket"
        scope["extensions"] = {EXTENSION: turn}
        return turn

    def _last(self, name: bytes) -> bytes:
        values = self._heeded.get(name)
        return values[-1] if values else b""

    def _too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(f"The headers may have {self._bounds.headers} bytes, and be {MOST_HEADERS}.")


def new_request_id() -> str:
    """It names a request in the logs and is no secret."""
    return f"{getrandbits(128):032x}"
