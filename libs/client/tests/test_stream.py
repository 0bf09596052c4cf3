"""The stream, against a scripted hub on a real socket: recovery, faults, and what each message becomes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from crosstape.client import (
    AsyncClient,
    AsyncStream,
    BarClose,
    BarRevision,
    Client,
    ConnectionFailed,
    Disconnected,
    Gap,
    OrderEvent,
    RateLimited,
    Recovered,
    Refused,
    ReplayComplete,
    StreamClosed,
    StreamEvent,
    Subscribed,
    TradeEvent,
    Unauthenticated,
    Unknown,
    Unsubscribed,
    credentials,
    feed,
)
from crosstape.client.closing import Fate, reconnect_pause
from libs.client.tests.scripted_hub import PATIENCE, Message, ScriptedHub, Socket
from libs.client.tests.scripted_platform import Answer, ScriptedPlatform
from libs.client.tests.test_requests import tokens

TRADES = "trades:binance:BTC-USDT"
TRADE = {
    "type": "trade",
    "exchange": "binance",
    "symbol": "BTC-USDT",
    "trade_id": 7,
    "timestamp": 1672531200.123456,
    "price": 16542.3,
    "quantity": 0.25,
    "side": "sell",
}
BAR = {
    "timestamp": 1672531200,
    "open": 16542.3,
    "high": 16559.2,
    "low": 16521.9,
    "close": 16533.1,
    "volume": 4500.23,
    "volume_delta": -150.78,
    "trades": 7,
    "status": "final",
    "revision": 0,
    "volume_unknown": 0,
}


@pytest_asyncio.fixture
async def hub(platform: ScriptedPlatform) -> ScriptedHub:
    return ScriptedHub(platform)


@pytest_asyncio.fixture
async def stream(hub: ScriptedHub, client: AsyncClient) -> AsyncIterator[AsyncStream]:
    """Opened; nothing subscribed."""
    async with client.stream() as opened:
        yield opened


async def take(stream: AsyncStream, count: int = 1) -> list[StreamEvent]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(stream) for _ in range(count)]


async def take_until(stream: AsyncStream, is_last: Callable[[StreamEvent], bool]) -> list[StreamEvent]:
    taken: list[StreamEvent] = []
    async with asyncio.timeout(3 * PATIENCE):
        async for event in stream:
            taken.append(event)
            if is_last(event):
                break
    return taken


def ids(events: list[StreamEvent]) -> list[int | str]:
    return [event.trade_id for event in events if isinstance(event, TradeEvent)]


async def publish(hub: ScriptedHub, *numbers: int) -> None:
    """Trades whose id tells their offset; offsets have gaps, as the hub's."""
    for number in numbers:
        await hub.publish(TRADES, number * 3, **TRADE | {"trade_id": number})


async def test_every_message_becomes_a_typed_event(hub: ScriptedHub, stream: AsyncStream) -> None:
    bars = "bars:okx:ETH-USDT:5m"
    await stream.subscribe(TRADES, bars, "orders")
    await take(stream, 3)
    await hub.publish(TRADES, 1, **TRADE)
    await hub.publish(bars, 1, type="bar_close", exchange="okx", symbol="ETH-USDT", interval="5m", bar=BAR)
    await hub.publish(bars, 2, type="bar_revision", bar=BAR | {"status": "revised", "revision": 1}, revision=1)
    order = {"event": "fill", "order_id": "a", "username": "al", "number": 2, "timestamp": 1.5, "price": 2.5}
    await hub.publish("orders", 1, type="order", **order)
    await hub.publish("orders", 2, type="news", text="hello")
    trade, close, revision, fill, news = await take(stream, 5)
    assert isinstance(trade, TradeEvent)
    assert (trade.price, trade.side, trade.timestamp) == (Decimal("16542.3"), "sell", Decimal("1672531200.123456"))
    assert isinstance(close, BarClose)
    assert close.bar.volume_delta == Decimal("-150.78")
    assert isinstance(revision, BarRevision)
    assert (revision.revision, revision.bar.status) == (1, "revised")
    assert isinstance(fill, OrderEvent)
    assert (fill.event, fill.price, fill.quantity) == ("fill", Decimal("2.5"), None)
    assert isinstance(news, Unknown)
    assert news.data["text"] == "hello"


