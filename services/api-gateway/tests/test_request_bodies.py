"""Bodies of requests, which a service hears of when they are here, and clients that leave before or after that."""

from __future__ import annotations

import asyncio
import tracemalloc
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from crosstape.api_gateway import metrics, request_body
from crosstape.api_gateway.breaker import BreakerState
from crosstape.api_gateway.rates import Rate, untouched
from crosstape.api_gateway.service_connection import ServiceConnection
from crosstape.api_gateway.turn import Turn

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

drained = import_module("services.api-gateway.tests.wires").drained

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def announced(gateway: Any, *headers: bytes) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    """The head of the first answer to a request to /echo whose body is still to be sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
    lines = (b"POST /echo HTTP/1.1", b"Host: a", b"Expect: 100-continue", *headers)
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    async with asyncio.timeout(5):
        return await reader.readuntil(b"\r\n\r\n"), reader, writer


async def sending(gateway: Any, length: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request to /echo whose body of `length` bytes the gateway waits for."""
    head, reader, writer = await announced(gateway, b"Content-Length: %d" % length)
    assert head == CONTINUE
    return reader, writer


async def test_a_service_hears_of_a_request_when_its_body_is_here(gateway: Any, service: Any) -> None:
    async def collect(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert not message["more_body"]
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"11")]})
        await send({"type": "http.response.body", "body": message["body"]})

    service.answers["/echo"] = collect
    reader, writer = await sending(gateway, 11)
    writer.write(b"first")
    assert (await gateway.ask("/exchanges")).status == 200
    assert [seen.raw_path for seen in service.seen] == [b"/exchanges"]
    writer.write(b"second")
    async with asyncio.timeout(5):
        assert b" 201 " in await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(11) == b"firstsecond"
    writer.close()


async def test_bodies_that_come_slowly_take_no_connection_from_others(open_service: Any, open_gateway: Any) -> None:
    service, server = await open_service()
    service.answers["/echo"] = take_all
    gateway = await open_gateway(server.port, upstream_connections=2)
    slow = [await sending(gateway, 10) for _ in range(8)]
    for _, writer in slow:
        writer.write(b"1")
    assert (await gateway.ask("/echo", "POST", data=b"whole")).status == 200
    for _, writer in slow:
        writer.transport.abort()


