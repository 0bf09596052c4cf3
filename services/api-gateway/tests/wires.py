"""Sockets of clients and services that send what no well-behaved one would, byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

PING = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Wire:
    """A client's socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def rest(self) -> bytes:
        """Until the connection ends, however it does."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def wire(gateway: Any) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
    try:
        async with asyncio.timeout(30):
            yield Wire(reader, writer)
    finally:
        writer.close()


def assert_refused(answer: tuple[int, dict[str, str], bytes], status: int) -> None:
    """The contract's error, with the headers of every answer, on a connection that ends."""
    got, headers, body = answer
    assert got == status
    error = json.loads(body)
    assert list(error) == ["success", "error_code", "message", "details", "timestamp", "detail"]
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/json"
    assert {"x-request-id", "x-process-time", "x-content-type-options", "content-security-policy"} <= headers.keys()
    assert {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"} <= headers.keys()


@asynccontextmanager
async def narrow(gateway: Any) -> AsyncIterator[socket.socket]:
    """A client's socket that holds little of what it has not read."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        async with asyncio.timeout(30):
            await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", gateway.server.port))
            yield narrow


async def drained(receive: Any) -> None:
    """Returns when the service's own client (the gateway) has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Misbehaving:
    """A service that speaks bytes: `script(request head, connection number, request number)` gives what it sends, and
    closes after an answer that ends with None."""

    def __init__(self) -> None:
        self.script: Callable[[bytes, int, int], list[bytes | None]] = lambda head, connection, request: []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, request = self.connections, 0
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request += 1
                for part in self.script(head, number, request):
                    if part is None:
                        return
                    writer.write(part)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
