"""Below ASGI: what services send that no well-behaved one would, and how connections to them are kept."""

from __future__ import annotations

import json
from importlib import import_module
from typing import Any

import pytest

from crosstape.api_gateway import pool

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

wires = import_module("services.api-gateway.tests.wires")
wire, OK = wires.wire, wires.OK


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
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", [b"content-length: 5"]),
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


async def test_an_answer_to_a_body_that_nobody_read_is_passed_on(misbehaving: Any, open_gateway: Any) -> None:
    service, port = misbehaving
    body = json.dumps(
        {"success": False, "error_code": "CONFLICT", "message": "m", "details": {}, "timestamp": "t", "detail": "m"}
    ).encode()
    conflict = b"HTTP/1.1 409 Conflict\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    service.script = lambda head, connection, request: [conflict] if head.startswith(b"POST") else [OK]
    gateway = await open_gateway(port, health_interval_seconds=60)
    assert (await gateway.ask("/echo", "POST", data=bytes(200_000))).status == 409
    assert (await gateway.ask("/exchanges")).body == b"ok", "whatever becomes of that connection"