async def take_all(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def test_a_body_that_waits_takes_no_more_than_its_bytes_however_small_its_parts_are() -> None:
    line: Any = SimpleNamespace(pause=lambda: None, resume=lambda: None)
    turn = Turn(line, {}, "id", heeded={}, body_length=None, keeps_alive=True, expects_continue=False)
    tracemalloc.start()
    try:
        for number in range(30_000):
            turn.feed(b"%02d" % (number % 100))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000
    turn.end()
    assert len((await turn.receive())["body"]) == 60_000


@pytest.mark.parametrize("length", [b"Content-Length: 200000", b"Transfer-Encoding: chunked"])
async def test_bodies_together_have_so_much_room_and_small_ones_always_pass(
    open_service: Any, open_gateway: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch, length: bytes
) -> None:
    monkeypatch.setattr(request_body, "_ROOM", 0)  # then there is as much as four of them need
    service, server = await open_service()
    service.answers["/echo"] = take_all
    gateway = await open_gateway(server.port, body_limit_bytes=200_000, trusted_proxies="127.0.0.1")

    async def begun(network: int) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        return await announced(gateway, length, b"X-Forwarded-For: 192.0.2.%d" % network)

    held = [await begun(network) for network in range(4)]
    assert [head for head, _, _ in held] == [CONTINUE] * 4
    for network, status in ((0, b" 429 "), (4, b" 503 ")):
        refused, _, writer = await begun(network)
        assert status in refused, "before its body is read"
        assert b"retry-after: 1\r\n" in refused.lower()
        writer.transport.abort()
    small = {"data": bytes(10), "headers": {"X-Forwarded-For": "192.0.2.4"}}
    assert (await gateway.ask("/echo", "POST", **small)).status == 200
    held.pop()[2].transport.abort()

    async def passes() -> bool:
        head, _, writer = await begun(4)
        writer.transport.abort()
        return head == CONTINUE

    await eventually(passes)
    for _, _, writer in held:
        writer.transport.abort()


async def test_a_body_is_handed_to_the_connection_as_it_is() -> None:
    """A copy of each would be held beside the room that is counted."""
    connection, sent = ServiceConnection(lambda lost: None), list[bytes]()
    connection.transport = SimpleNamespace(writelines=sent.extend)  # type: ignore[assignment]
    body = bytes(100_000)
    connection.begin(b"head", body)
    assert sent[0] == b"head"
    assert sent[1] is body


async def test_a_body_over_the_cap_is_refused_announced_or_not(gateway: Any, service: Any) -> None:
    async def endless() -> Any:
        for _ in range(300):
            yield bytes(1024)

    service.answers["/echo"] = take_all
    told = await gateway.ask("/echo", "POST", data=bytes(256 * 1024 + 1))
    counted = await gateway.ask("/echo", "POST", data=endless())
    for reply in (told, counted):
        assert (reply.status, reply.json["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert reply.json["details"] == {"limit_bytes": 256 * 1024}
    assert (await gateway.ask("/echo", "POST", data=bytes(256 * 1024))).status == 200


async def test_a_body_that_announces_too_much_is_refused_before_it_comes(gateway: Any, service: Any) -> None:
    reply = await gateway.raw(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 52428800\r\n\r\n")
    assert (reply.status, reply.json["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert service.seen == []


async def test_a_client_that_sends_its_body_too_slowly_is_told_so(open_service: Any, open_gateway: Any) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, request_deadline_seconds=0.1, breaker_failures=1)
    reply = await gateway.raw(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
    assert (reply.status, reply.json["error_code"]) == (408, "VALIDATION_ERROR")
    assert reply.headers["connection"] == "close", "the rest of the body is not waited for"
    assert service.seen == []
    assert gateway.resources.upstreams["history"].breaker.state is BreakerState.CLOSED, "the service is not to blame"


@pytest.mark.parametrize("answer_begins", [False, True])
async def test_when_the_client_leaves_the_services_request_is_cancelled(
    gateway: Any, service: Any, answer_begins: bool
) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        if answer_begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        asked.set()
        await drained(receive)
        cancelled.set()

    service.answers["/leave/symbols"] = wait
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
    writer.write(b"GET /leave/symbols HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(5):
        await asked.wait()
        if answer_begins:
            await reader.readuntil(b"part")
        writer.close()
        await cancelled.wait()


def cut(route: str) -> float:
    """Requests whose answer never began, so far."""
    return metrics.REQUESTS.labels(route, "POST", "cut")._sum.get()  # type: ignore[no-any-return]


@pytest.fixture
def ended(eventually: Any) -> Any:
    """Call it before, await what it gives after: returns when a request to /echo has ended without an answer."""

    def begun() -> Any:
        before = cut("/echo")

        async def is_over() -> bool:
            return cut("/echo") > before

        return lambda: eventually(is_over)

    return begun


async def test_of_a_body_whose_client_leaves_the_service_hears_nothing(gateway: Any, service: Any, ended: Any) -> None:
    is_over = ended()
    _, writer = await sending(gateway, 10)
    writer.write(b"1")
    writer.close()
    await is_over()
    assert service.seen == []


async def test_a_client_that_leaves_before_it_is_admitted_is_not_asked_for(
    gateway: Any, service: Any, ended: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_over = ended()
    asked, gone = asyncio.Event(), asyncio.Event()
    limit: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    lose = Turn.lose

    def take(*args: Any) -> asyncio.Future[Any]:
        asked.set()
        return limit

    def lost(turn: Turn) -> None:
        lose(turn)
        gone.set()

    monkeypatch.setattr(gateway.resources.limiter, "take", take)
    monkeypatch.setattr(Turn, "lose", lost)
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    async with asyncio.timeout(5):
        await asked.wait()
        writer.close()
        await gone.wait()
    limit.set_result(untouched(Rate.of(1, 1)))
    await is_over()
    assert service.seen == []
