"""Below ASGI: what clients and services send that no well-behaved one would, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from crosstape.api_gateway import pool, server
from crosstape.api_gateway.address import Addresses, Guests
from crosstape.api_gateway.arrival import Bounds

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

PING = b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n"


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
        async with asyncio.timeout(8):
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


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /ping HTTP/1.1\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /ping HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /ping HTTP/1.9\r\nHost: a\r\n\r\n", 400),
        (b"GET /ping\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n", 400),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
        (b"POST /login HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX", 400),
        (b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\n" + b"X-A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\nX-A: " + b"b" * 17_000 + b"\r\n\r\n", 431),
        (b"GET /ping HTTP/1.1\r\nHost: a\r\n" + b"X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" * 99 * 5, 431),
    ],
)  # fmt: skip
async def test_what_is_not_one_clean_request_is_refused_and_the_connection_ends(
    gateway: Any, service: Any, request_bytes: bytes, status: int
) -> None:
    async with wire(gateway) as line:
        line.writer.write(request_bytes + PING)
        assert_refused(await line.answer(), status)
        assert await line.rest() == b"", "nothing after it is answered"
    assert not any(seen.method == "GET" for seen in service.seen)


async def test_a_header_that_never_ends_is_refused_while_it_comes(gateway: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(b"GET /ping HTTP/1.1\r\nHost: a\r\nX-Long: ")
        sent = 0
        try:
            while sent < 10_000_000 and not line.reader.at_eof():
                line.writer.write(b"a" * 10_000)
                await line.writer.drain()
                sent += 10_000
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await line.rest()
        assert b" 431 " in answer.split(b"\r\n")[0] or answer == b"", "said, unless the reset was quicker"
    assert (await gateway.ask("/ping")).status == 200


async def test_a_trailer_that_never_ends_is_not_kept(gateway: Any, service: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                line.writer.write(b"a" * 100_000)
                await line.writer.drain()
        await line.rest()  # it ends although the trailer does not


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
    gateway = await open_gateway(1, header_seconds=5)
    lines = [await asyncio.open_connection("127.0.0.1", gateway.server.port) for _ in range(300)]
    for _, writer in lines:
        writer.write(b"GET /ping HTTP/1.1\r\nHost: a\r\nX-Slow: ")
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


async def test_http_1_0_gets_no_chunks_and_an_end(gateway: Any, service: Any) -> None:
    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    service.answers["/old/symbols"] = endless
    async with wire(gateway) as line:
        line.writer.write(b"GET /old/symbols HTTP/1.0\r\n\r\n")
        head, _, body = (await line.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"transfer-encoding" not in head
        assert body == b"onetwo"


async def test_requests_that_come_together_are_answered_in_order(gateway: Any, service: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(b"".join(b"GET /klines/okx/P%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(20)))
        for number in range(20):
            assert json.loads((await line.answer())[2]) == {"path": f"/klines/okx/P{number}"}
        line.writer.write(PING)
        assert (await line.answer())[0] == 200


async def test_a_request_under_way_is_answered_before_the_nonsense_after_it_ends_the_connection(
    gateway: Any, service: Any
) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    service.answers["/first/symbols"] = wait
    async with wire(gateway) as line:
        line.writer.write(b"GET /first/symbols HTTP/1.1\r\nHost: a\r\n\r\nNONSENSE\r\n\r\n")
        await asked.wait()
        may_answer.set()
        assert (await line.answer())[2] == b"ok"
        assert await line.rest() == b""


async def test_a_flood_of_early_requests_ends_the_connection(gateway: Any, service: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(PING * 1000)
        answers = (await line.rest()).count(b"HTTP/1.1 200")
        assert answers <= 40


@asynccontextmanager
async def narrow(gateway: Any) -> AsyncIterator[socket.socket]:
    """A client's socket that holds little of what it has not read."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        async with asyncio.timeout(8):
            await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", gateway.server.port))
            yield narrow


