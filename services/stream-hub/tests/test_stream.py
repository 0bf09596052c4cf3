"""/ws/v1/stream: channels, recovery by epoch and offset, the consolidated tape, orders."""

from __future__ import annotations

import random
import time
from importlib import import_module
from types import SimpleNamespace
from unittest import mock

import msgspec
import pytest

from crosstape.common.bus.follower import Arrivals
from crosstape.common.identity.principal import Scope
from crosstape.common.market.bar import NANOSECONDS, Interval
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.order import OrderEvent, OrderEventKind
from crosstape.common.market.trade import Source, TakerSide, batch_trades
from crosstape.common.testing.builders import UNSOUND, make_trade
from crosstape.stream_hub import rolled
from crosstape.stream_hub.positions import ITEM_BITS

h = import_module("services.stream-hub.tests.harness")

pytestmark = pytest.mark.integration

TRADES = "trades:binance:BTC-USDT"
connecting = h.streaming


async def test_every_message_carries_channel_and_offset(platform):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=["trades:binance:btcusdt", "bars:binance:BTC-USDT:1m"])
        answers = [await h.hear(socket), await h.hear(socket)]
        assert [answer["channel"] for answer in answers] == [TRADES, "bars:binance:BTC-USDT:1m"]
        assert answers[0]["asked"] == "trades:binance:btcusdt"
        assert answers[0]["epoch"] == "e1"
        minute = h.minute_of(time.time_ns()) - 60
        platform.trades(h.trade(1, time=minute * NANOSECONDS, quantity="0.10"))
        told = await h.hear_text(socket)
        assert (told["type"], told["channel"], told["trade_id"], told["quantity"]) == ("trade", TRADES, "1", "0.1")
        platform.close_minute(minute)
        bar = await h.hear(socket)
        assert (bar["type"], bar["channel"]) == ("bar_close", "bars:binance:BTC-USDT:1m")
        assert all(isinstance(message["offset"], int) for message in (bar,))


async def test_client_that_comes_back_gets_exactly_what_it_missed(platform):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[TRADES])
        epoch = (await h.hear(socket))["epoch"]
        platform.trades(h.trade(1), h.trade(2))
        since = (await h.hear_until(socket, lambda told: told["trade_id"] == 2))[-1]["offset"]
    platform.trades(h.trade(3), h.trade(2), h.trade(4))
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": since, "epoch": epoch}])
        answer = await h.hear(socket)
        assert (answer["recovered"], answer["offset"]) == (True, since)
        platform.trades(h.trade(5))
        told = await h.hear_until(socket, lambda told: told["trade_id"] == 5)
        assert [one["trade_id"] for one in told] == [3, 4, 5]


@pytest.mark.parametrize("since", [-5, 3.5, "x", None, 0])
async def test_offset_that_cannot_be_recovered_is_said(platform, since):
    platform.log.append("trades", None)
    platform.log.forget("trades", 1)
    await platform.restart()
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": since, "epoch": "e1"}])
        answer = await h.hear(socket)
        assert answer.get("recovered") is (None if since is None else False)
        platform.trades(h.trade(1))
        assert (await h.hear(socket))["trade_id"] == 1


@pytest.mark.parametrize("channel", [TRADES, "bars:binance:BTC-USDT:5m"])
async def test_true_is_no_offset(platform, channel):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": channel, "since": True, "epoch": "e1"}])
        answer = await h.hear(socket)
        assert (answer["recovered"], answer["offset"] is True) == (False, False)


@pytest.mark.parametrize("since", ["okx:" + "9" * 5_000, "okx", "okx:x", ":1", ""])
async def test_offset_that_is_none_of_the_consolidated_tape_is_answered(platform, since):
    async with connecting(platform) as socket:
        await h.say(
            socket, action="subscribe", channels=[{"channel": "trades:*:BTC-USDT", "since": since, "epoch": "e1"}]
        )
        assert (await h.hear(socket))["error_code"] == "VALIDATION_ERROR"


async def test_offset_of_another_log_is_not_recovered(platform):
    platform.trades(h.trade(1))
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": 0, "epoch": "e0"}])
        assert (await h.hear(socket))["recovered"] is False
        assert await h.silence(socket)


