"""Who is let in, who is shown out, and that nobody's trouble is another's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket as sockets
import time
from importlib import import_module
from itertools import pairwise
from types import SimpleNamespace

import pytest
import structlog
from websockets.exceptions import ConnectionClosed, InvalidStatus

from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller, Scope
from crosstape.stream_hub import connection as connections
from crosstape.stream_hub import door as doors
from crosstape.stream_hub import rights
from crosstape.stream_hub.book_feed import BACKLOG_BYTES
from crosstape.stream_hub.door import Door
from crosstape.stream_hub.limits import Admissions
from crosstape.stream_hub.protocol import CloseCode, TooMany

h = import_module("services.stream-hub.tests.harness")

pytestmark = pytest.mark.integration

TRADES = "trades:binance:BTC-USDT"


@pytest.fixture(autouse=True)
def looking_often(monkeypatch):
    """Sockets are looked at more often than once a second."""
    monkeypatch.setattr("crosstape.stream_hub.door.LOOK_SECONDS", 0.05)


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


@pytest.mark.skipif(not sockets.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_sockets_of_ipv4_come_in_where_the_hub_listens_on_all_addresses_of_ipv6(platform):
    platform.host = "::"
    await platform.restart()
    async with platform.client("/ws/v1/stream") as socket:
        await h.say(socket, action="ping")
        assert await h.hear(socket) == {"type": "pong"}


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
    tokens = [platform.authenticator.add(name) for name in ("soon", "revoked")]
    async with (
        platform.client(f"/ws/v1/stream?token={tokens[0]}") as expiring,
        platform.client(f"/ws/v1/stream?token={tokens[1]}") as revoking,
    ):
        for socket in (expiring, revoking):
            await h.say(socket, action="ping")
            await h.hear(socket)
        platform.authenticator.over.add("soon")
        platform.authenticator.revoked.add("revoked")
        assert (await h.closed(revoking, 5))[0] == 4401
        assert (await h.closed(expiring, 5))[0] == 4401


async def test_a_new_token_of_the_same_account_prolongs_and_of_another_is_refused(platform):
    first = platform.authenticator.add("alice")
    again = platform.authenticator.again("alice", Scope.MARKET_READ, Scope.ORDERS_READ)
    platform.authenticator.add("bob")
    async with platform.client(f"/ws/v1/stream?token={first}") as socket:
        await h.say(socket, action="auth", token="bob")
        assert (await h.hear(socket))["error_code"] == "FORBIDDEN"
        await h.say(socket, action="auth", token=again)
        assert (await h.hear(socket))["type"] == "authenticated"
        platform.authenticator.over.add("alice")
        (connection,) = platform.door._connections
        connection.look(asyncio.get_running_loop().time())
        await h.say(socket, action="ping")
        assert await h.hear(socket) == {"type": "pong"}


async def test_a_token_with_fewer_scopes_does_not_take_the_place_of_one_that_may_see_orders(platform):
    """Else orders would go on after the only credential that may see them is revoked."""
    first = platform.authenticator.add("alice")
    fewer = platform.authenticator.again("alice", Scope.MARKET_READ)
    async with platform.client(f"/ws/v1/stream?token={first}") as socket:
        await h.say(socket, action="subscribe", channels=["orders"])
        await h.hear(socket)
        await h.say(socket, action="auth", token=fewer)
        refused = await h.hear(socket)
        assert refused["error_code"] == "FORBIDDEN"
        assert "orders:read" in refused["message"]
        platform.authenticator.over.add("alice")
        assert (await h.closed(socket))[0] == 4401


@contextlib.asynccontextmanager
async def with_key(platform):
    """A socket that an API key opened, and the hub's end of it."""
    key = platform.authenticator.add_key("alice")
    async with platform.client(f"/ws/v1/stream?token={key}") as socket:
        await h.say(socket, action="subscribe", channels=["orders"])
        await h.hear(socket)
        (connection,) = platform.door._connections
        yield socket, connection


async def test_a_new_password_ends_no_socket_of_an_api_key(platform):
    async with with_key(platform) as (socket, connection):
        platform.authenticator.add_key("alice", version=2)
        platform.authenticator.lowest["alice"] = 2
        connection.look(asyncio.get_running_loop().time())
        await h.until(lambda: connection.principal.credentials_version == 2)
        await h.say(socket, action="ping")
        assert await h.hear(socket) == {"type": "pong"}


async def test_a_revoked_api_key_ends_its_socket(platform):
    async with with_key(platform) as (socket, connection):
        platform.authenticator.revoked.add("alice")
        connection.look(asyncio.get_running_loop().time())
        assert (await h.closed(socket))[0] == 4401


async def test_an_api_key_that_seems_to_have_ended_comes_again_where_nobody_can_tell(platform):
    async with with_key(platform) as (socket, connection):
        platform.authenticator.is_away = True
        platform.authenticator.lowest["alice"] = 2
        connection.look(asyncio.get_running_loop().time())
        assert (await h.closed(socket))[0] == 1013


