"""The proxied way: what passes, how it streams, and what a failing service looks like to a client."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
from typing import Any

import aiohttp
import pytest

from crosstape.api_gateway.exchange import Exchange

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

MIB = 1024 * 1024


async def drained(receive: Any) -> None:
    """Returns when the service's own client (the gateway) has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_query_headers_and_answer_pass_as_they_are(gateway: Any, service: Any, scripted: Any) -> None:
    service.answers["/verbatim/symbols"] = scripted(
        200, b"a,b\n", {"content-type": "text/csv", "deprecation": "true", "etag": '"1"', "x-internal-host": "db1"}
    )
    query = b"start=2025-07-01T00:00:00%2B03:00&&a=%2f+x&a=%00&empty=&end=%zz?/;'"
    reply = await gateway.raw_path(
        b"/verbatim/symbols?" + query, b"Accept: text/csv\r\nX-User-Id: admin\r\nX-Forwarded-For: 1.2.3.4\r\n"
    )
    assert (reply.status, reply.body) == (200, b"a,b\n")
    assert (reply.headers["content-type"], reply.headers["deprecation"], reply.headers["etag"]) == (
        "text/csv", "true", '"1"',
    )  # fmt: skip
    assert "x-internal-host" not in reply.headers
    asked = next(seen for seen in service.seen if seen.raw_path == b"/verbatim/symbols")
    assert asked.query == query
    assert asked.header(b"accept") == [b"text/csv"]
    assert not asked.header(b"x-user-id")
    assert not asked.header(b"x-forwarded-for")
    assert not asked.header(b"user-agent"), "none was sent, none is added"


async def test_a_compressed_answer_stays_compressed(gateway: Any, service: Any, scripted: Any) -> None:
    packed = gzip.compress(b"{}" * 1000)
    service.answers["/packed/symbols"] = scripted(200, packed, {"content-encoding": "gzip"})
    reply = await gateway.ask("/packed/symbols", headers={"Accept-Encoding": "gzip"})
    assert (reply.body, reply.headers["Content-Encoding"]) == (packed, "gzip")


@pytest.mark.parametrize(
    ("path", "arrives_as"),
    [
        (b"/klines/kraken/XBT%2FUSD", "/klines/kraken/XBT/USD"),
        (b"/klines/kraken/XBT/USD", "/klines/kraken/XBT/USD"),
        (b"/klines/okx/BTC/USDT:USDT", "/klines/okx/BTC/USDT:USDT"),
        (b"/klines/binance/BINANCE:BTCUSDT.P", "/klines/binance/BINANCE:BTCUSDT.P"),
        (b"/klines/binance/%E5%B8%81USDT", "/klines/binance/币USDT"),
        (b"/klines/binance/BTC%3Fx%3D1%23y", "/klines/binance/BTC?x=1#y"),
        (b"/klines/binance/BTC%2525", "/klines/binance/BTC%25"),
    ],
)
async def test_every_spelling_of_a_symbol_arrives(gateway: Any, service: Any, path: bytes, arrives_as: str) -> None:
    reply = await gateway.raw_path(path)
    assert reply.json == {"path": arrives_as}


async def test_an_answer_streams_as_it_is_made(gateway: Any, service: Any) -> None:
    first_was_read = asyncio.Event()

    async def two_parts(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await first_was_read.wait()
        await send({"type": "http.response.body", "body": b"second"})

    service.answers["/parts/symbols"] = two_parts
    async with gateway.session.get(gateway.url + "/parts/symbols") as response:
        assert await response.content.readexactly(5) == b"first"
        first_was_read.set()
        assert await response.content.read() == b"second"


async def test_a_large_answer_waits_for_its_reader_instead_of_filling_memory(gateway: Any, service: Any) -> None:
    part, total, sent = bytes(64 * 1024), 96 * MIB, 0

    async def export(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < total:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            sent += len(part)
        await send({"type": "http.response.body"})

    service.answers["/export/symbols"] = export
    read = furthest = 0
    async with gateway.session.get(gateway.url + "/export/symbols") as response:
        while piece := await response.content.read(MIB):
            read += len(piece)
            for _ in range(50):  # turns of the loop in which the service may run ahead
                await asyncio.sleep(0)
            furthest = max(furthest, sent - read)
    assert read == total
    assert furthest < 32 * MIB, "what the sockets hold, not the whole export"


async def test_a_body_streams_to_the_service_as_it_is_sent(gateway: Any, service: Any) -> None:
    first_arrived = asyncio.Event()

    async def collect(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            first_arrived.set()
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"11")]})
        await send({"type": "http.response.body", "body": body})

    async def pieces() -> Any:
        yield b"first"
        await first_arrived.wait()
        yield b"second"

    service.answers["/echo"] = collect
    reply = await gateway.ask("/echo", "POST", data=pieces())
    assert (reply.status, reply.body) == (201, b"firstsecond")