async def test_a_client_that_asks_on_without_reading_is_answered_no_more_and_cut(
    gateway: Any, service: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.5)
    service.answers["/flood/symbols"] = scripted(200, bytes(200_000))
    loop = asyncio.get_running_loop()
    async with narrow(gateway) as client:
        with contextlib.suppress(ConnectionError):
            while True:
                await loop.sock_sendall(client, b"GET /flood/symbols HTTP/1.1\r\nHost: a\r\n\r\n")
                await asyncio.sleep(0.005)
    assert len(service.seen) * 200_000 < 16 * 1024 * 1024, "what the kernel holds"


async def test_a_client_that_reads_late_gets_every_answer(
    gateway: Any, service: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause_writing, is_full = server.ClientConnection.pause_writing, asyncio.Event()

    def paused(connection: server.ClientConnection) -> None:
        pause_writing(connection)
        is_full.set()

    monkeypatch.setattr(server.ClientConnection, "pause_writing", paused)
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

    def get_extra_info(self, name: str) -> Any:
        return "127.0.0.1", 1

    def get_write_buffer_size(self) -> int:
        self._unsent -= min(self._unsent, self._takes)
        return self._unsent

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("takes", "left"), [(1, True), (16 * 1024, False)])
async def test_to_take_a_byte_now_and_then_is_not_to_read(
    monkeypatch: pytest.MonkeyPatch, takes: int, left: bool
) -> None:
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.01)
    state = SimpleNamespace(connections=set())
    bounds = Bounds(4096, 4096, 10.0, 10)
    config = SimpleNamespace(loaded_app=None)
    connection = server.ClientConnection(
        bounds=bounds,
        guests=Guests(Addresses([]), 1),
        config=config,
        server_state=state,
        app_state={},
    )
    client = Sluggish(300 * 1024, takes)
    connection.connection_made(client)  # type: ignore[arg-type]
    connection.shutdown()
    async with asyncio.timeout(5):
        await client.aborted.wait()
    assert bool(client._unsent) is left


