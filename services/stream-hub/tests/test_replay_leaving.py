"""Who leaves while a replay runs or a client comes back: others, with whom shared channels end, or it itself."""

from __future__ import annotations

import asyncio
import time
from importlib import import_module

import pytest

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.order import OrderEvent, OrderEventKind
from crosstape.stream_hub import joining, subscriptions
from crosstape.stream_hub.rolled import RolledBars

h = import_module("services.stream-hub.tests.harness")
r = import_module("services.stream-hub.tests.replays")

pytestmark = pytest.mark.integration


# --- others leave


def fill(number):
    kind, now = OrderEventKind.FILL, time.time_ns()
    return OrderEvent("id-alice", "alice", "twap_1", number, kind, now, "kraken", "BTC-USD", "buy", "9.50")


def say_something(platform, channel):
    """Something that this channel tells."""
    if channel == r.TAPE:
        platform.trades(h.trade(1, exchange="okx"))
    elif channel == r.FIVE:
        r.close_bar(platform, (time.time_ns() // NANOSECONDS // 300 - 1) * 300)
    elif channel == "orders":
        platform.publish("orders", fill(1_000))
    else:
        platform.book(h.snapshot("kraken", "BTC-USD", [("1", "1")], [("2", "1")], None))


def others_leave(platform):
    """What the hub does when somebody else leaves, and once a minute."""
    platform.desk.channels.release()
    platform.prune(time.time())


@pytest.mark.parametrize("channel", [r.TAPE, r.FIVE, "book:kraken:BTC-USD", "orders"])
async def test_replay_goes_live_although_all_others_left_meanwhile(platform, channel):
    async with h.streaming(platform, f"?from={time.time() - 1}&speed=1e6") as socket:
        platform.history.answers.clear()
        await h.say(socket, action="subscribe", channels=[r.TRADES, channel])
        await h.until(lambda: platform.history.asked)
        others_leave(platform)
        platform.history.answers.set()
        await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        say_something(platform, channel)
        kinds = ("trade", "bar_close", "book", "order")
        await h.hear_until(socket, lambda told: told.get("channel") == channel and told["type"] in kinds)


@pytest.mark.parametrize(("channel", "since"), [(r.TAPE, "binance:0"), ("orders", 0)])
async def test_client_that_comes_back_joins_although_all_others_left_meanwhile(platform, monkeypatch, channel, since):
    async def has_read(member):
        others_leave(platform)

    monkeypatch.setattr(joining, "has_read", has_read)
    monkeypatch.setattr(subscriptions, "has_read", has_read)
    platform.trades(*(h.trade(number) for number in range(501)), stored=False)
    for number in range(501):
        platform.publish("orders", fill(number), age=3_600)
    async with h.streaming(platform) as socket:
        asked = {"channel": channel, "since": since, "epoch": "e1"}
        await h.say(socket, action="subscribe", channels=[asked])
        answer, *missed = [await h.hear(socket) for _ in range(501)]
        assert (answer["channel"], answer["recovered"], len(missed)) == (channel, True, 500)
        say_something(platform, channel)
        assert (await h.hear(socket))["channel"] == channel


# --- the client itself leaves


async def test_unsubscribing_ends_a_replay_and_another_may_begin(platform):
    platform.history.store(r.trades_at(range(r.LONG_AGO, r.LONG_AGO + 300)))
    async with h.streaming(platform) as socket:
        await h.say(socket, action="subscribe", channels=[r.TRADES], **{"from": r.LONG_AGO, "speed": 50})
        await h.hear(socket)
        await h.say(socket, action="unsubscribe", channels=[r.TRADES])
        await h.hear_until(socket, lambda told: told["type"] == "unsubscribed")
        span = {"from": r.LONG_AGO + 200, "to": r.LONG_AGO + 300, "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[r.TRADES], **span)
        told = await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert [one["trade_id"] for one in told[:-1]] == list(range(r.LONG_AGO + 200, r.LONG_AGO + 300))
        assert await h.silence(socket)


async def test_replay_that_is_unsubscribed_in_the_same_breath_ends(platform):
    platform.history.answers.clear()
    async with h.streaming(platform) as socket:
        for _ in range(3):
            await h.say(socket, action="subscribe", channels=[r.TRADES], **{"from": r.LONG_AGO})
            await h.say(socket, action="unsubscribe", channels=[r.TRADES])
        assert [(await h.hear(socket))["type"] for _ in range(3)] == ["unsubscribed"] * 3
        platform.history.answers.set()
        assert await h.silence(socket)


async def test_channel_that_leaves_a_replay_may_be_live_while_the_others_go_on(platform, monkeypatch):
    seconds = range(r.LONG_AGO, r.LONG_AGO + 100)
    for exchange in ("binance", "okx"):
        platform.history.store(r.trades_at(seconds, exchange=exchange))
    monkeypatch.setattr("crosstape.stream_hub.reading.BACKLOG_BYTES", -1)  # as if the client read nothing
    monkeypatch.setattr("crosstape.stream_hub.replay.AT_ONCE", 1)
    async with h.streaming(platform) as socket:
        span = {"from": r.LONG_AGO, "to": r.LONG_AGO + 100, "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[r.TRADES, r.OTHERS], **span)
        await h.say(socket, action="unsubscribe", channels=[r.TRADES])
        await h.say(socket, action="subscribe", channels=[r.TRADES])
        assert [(await h.hear(socket))["type"] for _ in range(2)] == ["unsubscribed", "subscribed"]
        platform.trades(h.trade(1))
        assert (await h.hear(socket))["trade_id"] == 1
        monkeypatch.undo()
        *told, complete = await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert [(one["channel"], one["trade_id"]) for one in told] == [(r.OTHERS, second) for second in seconds]
        assert complete["channels"] == [r.OTHERS]


async def test_channel_that_leaves_while_it_goes_live_says_nothing_more(platform, monkeypatch):
    may_go_on, is_waiting = asyncio.Event(), asyncio.Event()

    async def has_read(member):
        is_waiting.set()
        await may_go_on.wait()

    monkeypatch.setattr(joining, "has_read", has_read)
    since = time.time()
    platform.trades(*(h.trade(number) for number in range(1_000)), stored=False)
    async with h.streaming(platform, f"?from={since}&speed=1e6") as socket:
        await h.say(socket, action="subscribe", channels=[r.TRADES, r.OTHERS])
        await is_waiting.wait()
        await h.say(socket, action="unsubscribe", channels=[r.TRADES])
        await h.hear_until(socket, lambda told: told["type"] == "unsubscribed")
        may_go_on.set()
        platform.trades(h.trade(1_000))
        platform.trades(h.trade(1, exchange="okx"))
        assert (await h.hear(socket))["channel"] == r.OTHERS
        assert await h.silence(socket)


async def test_longer_bars_that_leave_while_history_is_asked_for_them_say_nothing_more(platform, monkeypatch):
    may_go_on, is_waiting = asyncio.Event(), asyncio.Event()
    fetch = RolledBars.fetch

    async def waiting(bars, missed):
        found = await fetch(bars, missed)
        if missed:
            is_waiting.set()
            await may_go_on.wait()
        return found

    monkeypatch.setattr(RolledBars, "fetch", waiting)
    start = int(time.time()) // 300 * 300 - 300
    async with h.streaming(platform) as witness:
        await h.say(witness, action="subscribe", channels=[r.FIVE])
        since = (await h.hear(witness))["offset"]
        for minute in range(start, start + 300, 60):
            platform.trades(h.trade(minute, time=minute * NANOSECONDS))
            platform.close_minute(minute)
        may_go_on.set()
        await h.hear_until(witness, lambda told: told.get("type") == "bar_close")
        may_go_on.clear()
        is_waiting.clear()
        async with h.streaming(platform) as socket:
            await h.say(socket, action="subscribe", channels=[{"channel": r.FIVE, "since": since, "epoch": "e1"}])
            await is_waiting.wait()
            (subscription,) = [
                one
                for connection in platform.door._connections
                for one in connection._session._subscriptions.values()
                if one._joined is None
            ]
            subscription.leave(None)
            may_go_on.set()
            assert (await h.hear(socket))["type"] == "subscribed"
            assert await h.silence(socket)
