"""Who is let in, who is shown out, and that nobody's trouble is another's."""

from __future__ import annotations

import asyncio
import json
import socket as sockets
import time
from importlib import import_module

import pytest
import structlog
from websockets.exceptions import ConnectionClosed, InvalidStatus

from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller, Scope
from crosstape.stream_hub import connection as connections
from crosstape.stream_hub.protocol import CloseCode

h = import_module("services.stream-hub.tests.harness")

pytestmark = pytest.mark.integration

TRADES = "trades:binance:BTC-USDT"


@pytest.mark.parametrize("way", ["header", "subprotocol", "query", "message"])
async def test_every_way_to_show_a_token(platform, way):
    token = platform.authenticator.add("alice")
    options, path = {}, "/ws/v1/stream"
    if way == "header":
        options["additional_headers"] = {"Authorization": f"bearer {token}"}
    elif way == "subprotocol":
        options["subprotocols"] = ["bearer", token]
    elif way == "query":
        path += f"?token={token}"
    async with platform.client(path, **options) as socket:
        if way == "subprotocol":
            assert socket.subprotocol == "bearer"
        if way == "message":
            await h.say(socket, action="subscribe", channels=[TRADES])
            assert (await h.hear(socket))["error_code"] == "UNAUTHENTICATED"
            await h.say(socket, action="auth", token=token)
            assert await h.hear(socket) == {"type": "authenticated", "username": "alice", "expires_at": 0}
        await h.say(socket, action="subscribe", channels=[TRADES])
        assert (await h.hear(socket))["type"] == "subscribed"


@pytest.mark.parametrize("path", ["/ws/v1/stream", "/ws/v1/cvd/binance/btcusdt", "/ws"])
async def test_wrong_token_closes_with_4401(platform, path):
    async with platform.client(f"{path}?token=wrong") as socket:
        code, (message,) = await h.closed(socket)
        assert (code, message["type"], message["error_code"]) == (4401, "error", "UNAUTHENTICATED")


async def test_wrong_token_in_the_first_message_closes_with_4401(platform):
    async with platform.client("/ws/v1/stream") as socket:
        await h.say(socket, action="auth", token="wrong")
        assert (await h.closed(socket))[0] == 4401


async def test_missing_scope_closes_with_4403(platform):
    token = platform.authenticator.add("alice", scopes={Scope.ORDERS_READ})
    async with platform.client(f"/ws/v1/stream?token={token}") as socket:
        assert (await h.closed(socket))[0] == 4403


async def test_silence_instead_of_a_token_is_ended(platform, monkeypatch):
    monkeypatch.setattr(connections, "AUTHENTICATE_SECONDS", 0.1)
    async with platform.client("/ws/v1/stream") as socket:
        assert (await h.closed(socket))[0] == 4401


async def test_anonymous_books_can_be_closed_by_the_operator(platform):
    await platform.stop()
    platform.anonymous_read = False
    await platform.start()
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="kraken", symbol="BTC-USD")
        assert (await h.hear(socket))["error_code"] == "UNAUTHENTICATED"


async def test_expiry_and_revocation_end_open_sockets_within_five_seconds(platform):
    soon = platform.authenticator.add("soon", expires_at=int(time.time()) + 2)
    revoked = platform.authenticator.add("revoked")
    async with (
        platform.client(f"/ws/v1/stream?token={soon}") as expiring,
        platform.client(f"/ws/v1/stream?token={revoked}") as revoking,
    ):
        await h.say(expiring, action="ping")
        await h.hear(expiring)
        await h.say(revoking, action="ping")
        await h.hear(revoking)
        platform.authenticator.revoked.add("revoked")
        assert (await h.closed(revoking))[0] == 4401
        assert (await h.closed(expiring))[0] == 4401


