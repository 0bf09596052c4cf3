"""Replays of /ws/v1/stream: what is sent of history, and how it goes over into what is live."""

from __future__ import annotations

import asyncio
import gc
import time
from decimal import Decimal
from importlib import import_module

import msgspec
import pytest

from crosstape.common.errors import InvalidTimeFormat, ValidationFailed
from crosstape.common.market.bar import NANOSECONDS, BarStatus
from crosstape.stream_hub import subscriptions
from crosstape.stream_hub.anchors import read_anchor
from crosstape.stream_hub.protocol import CloseCode, closing
from crosstape.stream_hub.replay_sources import BarSource, TradeSource
from crosstape.stream_hub.span import read_span

h = import_module("services.stream-hub.tests.harness")
r = import_module("services.stream-hub.tests.replays")

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["from", "to", "anchor"])
def test_a_time_that_is_none_is_answered_as_rest_answers_it(name):
    def read():
        return read_anchor("soon", 0) if name == "anchor" else read_span({"from": "1", name: "soon"}, 2)

    with pytest.raises(InvalidTimeFormat) as refused:
        read()
    assert refused.value.details == {"parameter": name}
    assert closing(refused.value).code == CloseCode.INVALID


@pytest.mark.parametrize("lone", [{"to": "2025-07-01T00:00:00Z"}, {"speed": 10}])
def test_a_replay_without_a_beginning_is_refused_and_not_taken_for_what_is_live(lone):
    with pytest.raises(ValidationFailed, match="needs from"):
        read_span(lone, time.time_ns())


async def test_replay_sends_history_then_says_so_then_goes_live_without_a_gap(platform):
    begin = h.minute_of(time.time_ns()) - 600
    trades = [h.trade(n, time=(begin + n) * NANOSECONDS) for n in range(580)]
    platform.history.store(trades[:570])
    platform.history.closed_until = begin + 540
    platform.trades(*trades[560:], stored=False)
    async with h.streaming(platform, f"?from={begin}&speed=1000000") as socket:
        await h.say(socket, action="subscribe", channels=[r.TRADES, "bars:binance:BTC-USDT:1m"])
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
            socket, action="subscribe", channels=[r.TRADES], **{"from": str(begin), "to": str(begin + 5), "speed": 10}
        )
        told = await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        assert [one["trade_id"] for one in told[:-1]] == [0, 1, 2, 3, 4]
        assert time.monotonic() - started > 0.4


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
    def kept():
        gc.collect()
        return [one for one in gc.get_objects() if isinstance(one, TradeSource | BarSource)]

    async with h.streaming(platform, f"?from={time.time() - 1}&speed=1e6") as socket:
        await h.say(socket, action="subscribe", channels=[r.TRADES, r.TAPE, "bars:binance:BTC-USDT:1m", r.FIVE])
        await h.hear_until(socket, lambda told: told["type"] == "replay_complete")
        await h.until(lambda: not kept())


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
        await h.say(witness, action="subscribe", channels=[r.FIVE])
        await h.hear(witness)
        monkeypatch.setattr(platform.history, "bar_pages", closing_meanwhile)
        await h.say(socket, action="subscribe", channels=[r.FIVE])
        replayed, complete, live = [await h.hear(socket) for _ in range(3)]
        assert (replayed["bar"]["timestamp"], replayed["offset"]) == (start, None)
        assert complete["type"] == "replay_complete"
        assert (live["bar"]["timestamp"], isinstance(live["offset"], int)) == (start + 300, True)
        assert await h.silence(socket)