async def test_the_consolidated_tape_has_text_as_offset_and_the_sums_of_all(
    hub: ScriptedHub, stream: AsyncStream
) -> None:
    tape = "trades:*:BTC-USD"
    place = "binance:7,okx:-1"
    told = TRADE | {"channel": tape, "offset": place, "cvd": {"binance": -1.5, "okx": None}, "cvd_total": -1.5}

    def answer(socket: Socket, message: Message) -> list[Message]:
        return [{"type": "subscribed", "channel": tape, "epoch": "e1", "offset": "binance:6,okx:-1"}, told]

    hub.on_message = answer
    await stream.subscribe(tape)
    _, event = await take(stream, 2)
    assert isinstance(event, TradeEvent)
    assert event.cvd == {"binance": Decimal("-1.5"), "okx": None}
    await hub.close(1012)
    await hub.until(lambda: len(hub.sockets) == 2 and bool(hub.sockets[1].heard))
    assert hub.sockets[1].heard[0]["channels"] == [{"channel": tape, "since": place, "epoch": "e1"}]


async def test_killed_200_times_nothing_is_missed_and_nothing_comes_twice(
    hub: ScriptedHub, stream: AsyncStream
) -> None:
    chance = random.Random(4)
    cuts = 0

    def cut_sometimes(socket: Socket) -> None:
        nonlocal cuts
        if cuts < 200 and socket.sent > 1 and chance.random() < 0.2:
            cuts += 1
            socket.cut()

    await stream.subscribe(TRADES)
    await take(stream)
    hub.after_send = cut_sometimes
    last = 2_000

    async def publish_all() -> None:
        for number in range(last):
            await publish(hub, number)
            await asyncio.sleep(0.001 if number % 4 == 0 else 0)

    async with asyncio.TaskGroup() as group:
        group.create_task(publish_all())
        events = await take_until(stream, lambda event: isinstance(event, TradeEvent) and event.trade_id == last - 1)
    assert ids(events) == list(range(last))
    assert cuts == 200
    assert sum(isinstance(event, Disconnected) for event in events) == cuts
    assert not any(isinstance(event, Gap) for event in events)


async def test_what_could_not_be_recovered_is_told(hub: ScriptedHub, stream: AsyncStream) -> None:
    await stream.subscribe(TRADES)
    await publish(hub, 0)
    await hub.until(lambda: bool(hub.sockets[0].channels))
    await publish(hub, 1, 2)
    await hub.until(lambda: hub.sockets[0].sent >= 3)
    hub.floor[TRADES] = 30
    await hub.close(4408)
    await hub.until(lambda: len(hub.sockets) == 2 and bool(hub.sockets[1].channels))
    await publish(hub, 20)
    events = await take_until(stream, lambda event: isinstance(event, TradeEvent) and event.trade_id == 20)
    assert [type(event) for event in events[-4:]] == [TradeEvent, Disconnected, Gap, TradeEvent]
    assert events[-2] == Gap(channel=TRADES, after=6)


async def test_another_epoch_is_a_gap_and_its_offsets_begin_anew(hub: ScriptedHub, stream: AsyncStream) -> None:
    await stream.subscribe(TRADES)
    await take(stream)
    await publish(hub, 100)
    await take(stream)
    hub.epoch = "e2"
    hub.log.clear()
    await hub.close(1012)
    assert [type(event) for event in await take(stream, 2)] == [Disconnected, Gap]
    await publish(hub, 1)
    assert ids(await take(stream)) == [1]