async def test_replica_behind_the_client_sends_nothing_twice(platform):
    platform.trades(h.trade(1))
    ahead = 3 << 16
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": ahead, "epoch": "e1"}])
        assert (await h.hear(socket))["recovered"] is True
        for number in range(2, 6):
            platform.trades(h.trade(number))
        told = await h.hear_until(socket, lambda told: told["trade_id"] == 5)
        assert [one["offset"] >> 16 for one in told] == [4]


async def test_client_killed_at_random_misses_nothing_and_gets_nothing_twice(platform):
    """200 times, over restarts of the hub, with repeats on the bus and messages many to a record."""
    chance = random.Random(7)
    number, heard, since, epoch, restarts = 0, [], None, "", 0
    published: list[int] = []

    def publish():
        nonlocal number
        fresh = [number + place for place in range(chance.randint(1, 6))]
        number += len(fresh)
        published.extend(fresh)
        again = chance.sample(published, min(len(published), chance.randint(0, 3)))
        mixed = fresh + again
        chance.shuffle(mixed)
        platform.trades(*(h.trade(one) for one in mixed))

    for _ in range(200):
        async with connecting(platform) as socket:
            asked = {"channel": TRADES} | ({"since": since, "epoch": epoch} if since is not None else {})
            await h.say(socket, action="subscribe", channels=[asked])
            answer = await h.hear(socket)
            assert answer.get("recovered", True) is True
            since, epoch = answer["offset"], answer["epoch"]
            publish()
            for _ in range(chance.randint(0, 12)):
                if len(heard) == number:
                    break
                told = await h.hear(socket)
                heard.append(told["trade_id"])
                since = told["offset"]
            socket.transport.abort()
        for _ in range(chance.randint(0, 2)):
            publish()
        if chance.random() < 0.05:
            restarts += 1
            await platform.restart()
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": since, "epoch": epoch}])
        assert (await h.hear(socket))["recovered"] is True
        while len(heard) < number:
            heard.append((await h.hear(socket))["trade_id"])
        assert await h.silence(socket)
    assert restarts > 3
    assert sorted(heard) == list(range(number))


async def test_large_recovery_does_not_count_as_reading_slowly(platform):
    await platform.stop()
    platform.most_backlog = 200_000
    await platform.start()
    platform.trades(h.trade(0))
    for start in range(1, 8_000, 400):
        platform.trades(*(h.trade(number) for number in range(start, start + 400)), stored=False)
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": 0, "epoch": "e1"}])
        told = await h.hear_until(socket, lambda told: told.get("trade_id") == 8_000, seconds=20)
        assert [one["trade_id"] for one in told[1:]] == list(range(1, 8_001))


async def test_recovering_many_channels_at_once_does_not_count_as_reading_slowly(platform, monkeypatch):
    names = [f"C{number}" for number in range(30)]
    monkeypatch.setitem(h.LISTS, "binance", [Instrument("binance", f"{name}USDT", name, "USDT") for name in names])
    await platform.stop()
    platform.most_backlog = 200_000
    await platform.start()
    for name in names:
        platform.trades(*(h.trade(number, symbol=f"{name}-USDT") for number in range(400)), stored=False)
    async with connecting(platform) as socket:
        asked = [{"channel": f"trades:binance:{name}-USDT", "since": 0, "epoch": "e1"} for name in names]
        await h.say(socket, action="subscribe", channels=asked)
        told = await h.hear_until(
            socket,
            lambda told: (told["channel"], told.get("trade_id")) == ("trades:binance:C29-USDT", 399),
            seconds=20,
        )
        assert len(told) == 30 * 401 - 1  # the first trade of all stands at 0 itself
        await h.say(socket, action="ping")
        assert await h.hear(socket) == {"type": "pong"}


async def test_bars_are_recovered_and_longer_ones_too(platform):
    start = (time.time_ns() // NANOSECONDS // 300 - 1) * 300
    channels = ["bars:binance:BTC-USDT:1m", "bars:binance:BTC-USDT:5m"]
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=channels)
        offsets = {answer["channel"]: answer["offset"] for answer in (await h.hear(socket), await h.hear(socket))}
    for number in range(5):
        platform.trades(h.trade(number, time=(start + 60 * number) * NANOSECONDS))
        platform.close_minute(start + 60 * number)
    await platform.restart()
    async with connecting(platform) as socket:
        asked = [{"channel": one, "since": offsets[one], "epoch": "e1"} for one in channels]
        await h.say(socket, action="subscribe", channels=asked)
        told = await h.hear_until(socket, lambda told: told.get("interval") == "5m")
        minutes = [one["bar"]["timestamp"] for one in told if one.get("interval") == "1m"]
        assert minutes == [start + 60 * number for number in range(5)]
        assert (told[-1]["type"], told[-1]["bar"]["trades"]) == ("bar_close", 5)
        assert await h.silence(socket)


