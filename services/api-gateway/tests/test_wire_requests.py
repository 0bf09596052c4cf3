"""Below ASGI: what clients send that no well-behaved one would, byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from crosstape.api_gateway import client_connection
from crosstape.api_gateway.address import Addresses
from crosstape.api_gateway.arrival import Bounds
from crosstape.api_gateway.guests import Guests
from crosstape.api_gateway.rates import Rate, untouched

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

wires = import_module("services.api-gateway.tests.wires")
wire, assert_refused, PING = wires.wire, wires.assert_refused, wires.PING


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
        line.writer.write(request_bytes + b"GET /exchanges HTTP/1.1\r\nHost: a\r\n\r\n")
        assert_refused(await line.answer(), status)
        assert await line.rest() == b"", "nothing after it is answered"
    assert not any(seen.method == "GET" for seen in service.seen), "or passed on"


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: -1\r\n\r\n",
        b"Host: b\r\n\r\n",
        b"X-A: " + b"b" * 17_000 + b"\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_refusal_has_the_id_of_what_it_refuses(gateway: Any, rest: bytes) -> None:
    async with wire(gateway) as line:
        line.writer.write(b"POST /login HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n" + rest)
        head, _, _ = (await line.rest()).partition(b"\r\n\r\n")
    assert b"\r\nx-request-id: mine\r\n" in head


@pytest.mark.parametrize("target", ["/klines/binance/币安人生USDT", "/api/v1/ohlcv?symbol=BINANCE:币安人生USDT"])
async def test_a_url_that_is_not_percent_encoded_is_told_so(gateway: Any, target: str) -> None:
    async with wire(gateway) as line:
        line.writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        answer = await line.answer()
    assert_refused(answer, 400)
    assert b"percent-encoded" in answer[2]


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


async def test_requests_that_are_whole_are_answered_before_the_nonsense_after_them(gateway: Any, service: Any) -> None:
    may_answer = asyncio.Event()

    async def wait(scope: Any, receive: Any, send: Any) -> None:
        await may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    service.answers["/first/symbols"] = wait
    unfinished = b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for nonsense in (b"NONSENSE\r\n\r\n", unfinished + b"zz\r\n"):
        async with wire(gateway) as line:
            line.writer.write(b"GET /first/symbols HTTP/1.1\r\nHost: a\r\n\r\n" + PING * 2 + nonsense)
            may_answer.set()
            assert [(await line.answer())[0] for _ in range(3)] == [200] * 3
            assert await line.rest() == b""


async def test_what_came_before_a_head_in_one_read_is_not_counted_as_its_own(gateway: Any) -> None:
    body = b"POST /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 150000\r\n\r\n" + bytes(150_000)
    seen: list[bytes] = []
    connection = client_connection.ClientConnection(
        bounds=Bounds(url=4096, headers=4096, header_seconds=10.0, stall_seconds=60.0, connections=10),
        guests=Guests(Addresses([]), 1),
        untouched=untouched(Rate.of(1, 1)),
        config=SimpleNamespace(loaded_app=lambda scope, receive, send: receive()),
        server_state=SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0),
        app_state={},
    )
    transport = SimpleNamespace(
        get_extra_info=lambda name: ("127.0.0.1", 1) if name == "peername" else None,
        get_write_buffer_size=lambda: 0,
        is_closing=lambda: False,
        pause_reading=lambda: None,
        resume_reading=lambda: None,
        writelines=seen.extend,
        can_write_eof=lambda: False,
        abort=lambda: None,
        close=lambda: None,
    )
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.data_received(body + PING[:-10])
    assert seen == [], "nothing has been refused"
    connection.connection_lost(None)


async def test_a_flood_of_early_requests_ends_the_connection(gateway: Any, service: Any) -> None:
    async with wire(gateway) as line:
        line.writer.write(PING * 1000)
        answers = (await line.rest()).count(b"HTTP/1.1 200")
        assert answers <= 40


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