async def test_a_restart_of_the_server_is_followed_at_once(hub: ScriptedHub, stream: AsyncStream) -> None:
    await stream.subscribe(TRADES)
    await take(stream)
    await hub.close(1012)
    lost, recovered = await take(stream, 2)
    assert lost == Disconnected(code=1012, reason="because", retry_in=0)
    assert recovered == Recovered(channel=TRADES)


@pytest.mark.parametrize("status", [500, 520, 404])
async def test_what_a_proxy_answers_for_a_server_that_is_away_ends_no_stream(
    platform: ScriptedPlatform, hub: ScriptedHub, stream: AsyncStream, status: int
) -> None:
    await stream.subscribe(TRADES)
    await take(stream)
    refused = [web.Response(status=status)]

    async def behind_a_proxy(request: web.Request) -> web.StreamResponse:
        return refused.pop() if refused else await hub._serve(request)

    platform.serve("/ws/v1/stream", behind_a_proxy)
    await hub.close(1012)
    told = await take_until(stream, lambda event: event == Recovered(channel=TRADES))
    assert [type(event) for event in told] == [Disconnected, Disconnected, Recovered]
    assert not refused


async def test_too_many_sockets_of_an_address_are_told_as_that(platform: ScriptedPlatform, client: AsyncClient) -> None:
    async def full(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "7"})

    platform.serve("/ws/v1/stream", full)
    with pytest.raises(RateLimited, match="Too many WebSockets") as refused:
        async with client.stream():
            pass
    assert refused.value.retry_after == 7


def test_the_server_says_how_long_to_wait_up_to_half_a_minute() -> None:
    assert [reconnect_pause(Fate.AGAIN, 1, 0, retry_after) for retry_after in (0, 7, 3600)] == [0, 7, 30]
    assert reconnect_pause(Fate.AGAIN_AT_ONCE, 0, 0.5, 7) == 0


async def test_a_server_that_is_away_for_long_is_found_again(
    platform: ScriptedPlatform, hub: ScriptedHub, stream: AsyncStream
) -> None:
    await stream.subscribe(TRADES)
    await publish(hub, 0)
    await take(stream)
    away = 5

    def refuse(socket: Socket) -> int | None:
        nonlocal away
        away -= 1
        return 1011 if away >= 0 else None

    hub.on_connect = refuse
    await hub.close(1011)
    events = await take_until(stream, lambda event: isinstance(event, Recovered | Gap))
    assert [event.code for event in events if isinstance(event, Disconnected)] == [1011] * 6


async def test_other_spellings_are_resumed_under_the_canonical_name(hub: ScriptedHub, stream: AsyncStream) -> None:
    hub.aliases["trades:binance:btcusdt"] = TRADES
    await stream.subscribe("trades:binance:btcusdt")
    assert await take(stream) == [Subscribed(channel=TRADES)]
    await publish(hub, 1)
    assert ids(await take(stream)) == [1]
    await hub.close(1012)
    await take(stream, 2)
    assert hub.sockets[1].heard == [
        {"action": "subscribe", "channels": [{"channel": TRADES, "since": 3, "epoch": "e1"}]}
    ]
    await stream.unsubscribe("trades:binance:btcusdt")
    assert await take(stream) == [Unsubscribed(channel=TRADES)]
    await hub.close(1012)
    await hub.until(lambda: len(hub.sockets) == 3)
    await take(stream)
    assert hub.sockets[2].heard == []