async def test_the_end_of_an_api_key_that_this_hub_missed_is_found_out(platform, monkeypatch):
    async with with_key(platform) as (socket, connection):
        platform.authenticator.is_away = True
        monkeypatch.setattr(rights, "ASK_SECONDS", 0.0)
        for _ in range(3):
            connection.look(asyncio.get_running_loop().time())
            await h.say(socket, action="ping")
            assert await h.hear(socket) == {"type": "pong"}
        platform.authenticator.is_away = False
        del platform.authenticator.principals["alice-key"]
        connection.look(asyncio.get_running_loop().time())
        assert (await h.closed(socket))[0] == 4401


async def test_keys_of_sockets_that_opened_together_are_not_asked_for_together():
    async def authenticate(credential, connection):
        return SimpleNamespace(user_id="alice", api_key_id=credential)

    door = SimpleNamespace(authenticate=authenticate, admit_user=lambda user_id: None, ended=lambda principal: None)
    asked = []
    for _ in range(200):
        one = rights.Rights(SimpleNamespace(spawn=asked.append), door)
        await one.show("key")
        one.look(asyncio.get_running_loop().time() + rights.ASK_SECONDS / 2)
    assert 50 < len(asked) < 150


async def test_who_has_lost_the_right_goes_at_once_while_the_hub_lets_the_others_go(platform, monkeypatch):
    may_end = asyncio.Event()
    monkeypatch.setattr(platform.door, "_drain", lambda seconds: may_end.wait())
    async with h.streaming(platform) as socket:
        await h.say(socket, action="ping")
        await h.hear(socket)
        platform.stop_event.set()
        platform.authenticator.revoked.add("alice")
        assert (await h.closed(socket))[0] == 4401
    may_end.set()