async def test_trailers_add_nothing_to_a_request(gateway: Any, service: Any) -> None:
    seen: dict[bytes, bytes] = {}

    async def collect(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        seen.update(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    service.answers["/echo"] = collect
    async with wire(gateway) as line:
        line.writer.write(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-Trailer: evil\r\n\r\n"
        )
        assert (await line.answer())[0] == 200
    assert b"x-trailer" not in seen


async def test_another_protocol_is_declined_by_an_answer_in_this_one(gateway: Any, service: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(
            b"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
            b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        )
        status, headers, body = await line.answer()
        assert (status, headers["connection"], body) == (200, "close", b'{"message":"pong"}')
        assert await line.rest() == b""


async def test_a_body_is_invited_and_one_that_nobody_wants_is_not_read_for_long(gateway: Any, service: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await line.reader.readuntil(b"\r\n\r\n")) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.writer.write(b"ok")
        assert (await line.answer())[0] == 200
    async with wire(gateway) as line:
        line.writer.write(b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        assert (await line.answer())[0] == 405
        while not line.reader.at_eof():  # one byte at a time, for as long as it is taken
            line.writer.write(b"x")
            try:
                async with asyncio.timeout(0.1):
                    await line.reader.read()
            except TimeoutError:
                continue
            except ConnectionError:
                break
    async with wire(gateway) as line:  # what comes whole does not cost the connection
        line.writer.write(b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" + PING)
        assert [(await line.answer())[0] for _ in range(2)] == [405, 200]


async def test_a_body_of_ten_megabytes_is_refused_and_the_gateway_goes_on(gateway: Any, service: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
        status, _, body = await line.answer()
        assert (status, json.loads(body)["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert (await gateway.ask("/ping")).status == 200
    assert service.seen == []


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


@pytest_asyncio.fixture(loop_scope="session")
async def misbehaving() -> AsyncIterator[tuple[Misbehaving, int]]:
    service = Misbehaving()
    async with await asyncio.start_server(service.serve, "127.0.0.1", 0) as server:
        yield service, server.sockets[0].getsockname()[1]


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("sent", "status", "body"),
    [
        ([OK], 200, b"ok"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], 200, b"ok"),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"until ", b"the end", None], 200, b"until the end"),
        ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", None], 200, b"ok"),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b""),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n"], 200, b"ok"),
        ([b"HTTP/1.1 299 Odd\r\ncontent-length: 0\r\n\r\n"], 299, b""),
        ([b"NONSENSE\r\n\r\n"], 503, None),
        ([b"HTTP/1.1 200 OK\r\nX-A: b\nX-Evil: 1\r\ncontent-length: 2\r\n\r\nok"], 503, None),
        ([b"HTTP/1.1 200 OK\r\nX-A: b\rX-Evil: 1\r\ncontent-length: 2\r\n\r\nok"], 503, None),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok"], 503, None),
        ([b"HTTP/1.1 200 OK\r\n" + b"X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" * 2000 + b"\r\n"], 503, None),
        ([b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], 500, None),
        ([None], 503, None),
        ([b"HTTP/1.1 200 O", None], 503, None),
        ([b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n"], 500, None),
    ],
)
async def test_whatever_a_service_sends_the_client_gets_http(
    misbehaving: Any, open_gateway: Any, sent: Any, status: int, body: bytes | None
) -> None:
    service, port = misbehaving
    service.script = lambda head, connection, request: sent if b"/exchanges" in head else [OK]
    gateway = await open_gateway(port, health_interval_seconds=60)
    for _ in range(2):
        reply = await gateway.ask("/exchanges")
        assert reply.status == status
        assert "X-Evil" not in reply.headers
        if body is None:
            assert reply.json["error_code"] in ("SERVICE_UNAVAILABLE", "INTERNAL_ERROR")
        else:
            assert reply.body == body


async def test_an_answer_that_nobody_asked_for_is_never_given_to_anybody(misbehaving: Any, open_gateway: Any) -> None:
    service, port = misbehaving
    poison = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison"
    service.script = lambda head, connection, request: [OK + poison] if b"/exchanges" in head else [OK]
    gateway = await open_gateway(port, health_interval_seconds=60)
    for _ in range(5):
        assert (await gateway.ask("/exchanges")).body == b"ok"


async def test_connections_are_kept_and_a_closed_one_costs_a_get_nothing(
    misbehaving: Any, open_gateway: Any, eventually: Any
) -> None:
    service, port = misbehaving
    service.script = lambda head, connection, request: [OK]
    gateway = await open_gateway(port, health_interval_seconds=60)
    for _ in range(10):
        assert (await gateway.ask("/exchanges")).status == 200
    assert service.connections <= 2, "one for clients, one for the monitor"
    service.script = lambda head, connection, request: [OK] if request == 1 else [None]
    for _ in range(10):
        assert (await gateway.ask("/exchanges")).status == 200, "asked again over a new connection"


async def test_a_busy_connection_is_renewed_so_that_new_replicas_get_their_share(
    misbehaving: Any, open_gateway: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "LIFE_SECONDS", (0.05, 0.1))
    service, port = misbehaving
    service.script = lambda head, connection, request: [OK]
    gateway = await open_gateway(port, health_interval_seconds=60)

    async def is_renewed() -> bool:
        assert (await gateway.ask("/exchanges")).status == 200
        return bool(service.connections > 5)

    await eventually(is_renewed)


async def test_a_change_is_never_sent_twice(misbehaving: Any, open_gateway: Any) -> None:
    service, port = misbehaving
    posts = 0

    def script(head: bytes, connection: int, request: int) -> list[bytes | None]:
        nonlocal posts
        if head.startswith(b"POST"):
            posts += 1
            return [None]
        return [OK]

    service.script = script
    gateway = await open_gateway(port, health_interval_seconds=60)
    assert (await gateway.ask("/exchanges")).status == 200
    reply = await gateway.ask("/echo", "POST", headers={"Content-Length": "0"})
    assert (reply.status, posts) == (503, 1)


@pytest.mark.parametrize(
    ("request_bytes", "framing"),
    [
        (b"POST /echo HTTP/1.1\r\nContent-Length: 00005\r\n", [b"content-length: 5"]),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 0\r\n", [b"content-length: 0"]),
        (b"POST /echo HTTP/1.1\r\n", [b"content-length: 0"]),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", [b"transfer-encoding: chunked"]),
        (b"GET /exchanges HTTP/1.1\r\nContent-Length: 5\r\n", [b"content-length: 5"]),
        (b"GET /exchanges HTTP/1.1\r\n", []),
    ],
)
@pytest.mark.parametrize(
    "named",
    [b"", b"Content-Length", b"close, CONTENT-LENGTH, transfer-encoding", b"host, x-request-id, x-crosstape-identity"],
)
async def test_where_a_request_ends_is_stated_by_the_gateway_whatever_connection_names(
    misbehaving: Any, open_gateway: Any, request_bytes: bytes, framing: list[bytes], named: bytes
) -> None:
    service, port = misbehaving
    heads: list[bytes] = []

    def script(head: bytes, connection: int, request: int) -> list[bytes | None]:
        if b" /internal/status " not in head and b" /readyz " not in head:
            heads.append(head.lower())
        return [OK, None]

    service.script = script
    gateway = await open_gateway(port, health_interval_seconds=60)
    async with wire(gateway) as line:
        body = b"5\r\nhello\r\n0\r\n\r\n" if b"Transfer" in request_bytes else b"hello"
        line.writer.write(request_bytes + b"Host: a\r\nConnection: " + named + b"\r\n\r\n" + body)
        assert (await line.answer())[0] == 200
    lines = heads[0].split(b"\r\n")
    assert [line for line in lines if line.startswith((b"content-length:", b"transfer-encoding:"))] == framing
    for name in (b"host:", b"x-request-id:", b"x-crosstape-identity:"):
        assert sum(line.startswith(name) for line in lines) == 1


async def test_the_rest_of_a_body_never_becomes_another_clients_request(gateway: Any, service: Any) -> None:
    taken: list[bytes] = []

    async def take(scope: Any, receive: Any, send: Any) -> None:
        taken.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    service.answers["/echo"] = take
    hidden = b"DELETE /unregister HTTP/1.1\r\nHost: a\r\nX-A: "
    async with wire(gateway) as line:
        line.writer.write(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, content-length\r\nContent-Length: %d\r\n\r\n"
            % len(hidden)
            + hidden
        )
        assert (await line.answer())[0] == 200
    assert (await gateway.ask("/klines/okx/VICTIM")).json == {"path": "/klines/okx/VICTIM"}
    assert taken == [hidden]
    assert [seen.raw_path for seen in service.seen] == [b"/echo", b"/klines/okx/VICTIM"]


async def test_an_answer_before_the_bodys_end_is_passed_on(misbehaving: Any, open_gateway: Any) -> None:
    service, port = misbehaving
    body = json.dumps(
        {"success": False, "error_code": "CONFLICT", "message": "m", "details": {}, "timestamp": "t", "detail": "m"}
    ).encode()
    conflict = b"HTTP/1.1 409 Conflict\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    service.script = lambda head, connection, request: [conflict] if head.startswith(b"POST") else [OK]
    gateway = await open_gateway(port, health_interval_seconds=60)
    async with wire(gateway) as line:
        line.writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly the begin")
        assert (await line.answer())[0] == 409
    assert (await gateway.ask("/exchanges")).body == b"ok", "that connection is not used again"