async def test_what_is_said_while_a_new_connection_opens_comes_behind_its_opening(
    hub: ScriptedHub, stream: AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    channels = [f"trades:binance:X{number}-USDT" for number in range(65)]
    await stream.subscribe(*channels)
    await take(stream, 65)
    begins, may_go_on, say = asyncio.Event(), asyncio.Event(), stream._say

    async def say_slowly(message: Message) -> None:
        begins.set()
        await may_go_on.wait()
        await say(message)

    monkeypatch.setattr(stream, "_say", say_slowly)
    await hub.close(1012)
    await begins.wait()
    leaving = asyncio.create_task(stream.unsubscribe(channels[-1]))
    await asyncio.sleep(0)
    may_go_on.set()
    await leaving
    await hub.until(lambda: len(hub.sockets[1].heard) == 3)
    assert [heard["action"] for heard in hub.sockets[1].heard] == ["subscribe", "subscribe", "unsubscribe"]


async def test_what_is_refused_for_good_is_told_and_given_up(hub: ScriptedHub, stream: AsyncStream) -> None:
    error = {"type": "error", "error_code": "SYMBOL_NOT_FOUND", "message": "no", "details": {"suggestions": ["x"]}}
    hub.on_message = lambda socket, message: [error | {"channel": "trades:okx:NO"}]
    await stream.subscribe("trades:okx:NO")
    [refused] = await take(stream)
    assert isinstance(refused, Refused)
    assert (refused.error_code, refused.channel, refused.will_retry) == ("SYMBOL_NOT_FOUND", "trades:okx:NO", False)
    await hub.close(1012)
    await hub.until(lambda: len(hub.sockets) == 2)
    await take(stream)
    assert hub.sockets[1].heard == []


async def test_what_is_refused_for_the_moment_is_asked_again(
    hub: ScriptedHub, stream: AsyncStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "ASK_AGAIN_SECONDS", 0.01)
    answers: list[Message] = [
        {"type": "error", "error_code": "SERVICE_UNAVAILABLE", "message": "soon", "channel": TRADES},
        {"type": "error", "error_code": "RATE_LIMITED", "message": "too fast"},
    ]
    hub.on_message = lambda socket, message: [answers.pop(0)] if answers else None
    await stream.subscribe(TRADES)
    busy, limited, subscribed = await take(stream, 3)
    assert [event.will_retry for event in (busy, limited) if isinstance(event, Refused)] == [True, True]
    assert subscribed == Subscribed(channel=TRADES)


async def test_an_expired_token_is_renewed_once(platform: ScriptedPlatform, hub: ScriptedHub) -> None:
    platform.on("POST /login", tokens(1))
    platform.on("POST /refresh", tokens(2))
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        async with client.stream() as stream:
            await stream.subscribe(TRADES)
            await take(stream)
            await hub.close(4401)
            lost, recovered = await take(stream, 2)
            assert isinstance(lost, Disconnected)
            assert recovered == Recovered(channel=TRADES)
            assert [socket.bearer for socket in hub.sockets] == ["access-1", "access-2"]
            hub.on_connect = lambda socket: 4401
            await hub.close(4401)
            with pytest.raises(StreamClosed) as caught:
                await take_until(stream, lambda event: False)
            assert (caught.value.code, caught.value.error_code) == (4401, "UNAUTHENTICATED")
    assert platform.targets().count("/refresh") == 2


async def test_a_logins_next_token_is_shown_before_the_last_one_ends(
    platform: ScriptedPlatform, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RENEWAL_SECONDS", 0.01)
    platform.on("POST /login", tokens(1))
    platform.on("POST /refresh", tokens(2, expires_in=90_000))
    authenticated = {"type": "authenticated", "username": "alice", "expires_at": 1}
    hub.on_message = lambda socket, message: [authenticated] if message["action"] == "auth" else None
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        async with client.stream() as stream:
            monkeypatch.setattr(credentials, "AHEAD_SECONDS", 1_000)
            await hub.until(lambda: bool(hub.sockets and hub.sockets[0].heard))
            assert hub.sockets[0].bearer == "access-1"
            assert hub.sockets[0].heard == [{"action": "auth", "token": "access-2"}]
            await stream.subscribe(TRADES)
            assert await take(stream) == [Subscribed(channel=TRADES)]
    assert len(hub.sockets) == 1


async def test_a_next_token_that_is_refused_for_the_moment_is_shown_again(
    platform: ScriptedPlatform, hub: ScriptedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "RENEWAL_SECONDS", 0.01)
    platform.on("POST /login", tokens(1))
    platform.on("POST /refresh", tokens(2, expires_in=90_000))
    refused = {"type": "error", "error_code": "RATE_LIMITED", "message": "too often", "action": "auth"}
    authenticated = {"type": "authenticated", "username": "alice", "expires_at": 1}
    answers: list[dict[str, Any]] = [refused, authenticated]
    hub.on_message = lambda socket, message: [answers.pop(0)] if message["action"] == "auth" else None
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        async with client.stream() as stream:
            monkeypatch.setattr(credentials, "AHEAD_SECONDS", 1_000)
            (event,) = await take(stream)
            assert isinstance(event, Refused)
            assert event.will_retry
            await hub.until(lambda: len(hub.sockets[0].heard) == 2)
            assert hub.sockets[0].heard == [{"action": "auth", "token": "access-2"}] * 2


@pytest.mark.parametrize("code", [4401, 4403, 4404])
async def test_what_cannot_go_on_ends_with_an_error_that_says_why(
    hub: ScriptedHub, stream: AsyncStream, code: int
) -> None:
    await stream.subscribe(TRADES)
    await take(stream)
    await hub.open[0].send({"type": "error", "error_code": "FORBIDDEN", "message": "You may not."})
    await hub.close(code)
    assert isinstance((await take(stream))[0], Refused)
    with pytest.raises(StreamClosed, match="You may not") as caught:
        await take(stream)
    assert caught.value.code == code
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_why_a_stream_ended_can_be_read_after_it_was_closed(hub: ScriptedHub, stream: AsyncStream) -> None:
    await stream.subscribe(TRADES)
    await take(stream)
    await hub.close(4404)
    await asyncio.wait(stream._tasks)
    await stream.close()
    with pytest.raises(StreamClosed):
        await take(stream)


async def test_headers_of_the_callers_own_go_with_every_request(platform: ScriptedPlatform, hub: ScriptedHub) -> None:
    async with AsyncClient(platform.url, headers={"X-Forwarded-For": "203.0.113.9"}) as client, client.stream():
        await hub.until(lambda: bool(hub.sockets))
        assert hub.sockets[0].request.headers["X-Forwarded-For"] == "203.0.113.9"


async def test_a_first_connection_that_fails_is_an_error(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /ws/v1/stream", Answer(status=401))
    with pytest.raises(Unauthenticated):
        async with client.stream():
            pass
    async with AsyncClient("http://127.0.0.1:1") as nobody:
        with pytest.raises(ConnectionFailed):
            async with nobody.stream():
                pass


async def test_a_connection_without_a_sign_of_life_is_given_up(
    hub: ScriptedHub, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PING_SECONDS", 0.1)
    hub.answers_pings = False
    async with client.stream() as stream:
        [lost] = await take(stream)
        assert isinstance(lost, Disconnected)
        hub.answers_pings = True
        await hub.until(lambda: len(hub.sockets) >= 2)


async def test_a_slow_consumer_makes_the_server_wait_and_misses_nothing(
    hub: ScriptedHub, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "BUFFERED_EVENTS", 10)
    padding = "x" * 10_000
    count = 3_000
    async with client.stream() as stream:
        await stream.subscribe(TRADES)
        await take(stream)

        async def publish_all() -> None:
            for number in range(count):
                await hub.publish(TRADES, number, **TRADE | {"trade_id": number, "padding": padding})

        publishing = asyncio.create_task(publish_all())
        socket, before = hub.sockets[0], -1
        while socket.sent != before:  # as long as the pipes take more
            before = socket.sent
            await asyncio.sleep(0.1)
        assert socket.sent < count
        assert ids(await take(stream, count)) == list(range(count))
        await publishing


async def test_messagepack_says_the_same(hub: ScriptedHub, client: AsyncClient) -> None:
    async with client.stream(packed=True) as stream:
        await stream.subscribe(TRADES)
        await take(stream)
        await hub.publish(TRADES, 1, **TRADE | {"price": "16542.30", "quantity": "0.25"})
        [event] = await take(stream)
    assert isinstance(event, TradeEvent)
    assert (event.price, event.timestamp) == (Decimal("16542.3"), Decimal("1672531200.123456"))


async def test_history_is_replayed_and_then_it_is_live(hub: ScriptedHub, stream: AsyncStream) -> None:
    told: list[Message] = [{**TRADE, "channel": TRADES, "offset": None, "trade_id": number} for number in (1, 2)]
    told.append({"type": "replay_complete", "epoch": "e1", "channels": [TRADES]})
    told.append({**TRADE, "channel": TRADES, "offset": 30})
    hub.on_message = lambda socket, message: told if "from" in message else None
    await stream.replay("trades:binance:btcusdt", start="2025-07-01T00:00:00Z", speed=10)
    first, second, complete, live = await take(stream, 4)
    assert ids([first, second, live]) == [1, 2, 7]
    assert isinstance(complete, ReplayComplete)
    asked = {"action": "subscribe", "channels": ["trades:binance:btcusdt"], "from": "2025-07-01T00:00:00Z"}
    assert hub.sockets[0].heard == [asked | {"speed": 10.0}]
    await hub.close(1012)
    await take(stream, 2)
    assert hub.sockets[1].heard[0]["channels"] == [{"channel": TRADES, "since": 30, "epoch": "e1"}]


async def test_a_replay_that_breaks_off_is_told(hub: ScriptedHub, stream: AsyncStream) -> None:
    told: list[Message] = [{**TRADE, "channel": TRADES, "offset": None}]
    hub.on_message = lambda socket, message: told if "from" in message else None
    await stream.replay(TRADES, start="2025-07-01T00:00:00Z")
    await take(stream)
    await hub.close(1011)
    assert (await take(stream, 2))[1] == Gap(channel=TRADES, after=None)


def iterate(url: str, count: int) -> tuple[list[Any], Any]:
    with Client(url, api_key="ctk_1_key") as client, client.stream() as stream:
        stream.subscribe(TRADES)
        events = []
        for event in stream:
            events.append(event)
            if len(events) == count:
                break
        return events, stream.get(0.01)


async def test_the_blocking_client_streams_too(platform: ScriptedPlatform, hub: ScriptedHub) -> None:
    reading = asyncio.create_task(asyncio.to_thread(iterate, platform.url, 3))
    await hub.until(lambda: bool(hub.sockets) and bool(hub.sockets[0].channels))
    await publish(hub, 1, 2)
    events, nothing = await reading
    assert ids(events) == [1, 2]
    assert nothing is None


async def test_closing_the_blocking_client_ends_a_call_of_another_thread(
    platform: ScriptedPlatform, hub: ScriptedHub
) -> None:
    client = Client(platform.url, api_key="ctk_1_key")
    stream = await asyncio.to_thread(client.stream().__enter__)
    reading = asyncio.create_task(asyncio.to_thread(list, stream))
    await hub.until(lambda: bool(hub.sockets))
    await asyncio.gather(asyncio.to_thread(client.close), asyncio.to_thread(client.close))
    with pytest.raises(RuntimeError, match="closed"):
        await reading


async def test_the_end_of_a_blocking_feed_is_a_stop(platform: ScriptedPlatform, hub: ScriptedHub) -> None:
    def read_on() -> str:
        with Client(platform.url, api_key="ctk_1_key") as client, client.stream() as stream:
            stream.close()
            try:
                stream.get(5)
            except StopIteration:
                return "over"
            return "not over"

    assert await asyncio.to_thread(read_on) == "over"
