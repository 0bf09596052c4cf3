"""Replays of /ws/v1/stream: what history is asked, what is sent of it once, and how it goes over into what is live."""

from __future__ import annotations

import asyncio
import gc
import time
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace

import pytest

from crosstape.common.market.bar import NANOSECONDS, Interval
from crosstape.common.market.order import OrderEvent, OrderEventKind
from crosstape.stream_hub import joining, messages, subscriptions
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.market import MarketState, RingSize
from crosstape.stream_hub.replay import BarSource, TradeSource, Wanted
from crosstape.stream_hub.rolled import RolledBars

h = import_module("services.stream-hub.tests.harness")

pytestmark = pytest.mark.integration

TRADES = "trades:binance:BTC-USDT"
OTHERS = "trades:okx:BTC-USDT"
TAPE = "trades:*:BTC-USD"
FIVE = "bars:binance:BTC-USDT:5m"
DAY = 86_400
LONG_AGO = time.time_ns() // NANOSECONDS // DAY * DAY - 2 * DAY


def market_of(size=10_000):
    return MarketState("binance", "BTC-USDT", Outbox(), RingSize(size, 300.0), time.time())


def trades_at(seconds, **fields):
    """A trade at each of these Unix seconds, which is its id as well."""
    return [h.trade(second, time=second * NANOSECONDS, **fields) for second in seconds]


def message(trade):
    return messages.trade(TRADES, trade, None)


async def passed(source, start, end):
    """When what happened (ns) in [start, end) Unix s, as a pass of a replay reads it."""
    return [moment async for moment, _ in source.items(start * NANOSECONDS, end * NANOSECONDS)]