async def test_a_new_token_of_the_same_account_prolongs_and_of_another_is_refused(platform):
    first = platform.authenticator.add("alice", expires_at=int(time.time()) + 2)
    platform.authenticator.principals["alice-again"] = platform.authenticator.principals["alice"].__class__(
        **{
            name: getattr(platform.authenticator.principals["alice"], name)
            for name in platform.authenticator.principals["alice"].__struct_fields__
        }
        | {"expires_at": 0}
    )
    platform.authenticator.add("bob")
    async with platform.client(f"/ws/v1/stream?token={first}") as socket:
        await h.say(socket, action="auth", token="bob")
        assert (await h.hear(socket))["error_code"] == "FORBIDDEN"
        await h.say(socket, action="auth", token="alice-again")
        assert (await h.hear(socket))["type"] == "authenticated"
        assert await h.silence(socket, 3.2)


async def test_unknown_paths_and_malformed_requests_are_answered_in_http(platform):
    for path, status, code in (
        ("/other", 404, "NOT_FOUND"),
        ("/ws/v1/cvd/binance", 404, "NOT_FOUND"),
        ("/ws?format=xml", 422, "VALIDATION_ERROR"),
        ("/ws?numbers=roman", 422, "VALIDATION_ERROR"),
    ):
        with pytest.raises(InvalidStatus) as refused:
            await platform.client(path)
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body)["error_code"] == code


async def test_firefox_is_understood(platform):
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " in await reader.readline()
    writer.close()


async def test_the_gateways_word_on_the_address_counts_and_a_forged_one_is_refused():
    async with h.platform(per_address=1) as platform:

        def through(address, secret=h.SECRET):
            token = InternalTokens("api-gateway", [secret]).mint("stream-hub", Caller("api-gateway", None, address))
            return platform.client("/ws", additional_headers={HEADER: token})

        async with through("10.0.0.1"), through("10.0.0.2"), through("10.0.0.1") as second:
            assert (await h.closed(second))[0] == 4429
        with pytest.raises(InvalidStatus) as refused:
            await through("10.0.0.3", "another secret, as long as it has to be")
        assert refused.value.response.status_code == 401


async def test_limits_of_addresses_and_users_are_freed_again():
    async with h.platform(per_address=3, per_user=1) as platform:
        token = platform.authenticator.add("alice")
        for _ in range(3):
            async with platform.client(f"/ws?token={token}") as one, platform.client(f"/ws?token={token}") as two:
                assert (await h.closed(two))[0] == 4429
                await h.say(one, action="ping")
                await h.hear(one)
            await h.until(lambda: not platform.door._connections)


async def test_too_many_messages_are_refused_then_the_socket_is_closed(platform):
    async with platform.client("/ws") as socket:
        for _ in range(300):
            await h.say(socket, action="ping")
        code, heard = await h.closed(socket)
        assert code == 4429
        assert heard.count({"type": "pong"}) < 100


async def test_message_over_the_limit_closes_with_1009(platform):
    async with platform.client("/ws") as socket:
        await socket.send("x" * 70_000)
        assert (await h.closed(socket))[0] == 1009
    async with platform.client("/ws") as socket:
        await socket.send(["x" * 30_000] * 3)
        assert (await h.closed(socket))[0] == 1009


async def test_fragments_are_one_message(platform):
    async with platform.client("/ws") as socket:
        await socket.send(["", '{"act', 'ion":', '"ping"}'])
        assert await h.hear(socket) == {"type": "pong"}


async def test_deflate_bomb_is_refused(platform):
    async with platform.client("/ws", compression="deflate") as socket:
        await socket.send("0" * 10_000_000)
        assert (await h.closed(socket))[0] in (1002, 1009)


def read_all(raw):
    heard = bytearray()
    with raw:
        raw.settimeout(5)
        while chunk := raw.recv(1 << 16):
            heard += chunk
    return heard


