"""The proxied way: what passes, how it streams, and what a failing service looks like to a client."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import re
from importlib import import_module
from typing import Any

import aiohttp
import pytest

from crosstape.api_gateway.turn import Turn

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

drained = import_module("services.api-gateway.tests.wires").drained

MIB = 1024 * 1024


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
    gateway = await open_gateway(server.port, request_deadline_seconds=0.1, breaker_failures=1000)
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def never(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await drained(receive)
        cancelled.set()

    service.answers["/slow/symbols"] = never
    while not asked.is_set():  # on a busy machine the deadline may pass before the service is reached
        reply = await gateway.ask("/slow/symbols")
        assert (reply.status, reply.json["error_code"]) == (504, "UPSTREAM_TIMEOUT")
    async with asyncio.timeout(30):
        await cancelled.wait()


async def test_an_export_may_take_longer_than_the_deadline_while_it_flows(open_service: Any, open_gateway: Any) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port, request_deadline_seconds=2.0)

    async def flow(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await asyncio.sleep(0.25)
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body"})

    service.answers["/flow/symbols"] = flow
    assert (await gateway.ask("/flow/symbols")).body == b"x" * 10


async def test_an_export_that_stops_flowing_or_breaks_is_cut_short_not_ended(
    open_service: Any, open_gateway: Any
) -> None:
    service, server = await open_service()
    gateway = await open_gateway(server.port)
    impatient = await open_gateway(server.port, request_deadline_seconds=0.1, breaker_failures=1000)

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
    with pytest.raises(aiohttp.ClientPayloadError):
        while (await impatient.ask("/stall/symbols")).status == 504:
            pass  # on a busy machine not even the first part comes in time
    for path in ("/break/symbols", "/long/symbols"):
        with pytest.raises(aiohttp.ClientPayloadError):
            await gateway.ask(path)
    assert (await gateway.ask("/short/symbols")).status == 503, "a short one is passed on only when it is whole"


async def test_a_dead_service_is_503_others_go_on_and_it_comes_back(open_service: Any, open_gateway: Any) -> None:
    _, server = await open_service()
    _, other = await open_service()
    gateway = await open_gateway(server.port, other.port, breaker_failures=2, breaker_open_seconds=60)
    assert (await gateway.ask("/exchanges")).status == 200
    await server.stop()

    replies = [await gateway.ask("/exchanges") for _ in range(4)]
    for reply in replies:
        assert (reply.status, reply.json["error_code"]) == (503, "SERVICE_UNAVAILABLE")
        assert reply.json["details"] == {"service": "history"}
        assert str(server.port) not in reply.body.decode(), "no address of ours"
    assert "Retry-After" not in replies[0].headers
    assert 50 < int(replies[-1].headers["Retry-After"]) <= 60, "the breaker is open"
    assert (await gateway.ask("/other")).status == 200
    assert (await gateway.ask("/ping")).status == 200
    text = (await gateway.ask("/metrics")).body.decode()
    assert 'crosstape_gateway_breaker_state{upstream="history"} 1.0' in text
    assert re.search(r'upstream_failures_total\{reason="unreachable",upstream="history"\} [1-9]', text)
    assert re.search(r'upstream_failures_total\{reason="breaker_open",upstream="history"\} [1-9]', text)

    await server.start()
    gateway.resources.upstreams["history"].breaker._open_until = 0.0  # a minute later
    assert (await gateway.ask("/exchanges")).status == 200
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

    def turns() -> list[Turn]:
        return [one for one in gc.get_objects() if type(one) is Turn]

    gc.collect()
    gc.disable()
    try:
        of_others = turns()
        await gateway.ask("/exchanges")
        async with asyncio.timeout(30):
            while any(all(turn is not one for one in of_others) for turn in turns()):
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