async def test_a_socket_that_opens_while_the_hub_stops_is_asked_to_come_back(platform, monkeypatch):
    may_end = asyncio.Event()
    monkeypatch.setattr(platform.door, "_drain", lambda seconds: may_end.wait())
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    async with platform.client("/ws") as other:  # so the hub has taken the first one's connection too
        platform.stop_event.set()
        await h.until(lambda: platform.door._is_draining)
        writer.write(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        head = await reader.readexactly(4)
        assert (head[0], int.from_bytes(head[2:], "big")) == (0x88, 1012)
        writer.close()
        await other.close()
    may_end.set()


async def test_many_sockets_are_looked_at_in_short_steps(monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.door.LOOK_SECONDS", 0.0)
    looked = []
    door = SimpleNamespace(_connections=[SimpleNamespace(look=looked.append)] * 20_000)
    looking = asyncio.create_task(Door._look(door))
    steps = [0]
    while len(looked) < 20_000:
        await asyncio.sleep(0)
        steps.append(len(looked))
    looking.cancel()
    assert max(after - before for before, after in pairwise(steps)) <= 500


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


async def test_the_gateways_word_on_the_address_counts_and_a_forged_one_is_refused_and_logged_once():
    async with h.platform(per_address=1) as platform:

        def through(address, secret=h.SECRET):
            token = InternalTokens("api-gateway", [secret]).mint("stream-hub", Caller("api-gateway", None, address))
            return platform.client("/ws", additional_headers={HEADER: token})

        async with through("10.0.0.1"), through("10.0.0.2"), through("10.0.0.1") as second:
            assert (await h.closed(second))[0] == 4429
        with structlog.testing.capture_logs() as lines:
            for _ in range(3):
                with pytest.raises(InvalidStatus) as refused:
                    await through("10.0.0.3", "another secret, as long as it has to be")
                assert refused.value.response.status_code == 401
        said = [line.get("cause") for line in lines if line["event"] == "identity_refused"]
        assert said == ["signature"]


@pytest.mark.parametrize(
    ("address", "same", "other"),
    [("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"), ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.2")],
)
def test_sockets_of_an_ipv6_client_are_counted_by_its_network(address, same, other):
    admissions = Admissions(per_address=1, per_user=1, in_all=2)
    admissions.admit(address)
    with pytest.raises(TooMany):
        admissions.admit(same)
    admissions.admit(other)
    admissions.release(same)
    admissions.admit(address)


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


@pytest.mark.parametrize("frame", [b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0", b"\x00\x80\0\0\0\0"])
async def test_frames_that_are_no_messages_are_counted(platform, frame):
    assert b"frames a second" in await _flood(platform.port, b"\x01\x80\0\0\0\0" + frame * 200_000)


async def test_one_read_brings_only_so_much_of_a_client(platform):
    async with platform.client("/ws") as socket:
        await h.say(socket, action="ping")
        await h.hear(socket)
        (connection,) = platform.door._connections
        taken = connection._raw.get_extra_info("socket").getsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF)
        assert taken <= 2 * connections.KERNEL_BYTES_IN


async def _flood(port, frames):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(frames)
    heard = b""
    with contextlib.suppress(ConnectionError):
        while b"frames a second" not in heard and (part := await reader.read(65_536)):
            heard += part
    writer.transport.abort()
    return heard


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
        assert (await h.closed(socket))[0] == 1009


async def test_a_close_without_a_code_is_answered_with_one_that_browsers_take(platform):
    async with platform.client("/ws") as socket:
        socket.protocol.send_close()
        socket.send_data()
        assert (await h.closed(socket))[0] == 1000


def hears(raw, code):
    """Whether this closing code comes, and nothing behind it."""
    heard = bytearray()
    with raw:
        raw.settimeout(h.PATIENCE)
        while code.to_bytes(2, "big") not in heard[-200:] and (chunk := raw.recv(1 << 16)):
            heard += chunk
    return code.to_bytes(2, "big") in heard[-200:]


async def test_one_slow_reader_is_closed_with_4408_and_delays_nobody(platform, monkeypatch):
    monkeypatch.setattr(connections, "CLOSE_SECONDS", h.PATIENCE)
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
        assert worst < 5
    assert await asyncio.to_thread(hears, raw, 4408)


async def test_slow_reader_of_books_keeps_its_socket_and_gets_the_newest(platform):
    levels = [(f"{price}.5", "1") for price in range(1, 900)]
    platform.book(h.snapshot("binance", "BTC-USDT", levels, [("1000", "1")], 1))
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 16 * 1024)
    raw.connect(("127.0.0.1", platform.port))
    async with platform.client("/ws", max_queue=1, sock=raw) as socket:
        await h.say(socket, action="subscribe", exchange="binance", symbol="BTC-USDT", depth=1000, interval_ms=50)
        await h.hear(socket)
        socket.transport.pause_reading()
        (connection,) = platform.door._connections
        number, late = 1, 0
        while late < 20:
            number, late = number + 1, late + (connection.backlog() > BACKLOG_BYTES)
            platform.book(h.update("binance", "BTC-USDT", [("950", str(number))], [], number))
            await asyncio.sleep(0.01)
        assert connection.backlog() < 400_000
        socket.transport.resume_reading()
        *older, _ = await h.hear_until(socket, lambda book: book["bids"][0] == [950, number])
        assert len(older) < 60


async def test_a_page_of_another_origin_opens_no_socket(platform):
    with pytest.raises(InvalidStatus) as refused:
        await platform.client("/ws", origin="https://evil.example")
    assert refused.value.response.status_code == 403
    async with platform.client("/ws", origin=f"http://127.0.0.1:{platform.port}") as socket:
        await h.say(socket, action="ping")
        assert await h.hear(socket) == {"type": "pong"}


async def test_dead_peer_is_noticed(platform, monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.door.LOOK_SECONDS", 3_600)  # here nobody else looks
    monkeypatch.setattr(connections, "PING_SECONDS", 0.0)
    await platform.restart()
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await h.until(lambda: len(platform.door._connections) == 1)
    async with platform.client("/ws") as alive:
        both = list(platform.door._connections)
        living = both[1]
        for _ in range(2):
            for connection in both:
                connection.look(asyncio.get_running_loop().time())
            await h.until(lambda: living._heard > living._pinged)
        assert list(platform.door._connections) == [living]
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


async def test_a_stop_spreads_its_sockets_over_the_time_however_many_they_are(monkeypatch):
    now, left = 0.0, []

    async def sleep(seconds):
        """As a loop does it: a turn takes its time, and its timers are late by as much as a millisecond."""
        nonlocal now
        now += seconds + 0.001 if seconds else 5e-6

    loop = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr(doors, "asyncio", SimpleNamespace(get_running_loop=lambda: loop, sleep=sleep))
    leaving = SimpleNamespace(restart=lambda: left.append(now))
    await Door._drain(SimpleNamespace(_connections=[leaving] * 20_000), 1.0)
    assert len(left) == 20_000
    assert 0.99 <= now < 1.1
    early = sum(when < now / 2 for when in left)
    assert 9_900 < early < 10_100


@pytest.mark.parametrize(("shown", "is_kept"), [("mine-1", True), ("not an id", False)])
async def test_trouble_with_a_socket_is_logged_under_the_gateways_request_id(platform, shown, is_kept):
    platform.authenticator.principals = None  # which nobody foresaw
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with platform.client("/ws/v1/stream?token=x", additional_headers={"X-Request-ID": shown}) as socket:
            assert (await h.closed(socket))[0] == CloseCode.INTERNAL_ERROR
    (line,) = [line for line in lines if line["event"] == "session_failed"]
    assert (line["request_id"] == shown) is is_kept
    assert line["request_id"]
