"""One HTTP/1.1 connection to a service: bare protocol callbacks, no stream and no task between socket and reader."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from math import inf
from typing import cast

import httptools

from crosstape.api_gateway.headers import Header

HIGH_WATER = 256 * 1024
"""Bytes of an answer that wait for their reader before the socket is left alone."""
_RECEIVE_BUFFER = 1024 * 1024
_LARGEST_HEAD = 64 * 1024
_EMPTY = (204, 304)

_incoming = memoryview(bytearray(HIGH_WATER))
"""What every connection reads into: it is read from before the next one is, and an answer is copied once less."""


class Broken(Exception):
    """There is no connection, it was lost before the answer's end, or what came is not HTTP."""


class Busy(Exception):
    """Every connection that there may be is in use, and none came free in time. It says nothing about the service."""


class Connection(asyncio.BufferedProtocol):
    """Carries one request at a time: `begin` it, `write` its body if it has one, await `head`, then `part` by part.

    `on_lost` is called once, with this connection. What a service sends without being asked ends the connection, so
    that no answer can be taken for that of another request.
    """

    def __init__(self, on_lost: Callable[[Connection], None]):
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._is_paused = False
        self._is_asked = False
        self._is_interim = False
        self._is_collecting = False
        self._head_bytes = 0
        self._parts: list[bytes] = []
        self._held = 0
        self._failure: Broken | None = None
        self.requests = 0
        self.retires_at = inf
        """When its pool begins no further request on it, by the loop's clock."""
        self.is_lost = False
        self.status = 0
        self.headers: list[Header] = []
        self.is_sent = False
        self.has_head = False
        self.is_whole = False
        self._keeps_alive = False
        self.early = b""
        """What came after the head of an answer that switches protocols."""

    # What the one who asks does

    def begin(self, head: bytes, *, is_sent: bool) -> None:
        """Send the head of a request; `is_sent` when it is all there is of it."""
        self.requests += 1
        self.status, self.headers, self._head_bytes = 0, [], 0
        self._parts, self._held = [], 0
        self.has_head = self.is_whole = self._keeps_alive = self._is_collecting = False
        self._is_asked, self.is_sent = True, is_sent
        self.transport.write(head)

    def write(self, data: bytes) -> None:
        """Send a part of the request's body; `drain` after it."""
        self.transport.write(data)

    async def drain(self) -> None:
        """Returns when the service has taken enough of what was written, or is gone."""
        if self._writable:
            await self._writable

    async def head(self) -> None:
        """Returns when `status` and `headers` are there. Raises Broken."""
        while not self.has_head:
            if self._failure:
                raise self._failure
            await self._wait()

    async def collect(self) -> None:
        """Returns when the whole body is here, if it says that it is short: fewer turns than part by part.

        Raises Broken.
        """
        if self.is_whole or not self._is_short():
            return
        self._is_collecting = True
        while not self.is_whole:
            if self._failure:
                raise self._failure
            await self._wait()

    async def part(self) -> bytes:
        """All of the body that has come, b"" at its end. Raises Broken when the answer ends before that."""
        while not self._parts:
            if self.is_whole:
                return b""
            if self._failure:
                raise self._failure
            await self._wait()
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._held = [], 0
        if self._is_paused:
            self._is_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
        return data

    @property
    def is_ready(self) -> bool:
        """Whether `part` has not to wait."""
        return bool(self._parts) or self.is_whole or self._failure is not None

    @property
    def is_read(self) -> bool:
        """Whether the answer is whole and has been read to its end."""
        return self.is_whole and not self._parts

    @property
    def is_reusable(self) -> bool:
        """Whether another request may follow."""
        return (
            self.is_whole
            and self.is_sent
            and self._keeps_alive
            and not self._is_paused
            and not self._failure
            and not self.transport.is_closing()
        )

    def abort(self) -> None:
        """End it at once."""
        self.transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        # Left to itself the kernel holds up to 32 MiB of an answer for a slow client, beyond what we hold.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _incoming

    def buffer_updated(self, nbytes: int) -> None:
        if not self._is_asked:
            self._fail("sent what nobody asked for")
            return
        try:
            self._parser.feed_data(_incoming[:nbytes])
        except httptools.HttpParserUpgrade as upgrade:
            self._is_paused = True
            self.transport.pause_reading()
            self.early = bytes(_incoming[upgrade.args[0] : nbytes])
        except httptools.HttpParserError as error:
            self._fail(f"not HTTP: {error.__context__ or error}")

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        if self.has_head and not self.is_whole and error is None and self._ends_with_connection():
            self.is_whole = True
        if not self.is_whole:
            self._failure = self._failure or Broken("connection lost")
        self._wake()
        self.resume_writing()
        self._on_lost(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._writable:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if self.has_head:
            raise Broken("two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _LARGEST_HEAD:
            raise Broken("the head of the answer is too large")
        if not self.has_head:  # else a trailer, which nobody asked for
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._is_interim = 100 <= self.status < 200 and self.status != 101
        if self._is_interim:
            self.headers = []
            return
        self.has_head = True
        self._keeps_alive = self._parser.should_keep_alive()
        self._wake()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._held += len(body)
        if self._held > HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        if not self._is_collecting:
            self._wake()

    def on_message_complete(self) -> None:
        if self._is_interim:
            return
        self.is_whole = True
        self._is_asked = False
        self._wake()

    # the rest

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        self._failure = Broken(reason)
        self.transport.abort()
        self._wake()

    def _is_short(self) -> bool:
        return any(name == b"content-length" and int(value) <= HIGH_WATER for name, value in self.headers)

    def _ends_with_connection(self) -> bool:
        names = {name for name, _ in self.headers}
        return self.status not in _EMPTY and not names & {b"content-length", b"transfer-encoding"}