async def test_a_long_bar_that_is_told_seldom_is_recovered_although_the_minutes_have_left_the_ring(
    platform, monkeypatch
):
    start = (time.time_ns() // NANOSECONDS // 3_600 - 3) * 3_600
    channel = "bars:binance:BTC-USDT:1h"
    clock = SimpleNamespace(time=lambda: start)
    monkeypatch.setattr(rolled, "time", clock)

    async def close(minute):
        clock.time = lambda: start + 60 * minute + 62
        platform.trades(h.trade(minute, time=(start + 60 * minute) * NANOSECONDS))
        platform.history.closed_until = start + 60 * (minute + 1)
        bars = platform.history.all_bars("binance", "BTC-USDT", Interval.M1)
        platform.publish("bars", bars[-1:], age=time.time() - clock.time())
        market = platform.hub.market("binance", "BTC-USDT")
        await h.until(lambda: market.long_bars(Interval.H1)._seen == market.bars.newest)

    async with connecting(platform) as witness, connecting(platform) as socket:
        for one in (witness, socket):
            await h.say(one, action="subscribe", channels=[channel])
            await h.hear(one)
        for minute in range(60):
            await close(minute)
        since = (await h.hear(socket))["offset"]
        await h.hear(witness)
        await socket.close()
        for minute in range(60, 120):
            await close(minute)
        assert (await h.hear(witness))["bar"]["timestamp"] == start + 3_600
        for wanted in ([start + 3_600], []):
            async with connecting(platform) as back:
                await h.say(back, action="subscribe", channels=[{"channel": channel, "since": since, "epoch": "e1"}])
                assert (await h.hear(back))["recovered"] is True
                told = [await h.hear(back) for _ in wanted]
                assert [one["bar"]["timestamp"] for one in told] == wanted
                await h.say(back, action="ping")
                assert (await h.hear(back))["type"] == "pong"
                since = told[-1]["offset"] if told else since


async def test_a_long_bar_whose_only_minute_is_written_after_its_end_is_told_without_another_minute(
    platform, monkeypatch
):
    start = (time.time_ns() // NANOSECONDS // 3_600 - 3) * 3_600
    written, began = start + 3_610, time.monotonic()
    clock = SimpleNamespace(time=lambda: written + 600 * (time.monotonic() - began))  # a minute passes in 0.1 s
    monkeypatch.setattr(rolled, "time", clock)
    monkeypatch.setattr(rolled, "SETTLED_SECONDS", rolled.SETTLED_SECONDS / 600)
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=["bars:binance:BTC-USDT:1h"])
        await h.hear(socket)
        platform.history.store([h.trade(1, time=(start + 58 * 60) * NANOSECONDS)])
        platform.history.closed_until = start + 3_600
        (minute,) = platform.history.all_bars("binance", "BTC-USDT", Interval.M1)
        platform.publish("bars", [minute], age=time.time() - clock.time())
        told = await h.hear(socket)
        assert (told["type"], told["bar"]["timestamp"]) == ("bar_close", start)


async def test_consolidated_tape_is_ordered_by_event_time_with_cvd_of_each_and_all(platform):
    for exchange in ("binance", "okx"):
        await platform.founder.ensure(platform.hub.market(exchange, "BTC-USDT"))
    now = time.time_ns()
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=["trades:*:BTC-USDT"])
        answer = await h.hear(socket)
        assert answer["channel"] == "trades:*:BTC-USDT"
        platform.trades(h.trade(1, time=now + 3, quantity="0.5"))
        platform.trades(h.trade(1, exchange="okx", time=now + 1, side=TakerSide.SELL))
        platform.trades(h.trade(2, exchange="okx", time=now + 2))
        told = await h.hear_until(socket, lambda told: told["exchange"] == "binance")
        assert [(one["exchange"], one["trade_id"], one["late"]) for one in told] == [
            ("okx", 1, False),
            ("okx", 2, False),
            ("binance", 1, False),
        ]
        assert told[-1]["cvd"] == {"binance": 0.5, "okx": 0}
        assert told[-1]["cvd_total"] == 0.5