async def take_all(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def test_a_body_over_the_cap_is_refused_announced_or_not(gateway: Any, service: Any) -> None:
    async def endless() -> Any:
        for _ in range(300):
            yield bytes(1024)

    service.answers["/echo"] = take_all
    announced = await gateway.ask("/echo", "POST", data=bytes(256 * 1024 + 1))
    counted = await gateway.ask("/echo", "POST", data=endless())
    for reply in (announced, counted):
        assert (reply.status, reply.json["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert reply.json["details"] == {"limit_bytes": 256 * 1024}
    assert (await gateway.ask("/echo", "POST", data=bytes(256 * 1024))).status == 200


async def test_a_body_that_announces_too_much_is_refused_before_it_comes(gateway: Any, service: Any) -> None:
    reply = await gateway.raw(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 52428800\r\n\r\n")
    assert (reply.status, reply.json["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert service.seen == []


async def test_the_contracts_errors_of_a_service_pass_and_all_others_are_replaced(
    gateway: Any, service: Any, scripted: Any
) -> None:
    ours = {
        "success": False, "error_code": "SYMBOL_NOT_FOUND", "message": "m", "details": {"suggestions": ["BTC-USDT"]},
        "timestamp": "2025-11-13T10:30:45.123Z", "detail": "m",
    }  # fmt: skip
    secret = b"Traceback: /srv/app.py SELECT secret FROM clickhouse-1:9000"
    answers = {
        "ours": scripted(404, ours),
        "trace": scripted(500, secret, {"content-type": "text/plain"}),
        "proxy": scripted(502, secret),
        "moved": scripted(307, secret, {"location": "http://clickhouse-1:9000/"}),
        "plain": scripted(404, {"detail": "Not Found"}),
    }
    for name, answer in answers.items():
        service.answers[f"/{name}/symbols"] = answer
    replies = {name: await gateway.ask(f"/{name}/symbols", allow_redirects=False) for name in answers}
    assert (replies["ours"].status, replies["ours"].json) == (404, ours)
    codes = {name: (reply.status, reply.json["error_code"]) for name, reply in replies.items()}
    assert codes == {
        "ours": (404, "SYMBOL_NOT_FOUND"),
        "trace": (500, "INTERNAL_ERROR"),
        "proxy": (503, "SERVICE_UNAVAILABLE"),
        "moved": (500, "INTERNAL_ERROR"),
        "plain": (404, "NOT_FOUND"),
    }
    for name in ("trace", "proxy", "moved"):
        assert b"clickhouse" not in replies[name].body
        assert "location" not in {header.lower() for header in replies[name].headers}
    assert (await gateway.ask("/exchanges")).status == 200


async def test_a_slow_service_is_504_and_its_request_is_cancelled(open_service: Any, open_gateway: Any) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, request_deadline_seconds=0.1)
    cancelled = asyncio.Event()

    async def never(scope: Any, receive: Any, send: Any) -> None:
        await drained(receive)
        cancelled.set()

    service.answers["/slow/symbols"] = never
    reply = await gateway.ask("/slow/symbols")
    assert (reply.status, reply.json["error_code"]) == (504, "UPSTREAM_TIMEOUT")
    async with asyncio.timeout(5):
        await cancelled.wait()


async def test_an_export_may_take_longer_than_the_deadline_while_it_flows(open_service: Any, open_gateway: Any) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, request_deadline_seconds=1.0)

    async def flow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await asyncio.sleep(0.15)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body"})

    service.answers["/flow/symbols"] = flow
    assert (await gateway.ask("/flow/symbols")).body == b"x" * 10


async def test_an_export_that_stops_flowing_or_breaks_is_cut_short_not_ended(
    open_service: Any, open_gateway: Any
) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, request_deadline_seconds=0.1)

    async def stall(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        await drained(receive)

    def breaking_off(length: bytes | None) -> Any:
        async def break_off(scope: Any, receive: Any, send: Any) -> None:
            headers = [(b"content-length", length)] if length else []
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})

        return break_off

    service.answers.update({"/stall/symbols": stall, "/break/symbols": breaking_off(None)})
    service.answers.update({"/long/symbols": breaking_off(b"1000000"), "/short/symbols": breaking_off(b"100")})
    for path in ("/stall/symbols", "/break/symbols", "/long/symbols"):
        with pytest.raises(aiohttp.ClientPayloadError):
            await gateway.ask(path)
    assert (await gateway.ask("/short/symbols")).status == 503, "a short one is passed on only when it is whole"


async def test_a_client_that_sends_its_body_too_slowly_is_told_so(open_service: Any, open_gateway: Any) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, request_deadline_seconds=0.1, breaker_failures=1)
    service.answers["/echo"] = take_all
    reply = await gateway.raw(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
    assert (reply.status, reply.json["error_code"]) == (422, "VALIDATION_ERROR")
    assert (await gateway.ask("/exchanges")).status == 200, "the service is not to blame"


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


async def test_a_client_that_leaves_in_the_middle_of_its_body_cancels_too(gateway: Any, service: Any) -> None:
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await drained(receive)
        cancelled.set()

    service.answers["/echo"] = wait
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
    async with asyncio.timeout(5):
        await asked.wait()
        writer.close()
        await cancelled.wait()


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
    async with asyncio.timeout(5):
        await cancelled.wait()
    writer.transport.abort()


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
    async with asyncio.timeout(8):
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
    gateway = await open_gateway(server.port, upstream_connections=1, connect_seconds=0.1, breaker_failures=1)
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await may_answer.wait()
        await scripted(200, b"late")(scope, receive, send)

    service.answers["/wait/symbols"] = wait
    holding = asyncio.create_task(gateway.ask("/wait/symbols"))
    await asked.wait()
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
    assert 'crosstape_gateway_upstream_failures_total{reason="busy",upstream="history"}' in text


async def test_a_probe_whose_answer_is_long_lets_others_pass_as_soon_as_it_begins(
    open_service: Any, open_gateway: Any
) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, breaker_failures=1)
    service.answers["/endless/symbols"] = endless
    gateway.resources.upstreams["history"].breaker.failed(time.monotonic() - 3600)
    async with asyncio.timeout(8):
        status, writer = await unread(gateway, "192.0.2.1")
        assert status == 200
        assert (await gateway.ask("/exchanges")).status == 200
        writer.transport.abort()


async def test_a_dead_service_is_503_others_go_on_and_it_comes_back(
    open_service: Any, open_gateway: Any, eventually: Any
) -> None:
    _, server = await open_service()
    _, other = await open_service()
    gateway = await open_gateway(server.port, other.port, breaker_failures=2, breaker_open_seconds=0.2)
    assert (await gateway.ask("/exchanges")).status == 200
    await server.stop()

    replies = [await gateway.ask("/exchanges") for _ in range(4)]
    for reply in replies:
        assert (reply.status, reply.json["error_code"]) == (503, "SERVICE_UNAVAILABLE")
        assert reply.json["details"] == {"service": "history"}
        assert str(server.port) not in reply.body.decode(), "no address of ours"
    assert "Retry-After" not in replies[0].headers
    assert replies[-1].headers["Retry-After"] == "1", "the breaker is open"
    assert (await gateway.ask("/other")).status == 200
    assert (await gateway.ask("/ping")).status == 200
    text = (await gateway.ask("/metrics")).body.decode()
    assert 'crosstape_gateway_breaker_state{upstream="history"} 1.0' in text
    assert 'crosstape_gateway_upstream_failures_total{reason="unreachable",upstream="history"}' in text
    assert 'crosstape_gateway_upstream_failures_total{reason="breaker_open",upstream="history"}' in text

    await server.start()

    async def is_back() -> bool:
        return bool((await gateway.ask("/exchanges")).status == 200)

    await eventually(is_back)
    text = (await gateway.ask("/metrics")).body.decode()
    assert 'crosstape_gateway_breaker_state{upstream="history"} 0.0' in text


async def test_a_restarted_service_costs_no_request_though_its_old_connections_are_gone(
    open_service: Any, open_gateway: Any
) -> None:
    _, server = await open_service()
    gateway = await open_gateway(server.port)
    assert (await gateway.ask("/exchanges")).status == 200
    await server.stop()
    await server.start()
    assert (await gateway.ask("/exchanges")).status == 200


async def test_many_requests_at_once_each_get_their_own_answer(gateway: Any, service: Any) -> None:
    replies = await asyncio.gather(*(gateway.ask(f"/klines/binance/S{n}") for n in range(200)))
    assert [reply.json["path"] for reply in replies] == [f"/klines/binance/S{n}" for n in range(200)]
    assert json.loads(replies[0].body)


async def test_a_request_leaves_nothing_to_the_garbage_collector(gateway: Any) -> None:
    """It would have to look for it among all that lives, a tenth of the time of a request."""
    gc.collect()
    gc.disable()
    try:
        await gateway.ask("/exchanges")
        async with asyncio.timeout(5):
            while any(type(one) is Exchange for one in gc.get_objects()):
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
