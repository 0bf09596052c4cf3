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
"""What every connection reads into, all but the rest of a short body: it is read from before the next one is, and an
answer is copied once less."""


class Broken(Exception):
    """There is no connection, it was lost before the answer's end, or what came is not HTTP."""


class Busy(Exception):
    """Every connection that there may be is in use, and none came free in time. It says nothing about the service."""


class ServiceConnection(asyncio.BufferedProtocol):
    """Carries one request at a time: `begin` it, await `head`, then `part` by part.

    `on_lost` is called once, with this connection. What a service sends without being asked ends the connection, so
    that no answer can be taken for that of another request.
    """

    def __init__(self, on_lost: Callable[[ServiceConnection], None]):
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._is_asked = False
        self._is_interim = False
        self._is_short = False
        self._head_bytes = 0
        self._length: int | None = None
        self._parts: list[bytes | memoryview] = []
        self._held = 0
        self._room = _incoming
        self._failure: Broken | None = None
        self.requests = 0
        self.retires_at = inf
        """When its pool begins no further request on it, by the loop's clock."""
        self.is_lost = False
        self.status = 0
        self.headers: list[Header] = []
        self.has_head = False
        self.is_whole = False
        self._keeps_alive = False
        self.early = b""
        """What came after the head of an answer that switches protocols."""

    # What the one who asks does

    def begin(self, head: bytes, body: bytes = b"") -> None:
        """Send a whole request."""
        self.requests += 1
        self.status, self.headers, self._head_bytes, self._length = 0, [], 0, None
        self._parts, self._held = [], 0
        self.has_head = self.is_whole = self._keeps_alive = self._is_short = False
        self._is_asked = True
        if body:
            self.transport.writelines((head, body))  # the body is not copied: how many are held is counted
        else:
            self.transport.write(head)

    async def head(self) -> None:
        """Returns when `status` and `headers` are there, and the whole body too where they say that it is short.

        Raises Broken.
        """
        while not self.is_whole and (self._is_short or not self.has_head):
            if self._failure:
                raise self._failure
            await self._wait()

    async def part(self) -> bytes | memoryview:
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
            and self._keeps_alive
            and not self._is_paused
            and not self._failure
            and not self.transport.is_closing()
            and not self.transport.get_write_buffer_size()
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
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        if self._room is not _incoming:
            self._goes_on(nbytes)
            return
        if not self._is_asked:
            self._fail("sent what nobody asked for")
            return
        try:
            self._parser.feed_data(_incoming[:nbytes])
            if self._is_short and not self.is_whole:
                self._read_past_parser()
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
        self._on_lost(self)

    # httptools' callbacks

    def on_message_begin(self) -> None:
        if self.has_head:
            raise Broken("two answers to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _LARGEST_HEAD:
            raise Broken("the head of the answer is too large")
        if not self.has_head:  # else a trailer, which nobody asked for
            name = name.lower()
            self.headers.append((name, value))
            if name == b"content-length":
                self._length = int(value)

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self._is_interim = 100 <= self.status < 200 and self.status != 101
        if self._is_interim:
            self.headers, self._length = [], None
            return
        self.has_head = True
        self._keeps_alive = self._parser.should_keep_alive()
        self._is_short = self._length is not None and self._length <= HIGH_WATER
        if not self._is_short:
            self._wake()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._held += len(body)
        if self._held > HIGH_WATER and not self._is_paused:
            self._is_paused = True
            self.transport.pause_reading()
        if not self._is_short:
            self._wake()

    def on_message_complete(self) -> None:
        if self._is_interim:
            return
        self._complete()

    # the rest

    def _read_past_parser(self) -> None:
        """The rest of a short body goes to where it is to lie. There is room for one byte more: whoever sends more than
        they said is found out as it comes."""
        body = memoryview(bytearray((self._length or 0) + 1))
        body[: self._held] = b"".join(self._parts)
        self._parts = [body[:-1]]
        self._room = body[self._held :]
        self._parser = httptools.HttpResponseParser(self)

    def _goes_on(self, count: int) -> None:
        left = len(self._room) - 1 - count
        if left > 0:
            self._room = self._room[count:]
            return
        self._room = _incoming
        self._complete()
        if left < 0:
            self._fail("sent what nobody asked for")

    def _complete(self) -> None:
        self.is_whole = True
        self._is_asked = False
        self._wake()

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

    def _ends_with_connection(self) -> bool:
        is_chunked = any(name == b"transfer-encoding" for name, _ in self.headers)
        return self.status not in _EMPTY and self._length is None and not is_chunked