async def test_consolidated_tape_is_recovered_exchange_by_exchange(platform):
    now = time.time_ns()
    channel = "trades:*:BTC-USD"
    exchanges = {"binance": "BTC-USDT", "kraken": "BTC-USD", "okx": "BTC-USDT", "coinbasepro": "BTC-USD"}
    chance = random.Random(3)
    heard, since, number = [], None, 0
    for _ in range(20):
        async with connecting(platform) as socket:
            asked = {"channel": channel} | ({"since": since, "epoch": "e1"} if since else {})
            await h.say(socket, action="subscribe", channels=[asked])
            answer = await h.hear(socket)
            assert answer.get("recovered", True) is True
            since = answer["offset"]
            for _ in range(chance.randint(1, 5)):
                exchange = chance.choice(list(exchanges))
                number += 1
                platform.trades(
                    h.trade(number, exchange=exchange, symbol=exchanges[exchange], time=now + chance.randint(0, 50))
                )
            for _ in range(chance.randint(0, 3)):
                if len(heard) < number:
                    told = await h.hear(socket)
                    heard.append(told["trade_id"])
                    since = told["offset"]
        if chance.random() < 0.2:
            await platform.restart()
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": channel, "since": since, "epoch": "e1"}])
        while len(heard) < number:
            told = await h.hear(socket)
            if told["type"] == "trade":
                heard.append(told["trade_id"])
    assert sorted(heard) == list(range(1, number + 1))


async def test_own_orders_and_no_others(platform):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=["orders"])
        await h.hear(socket)
        for user in ("bob", "alice"):
            event = OrderEvent(
                f"id-{user}", user, "twap_1", 0, OrderEventKind.FILL, time.time_ns(), "kraken", "BTC-USD", "buy", "9.50"
            )
            platform.publish("orders", event)
            platform.publish("orders", event)
        told = await h.hear_text(socket)
        assert (told["type"], told["event"], told["username"], told["price"]) == ("order", "fill", "alice", "9.5")
        assert await h.silence(socket)


async def test_orders_that_were_let_go_are_not_said_to_be_recovered(platform):
    def publish(number):
        kind, now = OrderEventKind.FILL, time.time_ns()
        platform.publish(
            "orders", OrderEvent("id-alice", "alice", "twap_1", number, kind, now, "kraken", "BTC-USD", "buy", "1")
        )

    async def recovered(since):
        async with connecting(platform) as socket:
            await h.say(socket, action="subscribe", channels=[{"channel": "orders", "since": since, "epoch": "e1"}])
            return (await h.hear(socket))["recovered"]

    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=["orders"])
        await h.hear(socket)
        publish(0)
        first = (await h.hear(socket))["offset"]
    publish(1)
    await h.until(lambda: not platform.door._connections)
    platform.prune(time.time() + 10_000)
    assert await recovered(first) is False
    assert await recovered(first + (1 << ITEM_BITS)) is True


async def test_what_nobody_foresaw_in_one_clients_replay_ends_that_client_alone(platform):
    async with connecting(platform) as other:
        with mock.patch.object(platform.history, "trades", None):
            async with connecting(platform) as socket:
                await h.say(socket, action="subscribe", channels=[TRADES], **{"from": str(int(time.time()) - 60)})
                assert (await h.closed(socket))[0] == 1011
        await h.say(other, action="ping")
        assert await h.hear(other) == {"type": "pong"}


async def test_orders_need_their_scope_and_the_socket_stays_open(platform):
    async with connecting(platform, scopes={Scope.MARKET_READ}) as socket:
        await h.say(socket, action="subscribe", channels=["orders", TRADES])
        refused, answer = await h.hear(socket), await h.hear(socket)
        assert (refused["error_code"], refused["channel"], answer["channel"]) == ("FORBIDDEN", "orders", TRADES)


