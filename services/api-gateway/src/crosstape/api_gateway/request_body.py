"""The body of a proxied request: read whole before its service hears of the request, in room that is bounded.

A service is asked with a body that is here: one that comes slowly would hold a connection that others need.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import Receive

from crosstape.api_gateway.guests import PerNetwork
from crosstape.api_gateway.metrics import REFUSED
from crosstape.common.errors import PayloadTooLarge, PlatformError, RateLimited, ServiceUnavailable

_ROOM = 64 * 1024 * 1024
"""Bytes of all bodies together: an eighth of the memory that a gateway has in our manifests."""
_SMALL = 4 * 1024
"""Bytes of a body that always passes, so that a login does; connections bound how many of them there are."""


class Bodies:
    """The bodies that this process holds, each of at most `limit` bytes. A quarter of the room is the most for one
    network, but no less than one body."""

    def __init__(self, limit: int):
        self.limit = limit
        self._room = max(_ROOM, 4 * limit)
        self._taken = PerNetwork(self._room // 4)

    @contextmanager
    def room(self, length: int | None, network: str) -> Iterator[None]:
        """Room for one, as long as it is held. `length` is what was announced, None when nothing was.

        Raises PayloadTooLarge, RateLimited and ServiceUnavailable.
        """
        if length is not None and length > self.limit:
            raise _too_large(self.limit)
        count = self.limit if length is None else length
        if count <= _SMALL:
            yield
            return
        if refusal := self._refusal(network, count):
            REFUSED.labels("bodies").inc()
            raise refusal
        self._taken.add(network, count)
        try:
            yield
        finally:
            self._taken.remove(network, count)

    def _refusal(self, network: str, count: int) -> PlatformError | None:
        if not self._taken.has_room(network, count):
            return RateLimited("There are too many large requests on their way from your address: wait for one.", 1)
        if self._taken.total + count > self._room:
            sentence = "There are too many large requests on their way. Try again shortly."
            return ServiceUnavailable(sentence, headers={"Retry-After": "1"})
        return None


async def whole_body(receive: Receive, limit: int) -> bytes | None:
    """The body, None when the client left before its end. Raises PayloadTooLarge over `limit` bytes."""
    body, is_last = bytearray(), False
    while not is_last:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        is_last = not message.get("more_body", False)
    return bytes(body)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body may have {limit} bytes.", {"limit_bytes": limit})
