"""Below ASGI: how many clients there may be, and how long one may take to ask and to read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from crosstape.api_gateway import client_connection, patience
from crosstape.api_gateway.address import Addresses
from crosstape.api_gateway.arrival import Bounds
from crosstape.api_gateway.guests import Guests
from crosstape.api_gateway.rates import Rate, untouched
from crosstape.api_gateway.untaken import untaken_bytes

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

wires = import_module("services.api-gateway.tests.wires")
wire, narrow, assert_refused, PING = wires.wire, wires.narrow, wires.assert_refused, wires.PING


async def test_slow_heads_are_told_and_idle_connections_end(open_gateway: Any) -> None:
    gateway = await open_gateway(1, header_seconds=0.2)
    async with wire(gateway) as line:
        line.writer.write(b"GET /ping HTTP/1.1\r\nHost:")
        assert_refused(await line.answer(), 408)
        assert await line.rest() == b""
    async with wire(gateway) as line:  # a byte now and then does not help
        dripping = True
        while dripping:
            line.writer.write(b"G" if dripping is True else b"E")
            try:
                async with asyncio.timeout(0.05):
                    dripping = not await line.reader.read()
            except TimeoutError:
                continue
    async with wire(gateway) as line:
        assert await line.rest() == b"", "without a word to one who said none"
    async with wire(gateway) as line:
        line.writer.write(PING)
        assert (await line.answer())[0] == 200
        line.writer.write(b"GET /ping HTTP/1.1\r\n")
        assert_refused(await line.answer(), 408)


async def test_idle_attackers_do_not_keep_others_waiting(open_gateway: Any) -> None:
    gateway = await open_gateway(1, header_seconds=60)
    lines = [await asyncio.open_connection("127.0.0.1", gateway.server.port) for _ in range(300)]
    for _, writer in lines:
        writer.write(b"GET /ping HTTP/1.1\r\nHost: a\r\nX-Slow: ")
    async with asyncio.timeout(30):  # before the attackers are cut
        assert (await gateway.ask("/ping")).status == 200
    for _, writer in lines:
        writer.transport.abort()


async def test_more_connections_than_there_may_be_are_told_so(open_gateway: Any, eventually: Any) -> None:
    gateway = await open_gateway(1, connections=2)
    async with wire(gateway) as first, wire(gateway) as second:
        for line in (first, second):
            line.writer.write(PING)
            assert (await line.answer())[0] == 200
        async with wire(gateway) as third:
            assert_refused(await third.answer(), 503)
            assert await third.rest() == b""

    async def has_room() -> bool:
        async with wire(gateway) as line:
            line.writer.write(PING)
            return (await line.answer())[0] == 200

    await eventually(has_room)


async def test_an_address_has_so_many_connections_and_a_proxy_as_many_as_it_needs(
    open_gateway: Any, eventually: Any
) -> None:
    gateway = await open_gateway(1, connections_per_address=2)
    proxied = await open_gateway(1, connections_per_address=1, trusted_proxies="127.0.0.1")

    async def has_room() -> bool:
        async with wire(gateway) as line:
            line.writer.write(PING)
            return (await line.answer())[0] == 200

    for asked in (gateway, proxied):
        async with wire(asked) as first, wire(asked) as second:
            for line in (first, second):
                line.writer.write(PING)
                assert (await line.answer())[0] == 200
            if asked is gateway:
                async with wire(gateway) as third:
                    answer = await third.answer()
                    assert_refused(answer, 429)
                    assert answer[1]["retry-after"] == "5"
                    assert await third.rest() == b""
    await eventually(has_room)
    for _ in range(3):
        await eventually(has_room)


async def test_a_client_that_asks_on_without_reading_is_answered_no_more_and_cut(
    gateway: Any, service: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "KEEP_ALIVE_SECONDS", 0.5)
    service.answers["/flood/symbols"] = scripted(200, bytes(200_000))
    loop = asyncio.get_running_loop()
    async with narrow(gateway) as client:
        with contextlib.suppress(ConnectionError):
            while True:
                await loop.sock_sendall(client, b"GET /flood/symbols HTTP/1.1\r\nHost: a\r\n\r\n")
                await asyncio.sleep(0.005)
    assert len(service.seen) * 200_000 < 16 * 1024 * 1024, "what the kernel holds"


async def test_a_client_that_never_reads_a_large_page_is_cut(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "KEEP_ALIVE_SECONDS", 0.5)
    connection_lost, is_cut = client_connection.ClientConnection.connection_lost, asyncio.Event()

    def lost(connection: client_connection.ClientConnection, error: Exception | None) -> None:
        connection_lost(connection, error)
        is_cut.set()

    monkeypatch.setattr(client_connection.ClientConnection, "connection_lost", lost)
    loop = asyncio.get_running_loop()
    async with narrow(gateway) as client:
        page = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n"
        await loop.sock_sendall(client, page * 8)
        await is_cut.wait()


async def test_a_client_that_reads_late_gets_every_answer(
    gateway: Any, service: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause_writing, is_full = client_connection.ClientConnection.pause_writing, asyncio.Event()

    def paused(connection: client_connection.ClientConnection) -> None:
        pause_writing(connection)
        is_full.set()

    monkeypatch.setattr(client_connection.ClientConnection, "pause_writing", paused)
    service.answers.update({f"/late{n}/symbols": scripted(200, b"%02d" % n * 100_000) for n in range(30)})
    loop = asyncio.get_running_loop()
    async with narrow(gateway) as client:
        requests = [b"GET /late%d/symbols HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(30)]
        await loop.sock_sendall(client, b"".join(requests) + PING)
        await is_full.wait()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
        received = b""
        while not received.endswith(b'pong"}'):
            received += await loop.sock_recv(client, 65_536)
    for number in range(30):
        assert received.count(b"\r\n\r\n" + b"%02d" % number * 100_000 + b"HTTP/1.1 200") == 1


class Sluggish:
    """A transport to a client that takes so many bytes whenever it is looked at."""

    def __init__(self, unsent: int, takes: int):
        self._unsent = unsent
        self._takes = takes
        self.is_closing = asyncio.Event().is_set
        self.aborted = asyncio.Event()
        self.abort = self.aborted.set
        self.writelines: Callable[[list[bytes]], None] = lambda lines: None

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        self._unsent -= min(self._unsent, self._takes)
        return self._unsent

    def close(self) -> None:
        pass


def connected(client: Sluggish, app: Any = None, stall_seconds: float = 60.0) -> client_connection.ClientConnection:
    connection = client_connection.ClientConnection(
        bounds=Bounds(url=4096, headers=4096, header_seconds=10.0, stall_seconds=stall_seconds, connections=10),
        guests=Guests(Addresses([]), 1),
        untouched=untouched(Rate.of(1, 1)),
        config=SimpleNamespace(loaded_app=app),
        server_state=SimpleNamespace(connections=set(), tasks=set(), total_requests=0, default_headers=[]),
        app_state={},
    )
    connection.connection_made(client)  # type: ignore[arg-type]
    return connection


@pytest.mark.parametrize(("takes", "left"), [(1, True), (16 * 1024, False)])
async def test_to_take_a_byte_now_and_then_is_not_to_read(
    monkeypatch: pytest.MonkeyPatch, takes: int, left: bool
) -> None:
    monkeypatch.setattr(patience, "KEEP_ALIVE_SECONDS", 0.01)
    client = Sluggish(300 * 1024, takes)
    connected(client).shutdown()
    async with asyncio.timeout(5):
        await client.aborted.wait()
    assert bool(client._unsent) is left


async def test_how_much_of_an_answer_is_taken_is_not_looked_at_before_it_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []

    def look(transport: Any) -> int:
        looks.append(transport)
        return untaken_bytes(transport)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"whole"})
        assert not looks

    monkeypatch.setattr(patience, "untaken_bytes", look)
    monkeypatch.setattr(patience, "KEEP_ALIVE_SECONDS", 0.01)
    client = Sluggish(300 * 1024, 1)
    connected(client, answer).data_received(PING)
    async with asyncio.timeout(5):
        await client.aborted.wait()
    assert len(looks) >= 2, "who takes nothing is cut in the end"


async def test_who_takes_everything_at_the_last_moment_is_not_cut() -> None:
    is_full, is_taken = asyncio.Event(), asyncio.Event()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        is_taken.set()
        await send({"type": "http.response.body"})

    client = Sluggish(0, 0)
    connection = connected(client, answer, stall_seconds=0.0)

    def write(lines: list[bytes]) -> None:
        if not is_full.is_set():
            connection.pause_writing()
            is_full.set()

    client.writelines = write
    connection.data_received(PING)
    async with asyncio.timeout(5):
        await is_full.wait()
        connection.resume_writing()  # with the watchdog due before the answer goes on
        await is_taken.wait()
    assert not client.aborted.is_set()
    connection.connection_lost(None)