async def test_orders_are_not_sent_while_it_cannot_be_told_who_was_shut_out(platform):
    platform.knows_revoked = False
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=["orders", TRADES])
        refused, joined = await h.hear(socket), await h.hear(socket)
        assert (refused["error_code"], joined["type"]) == ("SERVICE_UNAVAILABLE", "subscribed")
        platform.knows_revoked = True
        await h.say(socket, action="subscribe", channels=["orders"])
        assert (await h.hear(socket))["type"] == "subscribed"


async def test_books_on_the_stream(platform):
    platform.book(h.snapshot("kraken", "BTC-USD", [("1", "1")], [("2", "1")], None))
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": "book:*:BTC-USD", "depth": 5}])
        assert (await h.hear(socket))["channel"] == "book:*:BTC-USD"
        book = await h.hear(socket)
        assert (book["channel"], book["exchange"], book["bids"]) == ("book:*:BTC-USD", "*", [[1, 1, "kraken"]])
        assert isinstance(book["offset"], int)


async def test_log_that_began_anew_restarts_the_streams_and_repeats_no_trade(platform):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[TRADES])
        await h.hear(socket)
        platform.trades(h.trade(1), h.trade(2))
        since = (await h.hear_until(socket, lambda told: told["trade_id"] == 2))[-1]["offset"]
        platform.epoch, platform.log = "e2", h.Log()
        platform.trades(h.trade(2), h.trade(3))
        assert (await h.closed(socket))[0] == 1012
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": since, "epoch": "e1"}])
        answer = await h.hear(socket)
        assert (answer["epoch"], answer["recovered"]) == ("e2", False)
        await h.say(socket, action="unsubscribe", channels=[TRADES])
        await h.hear(socket)
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": 0, "epoch": "e2"}])
        assert (await h.hear(socket))["recovered"] is True
        assert (await h.hear(socket))["trade_id"] == 3


async def test_trades_that_no_tape_can_hold_are_left_out_and_the_others_count(platform):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[TRADES])
        await h.hear(socket)
        platform.trades(h.trade(1, price="1e5"), h.trade(2, time=5), h.trade(3), stored=False)
        for number, (_, fields) in enumerate(UNSOUND):
            wrong = make_trade(**{"trade_id": 100 + number, "time": time.time_ns()} | fields)
            platform.publish("trades", batch_trades([wrong], Source.STREAM))
        platform.trades(h.trade(4))
        assert [(await h.hear(socket))["trade_id"] for _ in range(2)] == [3, 4]


async def test_trades_have_the_same_positions_whenever_their_record_is_read(platform):
    """The first one's time is too far ahead of its record, and no longer when somebody reads the record a day later."""
    written = time.time() - 2 * 86_400
    trades = [h.trade(number, time=int(written + ahead) * NANOSECONDS) for number, ahead in ((1, 90_000), (2, 0))]
    platform.publish("trades", batch_trades(trades, Source.STREAM), age=2 * 86_400)
    ticks = platform.hub.market("binance", "BTC-USDT").ticks
    assert [(place % (1 << ITEM_BITS), tick.trade.trade_id) for place, tick in ticks] == [(0, 2)]


async def test_after_a_loss_of_records_streams_restart_and_nothing_before_it_is_recovered(platform):
    platform.trades(h.trade(1))
    async with connecting(platform) as socket, platform.client("/ws") as books:
        await h.say(socket, action="subscribe", channels=[TRADES])
        since = (await h.hear(socket))["offset"]
        platform.hub.take(Arrivals("e1", [], 0, True, gaps=frozenset({"trades"})))
        assert (await h.closed(socket))[0] == 1012
        await h.say(books, action="ping")
        assert await h.hear(books) == {"type": "pong"}
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": since, "epoch": "e1"}])
        assert (await h.hear(socket))["recovered"] is False


@pytest.mark.parametrize("epoch", ["e1", "e2"])
@pytest.mark.parametrize("was_known", [True, False])
async def test_who_was_among_lost_records_is_not_said_to_have_all_that_follows(platform, was_known, epoch):
    """Such a client comes from a replica that is ahead of this one, be it in a log that has just begun."""
    if was_known:
        platform.trades(h.trade(1))
    among = 5 << ITEM_BITS
    platform.log.first["trades"] = 10
    platform.hub.take(Arrivals(epoch, [], 0, True, gaps=frozenset({"trades"})))
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=[{"channel": TRADES, "since": among, "epoch": epoch}])
        assert (await h.hear(socket))["recovered"] is False
        ahead = {"channel": "trades:okx:BTC-USDT", "since": 12 << ITEM_BITS, "epoch": epoch}
        await h.say(socket, action="subscribe", channels=[ahead])
        assert (await h.hear(socket))["recovered"] is True