async def test_longer_bar_that_is_told_while_a_client_comes_back_is_sent_once(platform, monkeypatch):
    start = (time.time_ns() // NANOSECONDS // 300 - 2) * 300
    async with h.streaming(platform) as witness, h.streaming(platform) as socket:
        await h.say(witness, action="subscribe", channels=[r.FIVE])
        since = (await h.hear(witness))["offset"]
        r.close_bar(platform, start)
        await h.hear(witness)
        bars, was_told, asked = platform.history.bars, asyncio.Event(), []

        async def answering_late(*question):
            answer = await bars(*question)
            asked.append(question)
            if len(asked) == 1:
                await was_told.wait()
            return answer

        monkeypatch.setattr(platform.history, "bars", answering_late)
        await h.say(socket, action="subscribe", channels=[{"channel": r.FIVE, "since": since, "epoch": "e1"}])
        await h.until(lambda: asked)
        r.close_bar(platform, start + 300)
        assert (await h.hear(witness))["bar"]["timestamp"] == start + 300
        was_told.set()
        told = [await h.hear(socket) for _ in range(3)]
        assert [one["bar"]["timestamp"] for one in told[1:]] == [start, start + 300]
        assert await h.silence(socket)


async def test_a_longer_bar_that_history_calls_open_for_a_moment_is_told_before_the_next(platform, monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.rolled.RETRY_SECONDS", 0.01)
    monkeypatch.setattr(subscriptions, "RETRY_SECONDS", 0.01)
    start = (time.time_ns() // NANOSECONDS // 300 - 2) * 300
    bars, is_open = platform.history.bars, True

    async def storing_more(*asked):
        nonlocal is_open
        answer = await bars(*asked)
        if is_open and answer:
            is_open = False
            answer[0] = msgspec.structs.replace(answer[0], status=BarStatus.PROVISIONAL)
        return answer

    async with h.streaming(platform) as witness, h.streaming(platform) as socket:
        await h.say(witness, action="subscribe", channels=[r.FIVE])
        since = (await h.hear(witness))["offset"]
        platform.history.is_away = True
        for one in (start, start + 300):
            r.close_bar(platform, one)
        monkeypatch.setattr(platform.history, "bars", storing_more)
        platform.history.is_away = False
        told = [await h.hear(witness) for _ in range(2)]
        assert [(one["type"], one["bar"]["timestamp"]) for one in told] == [
            ("bar_close", start),
            ("bar_close", start + 300),
        ]
        is_open = True
        await h.say(socket, action="subscribe", channels=[{"channel": r.FIVE, "since": since, "epoch": "e1"}])
        assert (await h.hear(socket))["recovered"] is True
        assert [await h.hear(socket) for _ in range(2)] == told


@pytest.mark.parametrize("is_replayed", [False, True])
async def test_nothing_else_waits_for_a_longer_bar_that_history_calls_open(platform, monkeypatch, is_replayed):
    """Where nobody trades, history does not know for long whether it has all of a bar."""
    monkeypatch.setattr(subscriptions, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(subscriptions, "LONGEST_RETRY_SECONDS", 0.02)
    start = (time.time_ns() // NANOSECONDS // 300 - 2) * 300
    platform.history.stored_until = start
    r.close_bar(platform, start)
    channels = [{"channel": r.FIVE, "since": -1, "epoch": "e1"}, r.TRADES]
    async with h.streaming(platform, f"?from={start}&speed=1e6" if is_replayed else "") as socket:
        await h.say(socket, action="subscribe", channels=channels)
        last = "replay_complete" if is_replayed else "subscribed"
        await h.hear_until(socket, lambda told: told["type"] == last and told.get("channel") != r.FIVE)
        platform.trades(h.trade(7))
        assert (await h.hear(socket))["trade_id"] == 7
        platform.history.is_away = True
        asked = platform.history.asked
        await h.until(lambda: platform.history.asked > asked + 1)
        platform.history.is_away = False
        platform.history.stored_until = 1 << 40
        told = await h.hear(socket)
        assert (told["type"], told["bar"]["timestamp"]) == ("bar_close", start)
        assert await h.silence(socket)


@pytest.mark.parametrize("channel", [r.TRADES, r.TAPE])
async def test_replay_that_ends_before_now_goes_live_without_what_lies_between(platform, channel):
    await many_trades(platform)
    async with h.streaming(platform) as socket:
        span = {"from": str(r.LONG_AGO), "to": str(r.LONG_AGO + 10), "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[channel], **span)
        assert (await h.hear(socket))["type"] == "replay_complete"
        platform.trades(h.trade(9_000))
        assert (await h.hear(socket))["trade_id"] == 9_000


async def test_replay_of_bars_that_ends_before_now_goes_live_without_what_lies_between(platform):
    r.close_bar(platform, (time.time_ns() // NANOSECONDS // 300 - 1) * 300)
    async with h.streaming(platform) as socket:
        span = {"from": str(r.LONG_AGO), "to": str(r.LONG_AGO + 10), "speed": 1e6}
        await h.say(socket, action="subscribe", channels=[r.FIVE, "bars:binance:BTC-USDT:1m"], **span)
        assert (await h.hear(socket))["type"] == "replay_complete"
        assert await h.silence(socket)


@pytest.mark.parametrize("channel", [r.TRADES, r.TAPE])
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
