"""The caller's side of a proxied request: its body, counted as it comes, and its leaving."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.types import Receive

from crosstape.common.errors import PayloadTooLarge, PlatformError


class Client:
    """Reads one ASGI request.

    `failure` says why its body broke off, `is_gone` that nobody waits for the answer, `is_awaited` that the next part
    of its body is due.
    """

    def __init__(self, receive: Receive, length: int | None, body_limit: int):
        """`length` as announced, None when it was not. Raises PayloadTooLarge when it is."""
        self._receive = receive
        self._limit = body_limit
        self.length = length
        self.has_body = self.length != 0
        self.is_gone = False
        self.is_awaited = False
        self.failure: PlatformError | None = None
        if length is not None and length > body_limit:
            raise self._too_large()

    async def body(self) -> AsyncIterator[bytes]:
        """The body in the pieces it comes in, one in memory at a time. Breaks off with EOFError: see `failure`."""
        taken = 0
        while True:
            self.is_awaited = True
            message = await self._receive()
            self.is_awaited = False
            if message["type"] == "http.disconnect":
                self.is_gone = True
                raise EOFError("the client left")
            piece = message.get("body", b"")
            taken += len(piece)
            if taken > self._limit:
                self.failure = self._too_large()
                raise EOFError("the body is too large")
            if piece:
                yield piece
            if not message.get("more_body", False):
                return

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body may have {self._limit} bytes.", {"limit_bytes": self._limit})