async def test_one_slow_reader_is_closed_with_4408_and_delays_nobody(platform, monkeypatch):
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 1.0)
    token = platform.authenticator.add("alice")
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", platform.port))
    raw.sendall(
        f"GET /ws/v1/stream?token={token} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    subscribe = json.dumps({"action": "subscribe", "channels": [TRADES]}).encode()
    raw.sendall(bytes([0x81, 0x80 | len(subscribe), 0, 0, 0, 0]) + subscribe)
    market = platform.hub.market("binance", "BTC-USDT")
    await h.until(lambda: len(market.trade_group) == 1)
    async with platform.client(f"/ws/v1/stream?token={token}", max_queue=None) as fast:
        await h.say(fast, action="subscribe", channels=[TRADES])
        await h.hear(fast)
        number, worst, last = 0, 0.0, ""
        while len(market.trade_group) == 2 and number < 100_000:
            platform.trades(*(h.trade(number + place) for place in range(500)), stored=False)
            number += 500
            published = time.monotonic()
            for _ in range(500):
                last = await fast.recv()
            worst = max(worst, time.monotonic() - published)
        assert json.loads(last)["trade_id"] == number - 1
        assert len(market.trade_group) == 1
        assert worst < 0.5
    heard = await asyncio.to_thread(read_all, raw)
    assert (4408).to_bytes(2, "big") in heard[-200:]


async def test_slow_reader_of_books_keeps_its_socket_and_gets_the_newest(platform):
    levels = [(f"{price}.5", "1") for price in range(1, 900)]
    platform.book(h.snapshot("binance", "BTC-USDT", levels, [("1000", "1")], 1))
    async with platform.client("/ws", max_queue=1) as socket:
        await h.say(socket, action="subscribe", exchange="binance", symbol="BTC-USDT", depth=1000, interval_ms=50)
        await h.hear(socket)
        socket.transport.pause_reading()
        for number in range(2, 200):
            platform.book(h.snapshot("binance", "BTC-USDT", [*levels, ("950", str(number))], [("1000", "1")], number))
            await asyncio.sleep(0.01)
        (connection,) = platform.door._connections
        assert connection.backlog() < 400_000
        socket.transport.resume_reading()
        *older, _ = await h.hear_until(socket, lambda book: book["bids"][0] == [950, 199])
        assert len(older) < 60


async def test_a_page_of_another_origin_opens_no_socket(platform):
    with pytest.raises(InvalidStatus) as refused:
        await platform.client("/ws", origin="https://evil.example")
    assert refused.value.response.status_code == 403
    async with platform.client("/ws", origin=f"http://127.0.0.1:{platform.port}") as socket:
        await h.say(socket, action="ping")
        assert await h.hear(socket) == {"type": "pong"}


async def test_dead_peer_is_noticed(platform, monkeypatch):
    monkeypatch.setattr(connections, "PING_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await h.until(lambda: len(platform.door._connections) == 1)
    async with platform.client("/ws") as alive:
        await h.until(lambda: len(platform.door._connections) == 1)
        await h.say(alive, action="ping")
        assert await h.hear(alive) == {"type": "pong"}
    assert b"\x89\x00" in await reader.read(4096)
    writer.close()


async def test_stop_asks_everybody_to_come_back(platform):
    async with platform.client("/ws") as one, platform.client("/ws") as two:
        platform.stop_event.set()
        assert {(await h.closed(socket))[0] for socket in (one, two)} == {1012}
        with pytest.raises((ConnectionClosed, OSError, EOFError)):
            await platform.client("/ws")
    await platform.start()


@pytest.mark.parametrize(("shown", "is_kept"), [("mine-1", True), ("not an id", False)])
async def test_trouble_with_a_socket_is_logged_under_the_gateways_request_id(platform, shown, is_kept):
    platform.authenticator.principals = None  # which nobody foresaw
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with platform.client("/ws/v1/stream?token=x", additional_headers={"X-Request-ID": shown}) as socket:
            assert (await h.closed(socket))[0] == CloseCode.INTERNAL_ERROR
    (line,) = [line for line in lines if line["event"] == "session_failed"]
    assert (line["request_id"] == shown) is is_kept
    assert line["request_id"]