async def opens_of(source, interval, start, end):
    """The opens (Unix s) of the bars of a pass."""
    return [moment // NANOSECONDS - interval.seconds for moment in await passed(source, start, end)]


# --- what is read


@pytest.mark.parametrize("interval", [Interval.S1, Interval.M1, Interval.M5, Interval.H1])
@pytest.mark.parametrize(
    ("quiet", "late"), [(0, 0), (1_830, 0), (0, 600)], ids=["open", "open without a trade yet", "history is late"]
)
async def test_bars_that_close_between_two_passes_are_sent_once(interval, quiet, late):
    history = h.FakeHistory()
    source = BarSource(market_of(), interval, history, LONG_AGO * NANOSECONDS)
    seam, end = LONG_AGO + 5_430, LONG_AGO + 10_800
    history.store(trades_at(range(LONG_AGO, seam - quiet, 10)))
    history.closed_until = (seam - late) // 60 * 60
    opens = await opens_of(source, interval, LONG_AGO, seam)
    history.store(trades_at([seam - 28, *range(seam, end, 10)]))
    history.closed_until = end
    opens += await opens_of(source, interval, seam - 12, end)
    assert opens == [bar.open_time for bar in history.all_bars("binance", "BTC-USDT", interval)]


async def test_bars_are_read_page_by_page_and_those_that_cannot_come_again_are_forgotten():
    history, minutes = h.FakeHistory(), 4 * h.PAGE
    end = LONG_AGO + minutes * 60
    history.store(trades_at(range(LONG_AGO, end, 60)))
    history.closed_until = end
    source = BarSource(market_of(), Interval.M1, history, LONG_AGO * NANOSECONDS)
    items = source.items(LONG_AGO * NANOSECONDS, end * NANOSECONDS)
    assert (await anext(items))[0] == (LONG_AGO + 60) * NANOSECONDS
    assert history.asked == 1
    assert len([item async for item in items]) == minutes - 1
    assert list(source.sent) == [end - 60]
    for start in (end, end + 600):
        await passed(source, start, start + 600)
    assert not source.sent


async def test_trades_of_the_seam_are_sent_once_and_forgotten_behind_it():
    history = h.FakeHistory()
    history.store(trades_at(range(LONG_AGO, LONG_AGO + 400)))
    source = TradeSource(market_of(), history, message, LONG_AGO * NANOSECONDS)
    moments = await passed(source, LONG_AGO, LONG_AGO + 200)
    assert list(source.sent) == list(range(LONG_AGO + 188, LONG_AGO + 200))
    moments += await passed(source, LONG_AGO + 188, LONG_AGO + 400)
    assert moments == [(LONG_AGO + number) * NANOSECONDS for number in range(400)]
    await passed(source, LONG_AGO + 388, LONG_AGO + 600)
    assert list(source.sent) == list(range(LONG_AGO + 388, LONG_AGO + 400))


async def test_old_trade_that_a_repair_brought_is_known_as_sent_while_the_ring_has_it():
    history, market = h.FakeHistory(), market_of()
    repaired, other = trades_at([LONG_AGO, LONG_AGO + 1])
    history.store([repaired])
    market.take_trades([repaired, other], 1, 0)
    source = TradeSource(market, history, message, LONG_AGO * NANOSECONDS)
    await passed(source, LONG_AGO, LONG_AGO + 200)
    assert (source.is_new(repaired), source.is_new(other)) == (False, True)
    await passed(source, LONG_AGO + 188, LONG_AGO + 400)
    assert not source.is_new(repaired)
    market.ticks.restart(0)
    await passed(source, LONG_AGO + 388, LONG_AGO + 600)
    assert not source.sent


async def test_source_of_a_channel_that_was_left_is_read_no_further():
    history = h.FakeHistory()
    history.store(trades_at(range(LONG_AGO, LONG_AGO + 4 * h.PAGE)))
    part = SimpleNamespace(has_left=False)
    source = Wanted(TradeSource(market_of(), history, message, LONG_AGO * NANOSECONDS), part)
    items = source.items(LONG_AGO * NANOSECONDS, (LONG_AGO + 4 * h.PAGE) * NANOSECONDS)
    _, make = await anext(items)
    assert make() is not None
    part.has_left = True
    assert (make(), await anext(items, None)) == (None, None)


# --- history, then live


async def test_replay_sends_history_then_says_so_then_goes_live_without_a_gap(platform):
    begin = h.minute_of(time.time_ns()) - 600
    trades = [h.trade(n, time=(begin + n) * NANOSECONDS) for n in range(580)]
    platform.history.store(trades[:570])
    platform.history.closed_until = begin + 540
    platform.trades(*trades[560:], stored=False)
    async with h.streaming(platform, f"?from={begin}&speed=1000000") as socket:
        await h.say(socket, action="subscribe", channels=[TRADES, "bars:binance:BTC-USDT:1m"])
        told = await h.hear_until(socket, lambda told: told["type"] == "replay_complete", seconds=10)
        platform.trades(h.trade(580))
        told += await h.hear_until(socket, lambda told: told.get("trade_id") == 580)
        assert [one["trade_id"] for one in told if one["type"] == "trade"] == list(range(581))
        bars = [one["bar"]["timestamp"] for one in told if one["type"] == "bar_close"]
        assert bars == [begin + 60 * minute for minute in range(9)]
        assert {one["offset"] for one in told[:500]} == {None}
        times = [one.get("timestamp") or one["bar"]["timestamp"] + 60 for one in told if "offset" in one][:500]
        assert times == sorted(times)


async def test_replay_of_a_closed_span_keeps_its_pace(platform):
    begin = h.minute_of(time.time_ns()) - 3600
    platform.history.store([h.trade(n, time=(begin + n) * NANOSECONDS) for n in range(10)])
    async with h.streaming(platform) as socket:
        started = time.monotonic()
        await h.say(
            socket, action="subscribe", channels=[TRADES], **{"from": str(begin), "to": str(begin + 5), "speed": 10}
        )
        told = await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert [one["trade_id"] for one in told[:-1]] == [0, 1, 2, 3, 4]
        assert 0.4 < time.monotonic() - started < 2


async def test_replay_of_the_consolidated_tape_sums_up_from_midnight(platform):
    day = time.time_ns() // NANOSECONDS // 86_400 * 86_400 - 86_400
    for exchange in ("binance", "okx"):
        platform.history.store(
            [h.trade(n, exchange=exchange, time=(day + n * 10) * NANOSECONDS, quantity="0.1") for n in range(30)]
        )
    span = {"from": str(day + 65), "to": str(day + 300), "speed": 1e6}
    async with h.streaming(platform) as socket:
        await h.say(socket, action="subscribe", channels=["trades:*:BTC-USDT"], **span)
        told = await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert len(told) == 2 * 23 + 1
        assert told[-2]["cvd_total"] == 6.0
        assert Decimal(str(told[0]["cvd"]["binance"])) == Decimal("0.8")


async def test_what_a_replay_sent_is_forgotten_once_it_is_live(platform):
    async with h.streaming(platform, f"?from={time.time() - 1}&speed=1e6") as socket:
        await h.say(socket, action="subscribe", channels=[TRADES, TAPE, "bars:binance:BTC-USDT:1m", FIVE])
        await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        gc.collect()
        await h.until(lambda: not [one for one in gc.get_objects() if isinstance(one, TradeSource | BarSource)])


async def test_replay_sends_no_bar_that_opened_before_it(platform):
    minute = h.minute_of(time.time_ns()) - 60
    platform.trades(h.trade(1, time=minute * NANOSECONDS))
    platform.close_minute(minute)
    async with h.streaming(platform, f"?from={time.time() - 0.5}") as socket:
        await h.say(socket, action="subscribe", channels=["bars:binance:BTC-USDT:1m"])
        await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert await h.silence(socket)


async def test_longer_bar_that_is_told_while_a_replay_ends_is_sent_once(platform, monkeypatch):
    start = (time.time_ns() // NANOSECONDS // 300 - 2) * 300
    for second in range(start, start + 600, 60):
        platform.trades(h.trade(second, time=second * NANOSECONDS))
    for second in range(start, start + 540, 60):
        platform.close_minute(second)
    bar_pages = platform.history.bar_pages

    async def closing_meanwhile(*asked):
        async for page in bar_pages(*asked):
            yield page
        platform.close_minute(start + 540)
        assert (await h.hear(witness))["bar"]["timestamp"] == start + 300

    async with h.streaming(platform) as witness, h.streaming(platform, f"?from={start}&speed=1e6") as socket:
        await h.say(witness, action="subscribe", channels=[FIVE])
        await h.hear(witness)
        monkeypatch.setattr(platform.history, "bar_pages", closing_meanwhile)
        await h.say(socket, action="subscribe", channels=[FIVE])
        replayed, complete, live = [await h.hear(socket) for _ in range(3)]
        assert (replayed["bar"]["timestamp"], replayed["offset"]) == (start, None)
        assert complete["type"] == "replay_complete"
        assert (live["bar"]["timestamp"], isinstance(live["offset"], int)) == (start + 300, True)
        assert await h.silence(socket)


async def test_longer_bar_that_is_told_while_a_client_comes_back_is_sent_once(platform, monkeypatch):
    start = (time.time_ns() // NANOSECONDS // 300 - 2) * 300
    async with h.streaming(platform) as witness, h.streaming(platform) as socket:
        await h.say(witness, action="subscribe", channels=[FIVE])
        since = (await h.hear(witness))["offset"]
        close_bar(platform, start)
        await h.hear(witness)
        bars, was_told, asked = platform.history.bars, asyncio.Event(), []

        async def answering_late(*question):
            answer = await bars(*question)
            asked.append(question)
            if len(asked) == 1:
                await was_told.wait()
            return answer

        monkeypatch.setattr(platform.history, "bars", answering_late)
        await h.say(socket, action="subscribe", channels=[{"channel": FIVE, "since": since, "epoch": "e1"}])
        await h.until(lambda: asked)
        close_bar(platform, start + 300)
        assert (await h.hear(witness))["bar"]["timestamp"] == start + 300
        was_told.set()
        told = [await h.hear(socket) for _ in range(3)]
        assert [one["bar"]["timestamp"] for one in told[1:]] == [start, start + 300]
        assert await h.silence(socket)


@pytest.mark.parametrize("channel", [TRADES, TAPE])
async def test_replay_that_ends_before_now_goes_live_without_what_lies_between(platform, channel):
    await many_trades(platform)
    async with h.streaming(platform) as socket:
        span = {"from": str(LONG_AGO), "to": str(LONG_AGO + 10), "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[channel], **span)
        assert (await h.hear(socket))["type"] == "replay_complete"
        platform.trades(h.trade(9_000))
        assert (await h.hear(socket))["trade_id"] == 9_000


async def test_replay_of_bars_that_ends_before_now_goes_live_without_what_lies_between(platform):
    close_bar(platform, (time.time_ns() // NANOSECONDS // 300 - 1) * 300)
    async with h.streaming(platform) as socket:
        span = {"from": str(LONG_AGO), "to": str(LONG_AGO + 10), "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[FIVE, "bars:binance:BTC-USDT:1m"], **span)
        assert (await h.hear(socket))["type"] == "replay_complete"
        assert await h.silence(socket)


@pytest.mark.parametrize("channel", [TRADES, TAPE])
async def test_much_that_history_does_not_have_yet_does_not_count_as_reading_slowly(platform, channel):
    since = time.time()
    await many_trades(platform)
    async with h.streaming(platform, f"?from={since}&speed=1e6") as socket:
        await h.say(socket, action="subscribe", channels=[channel])
        told = await h.hear_until(socket, lambda told: told.get("trade_id") == 8_000, seconds=20)
        assert [one["trade_id"] for one in told[1:]] == list(range(1, 8_001))
        platform.trades(h.trade(9_000))
        assert (await h.hear(socket))["trade_id"] == 9_000


async def many_trades(platform):
    """8000 trades of now that history lacks, as messages more than may wait for a client."""
    await platform.stop()
    platform.most_backlog = 512 * 1024
    await platform.start()
    for start in range(1, 8_000, 400):
        platform.trades(*(h.trade(number) for number in range(start, start + 400)), stored=False)


# --- others leave


def close_bar(platform, start):
    """Five minutes from `start` (Unix s) on, each with a trade, are stored and told."""
    for second in range(start, start + 300, 60):
        platform.trades(h.trade(second, time=second * NANOSECONDS))
        platform.close_minute(second)


def fill(number):
    kind, now = OrderEventKind.FILL, time.time_ns()
    return OrderEvent("id-alice", "alice", "twap_1", number, kind, now, "kraken", "BTC-USD", "buy", "9.50")


def say_something(platform, channel):
    """Something that this channel tells."""
    if channel == TAPE:
        platform.trades(h.trade(1, exchange="okx"))
    elif channel == FIVE:
        close_bar(platform, (time.time_ns() // NANOSECONDS // 300 - 1) * 300)
    elif channel == "orders":
        platform.publish("orders", fill(1_000))
    else:
        platform.book(h.snapshot("kraken", "BTC-USD", [("1", "1")], [("2", "1")], None))


def others_leave(platform):
    """What the hub does when somebody else leaves, and once a minute."""
    platform.desk.channels.release()
    platform.hub.prune(time.time())


@pytest.mark.parametrize("channel", [TAPE, FIVE, "book:kraken:BTC-USD", "orders"])
async def test_replay_goes_live_although_all_others_left_meanwhile(platform, channel):
    async with h.streaming(platform, f"?from={time.time() - 1}&speed=1e6") as socket:
        platform.history.answers.clear()
        await h.say(socket, action="subscribe", channels=[TRADES, channel])
        await h.until(lambda: platform.history.asked)
        others_leave(platform)
        platform.history.answers.set()
        await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        say_something(platform, channel)
        kinds = ("trade", "bar_close", "book", "order")
        await h.hear_until(socket, lambda told: told.get("channel") == channel and told["type"] in kinds)


@pytest.mark.parametrize(("channel", "since"), [(TAPE, "binance:0"), ("orders", 0)])
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
    platform.history.store(trades_at(range(LONG_AGO, LONG_AGO + 300)))
    async with h.streaming(platform) as socket:
        await h.say(socket, action="subscribe", channels=[TRADES], **{"from": LONG_AGO, "speed": 50})
        await h.hear(socket)
        await h.say(socket, action="unsubscribe", channels=[TRADES])
        await h.hear_until(socket, lambda told: told["type"] == "unsubscribed")
        span = {"from": LONG_AGO + 200, "to": LONG_AGO + 300, "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[TRADES], **span)
        told = await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert [one["trade_id"] for one in told[:-1]] == list(range(LONG_AGO + 200, LONG_AGO + 300))
        assert await h.silence(socket)


async def test_replay_that_is_unsubscribed_in_the_same_breath_ends(platform):
    platform.history.answers.clear()
    async with h.streaming(platform) as socket:
        for _ in range(3):
            await h.say(socket, action="subscribe", channels=[TRADES], **{"from": LONG_AGO})
            await h.say(socket, action="unsubscribe", channels=[TRADES])
        assert [(await h.hear(socket))["type"] for _ in range(3)] == ["unsubscribed"] * 3
        platform.history.answers.set()
        assert await h.silence(socket)


async def test_channel_that_leaves_a_replay_may_be_live_while_the_others_go_on(platform, monkeypatch):
    seconds = range(LONG_AGO, LONG_AGO + 100)
    for exchange in ("binance", "okx"):
        platform.history.store(trades_at(seconds, exchange=exchange))
    monkeypatch.setattr("crosstape.stream_hub.reading.BACKLOG_BYTES", -1)  # as if the client read nothing
    monkeypatch.setattr("crosstape.stream_hub.replay.AT_ONCE", 1)
    async with h.streaming(platform) as socket:
        span = {"from": LONG_AGO, "to": LONG_AGO + 100, "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[TRADES, OTHERS], **span)
        await h.say(socket, action="unsubscribe", channels=[TRADES])
        await h.say(socket, action="subscribe", channels=[TRADES])
        assert [(await h.hear(socket))["type"] for _ in range(2)] == ["unsubscribed", "subscribed"]
        platform.trades(h.trade(1))
        assert (await h.hear(socket))["trade_id"] == 1
        monkeypatch.undo()
        *told, complete = await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert [(one["channel"], one["trade_id"]) for one in told] == [(OTHERS, second) for second in seconds]
        assert complete["channels"] == [OTHERS]


async def test_channel_that_leaves_while_it_goes_live_says_nothing_more(platform, monkeypatch):
    may_go_on, is_waiting = asyncio.Event(), asyncio.Event()

    async def has_read(member):
        is_waiting.set()
        await may_go_on.wait()

    monkeypatch.setattr(joining, "has_read", has_read)
    since = time.time()
    platform.trades(*(h.trade(number) for number in range(1_000)), stored=False)
    async with h.streaming(platform, f"?from={since}&speed=1e6") as socket:
        await h.say(socket, action="subscribe", channels=[TRADES, OTHERS])
        await is_waiting.wait()
        await h.say(socket, action="unsubscribe", channels=[TRADES])
        await h.hear_until(socket, lambda told: told["type"] == "unsubscribed")
        may_go_on.set()
        platform.trades(h.trade(1_000))
        platform.trades(h.trade(1, exchange="okx"))
        assert (await h.hear(socket))["channel"] == OTHERS
        assert await h.silence(socket)


async def test_longer_bars_that_leave_while_history_is_asked_for_them_say_nothing_more(platform, monkeypatch):
    may_go_on, is_waiting = asyncio.Event(), asyncio.Event()
    fetch = RolledBars.fetch

    async def waiting(bars, missed):
        found = await fetch(bars, missed)
        is_waiting.set()
        await may_go_on.wait()
        return found

    monkeypatch.setattr(RolledBars, "fetch", waiting)
    start = int(time.time()) // 300 * 300 - 300
    async with h.streaming(platform) as witness:
        await h.say(witness, action="subscribe", channels=[FIVE])
        since = (await h.hear(witness))["offset"]
        for minute in range(start, start + 300, 60):
            platform.trades(h.trade(minute, time=minute * NANOSECONDS))
            platform.close_minute(minute)
        may_go_on.set()
        await h.hear_until(witness, lambda told: told.get("type") == "bar_close")
        may_go_on.clear()
        is_waiting.clear()
        async with h.streaming(platform) as socket:
            await h.say(socket, action="subscribe", channels=[{"channel": FIVE, "since": since, "epoch": "e1"}])
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
