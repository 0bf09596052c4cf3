"""The caller's side of a proxied request: its body, counted as it comes, and its leaving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.types import Receive

from crosstape.api_gateway.headers import Header, announced_length, has_body
from crosstape.common.errors import PayloadTooLarge, PlatformError


class Client:
    """Reads one ASGI request.

    `failure` says why its body broke off, `is_gone` that nobody waits for the answer, `is_awaited` that the next part
    of its body is due.
    """

    def __init__(self, receive: Receive, headers: list[Header], body_limit: int):
        """Raises PayloadTooLarge when the announced length already is."""
        self._receive = receive
        self._limit = body_limit
        self._has_left_body = asyncio.Event()
        self.has_body = has_body(headers)
        self.is_gone = False
        self.is_awaited = False
        self.failure: PlatformError | None = None
        if announced_length(headers) > body_limit:
            raise self._too_large()
        if not self.has_body:
            self._has_left_body.set()

    async def body(self) -> AsyncIterator[bytes]:
        """The body in the pieces it comes in, one in memory at a time. Breaks off with EOFError: see `failure`."""
        taken = 0
        try:
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
        finally:
            self._has_left_body.set()

    async def leaves(self) -> None:
        """Returns when the client closed its connection."""
        await self._has_left_body.wait()
        while not self.is_gone:
            self.is_gone = (await self._receive())["type"] == "http.disconnect"

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body may have {self._limit} bytes.", {"limit_bytes": self._limit})