@pytest.mark.parametrize(
    "channels",
    [
        "x",
        [],
        [5],
        ["trades"],
        ["trades:binance"],
        ["bars:binance:BTC-USDT"],
        ["bars:binance:BTC-USDT:7m"],
        ["ticks:a:b"],
        [f"trades:binance:N{number}" for number in range(129)],
    ],
)
async def test_malformed_channels_are_answered(platform, channels):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=channels)
        assert (await h.hear(socket))["error_code"] == "VALIDATION_ERROR"


async def test_bars_over_all_exchanges_are_refused(platform):
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=["bars:*:BTC-USD:1m"])
        assert (await h.hear(socket))["error_code"] == "VALIDATION_ERROR"


async def test_an_error_about_a_channel_says_which_action_it_answers(platform):
    async with connecting(platform) as socket:
        for action, channel in (("subscribe", "ticks:a:b"), ("unsubscribe", TRADES)):
            await h.say(socket, action=action, channels=[channel])
            error = await h.hear(socket)
            assert (error["error_code"], error["action"], error["channel"]) == ("VALIDATION_ERROR", action, channel)


async def test_a_socket_has_so_many_channels_and_no_more(platform, monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.stream_session.MOST_CHANNELS", 2)
    async with connecting(platform) as socket:
        channels = [TRADES, "bars:binance:BTC-USDT:1m", "bars:binance:BTC-USDT:5m"]
        for channel in channels:
            await h.say(socket, action="subscribe", channels=[channel])
        answers = [await h.hear(socket) for _ in channels]
        assert [answer["type"] for answer in answers] == ["subscribed", "subscribed", "error"]
        assert answers[2]["error_code"] == "CONFLICT"


async def test_the_books_of_a_socket_have_so_many_levels_a_second_and_no_more(platform, monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.book_terms.MOST_LEVELS", 80_000)
    channels = [{"channel": f"book:{exchange}:BTC-USD", "depth": 1000, "interval_ms": 50} for exchange in ("*", "okx")]
    async with connecting(platform) as socket:
        await h.say(socket, action="subscribe", channels=channels)
        *_, refused = await h.hear_until(socket, lambda told: told["type"] == "error")
        assert (refused["error_code"], refused["channel"]) == ("CONFLICT", "book:okx:BTC-USD")
        await h.say(socket, action="unsubscribe", channels=["book:*:BTC-USD"])
        await h.say(socket, action="subscribe", channels=channels[1:])
        await h.hear_until(socket, lambda told: told["type"] == "subscribed" and told["channel"] == "book:okx:BTC-USDT")


async def test_messagepack_both_ways_with_exact_decimals(platform):
    async with connecting(platform, "?format=msgpack") as socket:
        await socket.send(msgspec.msgpack.encode({"action": "subscribe", "channels": [TRADES]}))
        assert msgspec.msgpack.decode(await socket.recv())["type"] == "subscribed"
        platform.trades(h.trade(1, price="0.000000010", time=1_700_000_000_123_456_000))
        told = msgspec.msgpack.decode(await socket.recv())
        assert (told["price"], told["timestamp"]) == ("0.00000001", 1_700_000_000.123456)


async def test_numbers_as_strings(platform):
    async with connecting(platform, "?numbers=string") as socket:
        await h.say(socket, action="subscribe", channels=[TRADES])
        await h.hear(socket)
        platform.trades(h.trade(1, price="060.10"))
        assert (await h.hear(socket))["price"] == "60.1"


async def test_deflate_where_the_client_asks_and_it_pays(platform):
    levels = [(f"{price}.5", "1.25") for price in range(1, 500)]
    platform.book(h.snapshot("kraken", "BTC-USD", levels, [], None))
    token = platform.authenticator.add("alice")
    async with platform.client(f"/ws?token={token}", compression="deflate") as socket:
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        await h.say(socket, action="subscribe", exchange="kraken", symbol="BTC-USD", depth=1000, padding="x" * 2000)
        await h.hear(socket)
        book = await h.hear(socket)
        assert len(book["bids"]) == 499
