"""Clients that read slowly or not at all: what they get, and what they leave to others."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from importlib import import_module
from typing import Any

import pytest

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

drained = import_module("services.api-gateway.tests.wires").drained

MIB = 1024 * 1024


async def test_a_client_that_takes_nothing_is_cut(open_service: Any, open_gateway: Any) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, client_stall_seconds=0.2)
    cancelled = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        leaving = asyncio.ensure_future(drained(receive))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not leaving.done():
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        cancelled.set()

    service.answers["/endless/symbols"] = endless
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port, limit=1024)
    writer.write(b"GET /endless/symbols HTTP/1.1\r\nHost: a\r\n\r\n")
    async with asyncio.timeout(30):
        await cancelled.wait()
    writer.transport.abort()


async def test_a_client_that_reads_slowly_gets_the_whole_answer(open_service: Any, open_gateway: Any) -> None:
    """However long it takes to read what is here at a time."""
    service, server = await open_service()
    gateway = await open_gateway(server.port, client_stall_seconds=2.0)
    total = 3 * MIB

    async def much(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % total)]})
        for _ in range(total // 65_536):
            await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        await send({"type": "http.response.body"})

    service.answers["/much/symbols"] = much
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", gateway.server.port))
        await loop.sock_sendall(client, b"GET /much/symbols HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        received = 0
        while received < total // 8:
            received += len(await loop.sock_recv(client, 4096))
            await asyncio.sleep(0.025)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024 * 1024)
        while part := await loop.sock_recv(client, 65_536):
            received += len(part)
    assert received > total


async def endless(scope: Any, receive: Any, send: Any) -> None:
    leaving = asyncio.ensure_future(drained(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not leaving.done():
        await send({"type": "http.response.body", "body": bytes(65_536), "more_body": True})
        await asyncio.sleep(0)  # to be told that the client left


async def unread(gateway: Any, address: str) -> tuple[int, asyncio.StreamWriter]:
    """The status of an endless answer that its client, who comes from `address`, does not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port, limit=1024)
    writer.write(b"GET /endless/symbols HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %b\r\n\r\n" % address.encode())
    return int((await reader.readuntil(b"\r\n")).split()[1]), writer


async def test_slow_readers_leave_connections_to_others_and_to_what_is_short(
    open_service: Any, open_gateway: Any
) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, upstream_connections=8, trusted_proxies="127.0.0.1", breaker_failures=1)
    service.answers["/endless/symbols"] = endless
    writers = []
    async with asyncio.timeout(30):
        for network, statuses in (("1", [200, 200, 429]), ("2", [200, 200]), ("3", [200, 200]), ("4", [503])):
            for expected in statuses:
                status, writer = await unread(gateway, f"192.0.2.{network}")
                writers.append(writer)
                assert status == expected
        for _ in range(10):
            assert (await gateway.ask("/exchanges")).status == 200
        for writer in writers:
            writer.transport.abort()
        while (retried := await unread(gateway, "192.0.2.4"))[0] == 503:
            retried[1].transport.abort()
        assert retried[0] == 200, "as soon as one is over"
        retried[1].transport.abort()


async def test_who_finds_no_free_connection_is_told_so_and_the_service_is_not_blamed(
    open_service: Any, open_gateway: Any, eventually: Any, scripted: Any
) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, upstream_connections=1, breaker_failures=1)
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await may_answer.wait()
        await scripted(200, b"late")(scope, receive, send)

    service.answers["/wait/symbols"] = wait
    holding = asyncio.create_task(gateway.ask("/wait/symbols"))
    await asked.wait()
    gateway.resources.upstreams["history"]._pool._wait_seconds = 0.01
    refused = await gateway.ask("/exchanges")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    probes = service.probes

    async def are_probes_answered() -> bool:
        return bool(service.probes > probes + 2)

    await eventually(are_probes_answered)
    may_answer.set()
    assert (await holding).body == b"late"
    assert (await gateway.ask("/exchanges")).status == 200
    text = (await gateway.ask("/metrics")).body.decode()
    assert re.search(r'upstream_failures_total\{reason="busy",upstream="history"\} [1-9]', text)


async def test_a_probe_whose_answer_is_long_lets_others_pass_as_soon_as_it_begins(
    open_service: Any, open_gateway: Any
) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, breaker_failures=1)
    service.answers["/endless/symbols"] = endless
    gateway.resources.upstreams["history"].breaker.failed(time.monotonic() - 3600)
    async with asyncio.timeout(30):
        status, writer = await unread(gateway, "192.0.2.1")
        assert status == 200
        assert (await gateway.ask("/exchanges")).status == 200
        writer.transport.abort()
