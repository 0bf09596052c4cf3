"""/ws/v1/cvd: ticks, the running volume delta, and bars that REST answers already."""

from __future__ import annotations

import time
from decimal import Decimal
from importlib import import_module
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstape.common.market.bar import NANOSECONDS, Interval, fold_bars
from crosstape.common.market.trade import TakerSide
from crosstape.stream_hub import anchors, cvd_session, founding, rolled

h = import_module("services.stream-hub.tests.harness")

pytestmark = pytest.mark.integration

PATH = "/ws/v1/cvd/binance/btcusdt"
MINUTE = 60 * NANOSECONDS
TODAY = int(time.time()) // 86_400 * 86_400


def headers(platform, name="alice", **fields):
    return {"additional_headers": {"Authorization": f"Bearer {platform.authenticator.add(name, **fields)}"}}


def now_minute():
    return time.time_ns() // MINUTE * MINUTE


async def test_seed_messages_are_answered_to_the_letter(platform):
    platform.trades(h.trade(1, quantity="0.500"))
    async with platform.client(PATH, **headers(platform)) as socket:
        snapshot = await h.hear_text(socket)
        assert snapshot["type"] == "snapshot"
        assert (snapshot["exchange"], snapshot["symbol"], snapshot["canonical"]) == ("binance", "btcusdt", "BTC-USDT")
        assert snapshot["cvd"] == "0.5"
        platform.trades(
            h.trade(2, time=1_672_531_200_123_456_789, price="16542.30", quantity="0.25", side=TakerSide.SELL)
        )
        tick = await h.hear_text(socket)
        assert {name: tick[name] for name in tick if name not in ("cvd", "offset")} == {
            "type": "tick",
            "exchange": "binance",
            "symbol": "BTC-USDT",
            "trade_id": "2",
            "timestamp": "1672531200.123456",
            "price": "16542.3",
            "quantity": "0.25",
            "side": "sell",
            "volume_delta": "-0.25",
        }


async def test_untold_side_counts_in_volume_only(platform):
    async with platform.client(PATH, **headers(platform)) as socket:
        await h.hear(socket)
        platform.trades(h.trade(1, side=TakerSide.UNKNOWN))
        tick = await h.hear(socket)
        assert (tick["side"], tick["volume_delta"], tick["cvd"]) == ("unknown", 0, 0)


async def test_redelivered_trades_count_once(platform):
    async with platform.client(PATH, **headers(platform)) as socket:
        await h.hear(socket)
        for _ in range(3):
            platform.trades(h.trade(1), h.trade(2))
        platform.trades(h.trade(3))
        heard = await h.hear_until(socket, lambda tick: tick["trade_id"] == 3)
        assert [(tick["trade_id"], tick["cvd"]) for tick in heard] == [(1, 1), (2, 2), (3, 3)]


async def test_a_trade_that_history_knew_before_the_hub_is_told_and_counts_once(platform):
    platform.has_every_trade.clear()
    platform.history.store([h.trade(1), h.trade(2), h.trade(3)])
    platform.trades(h.trade(2), stored=False)
    await h.until(lambda: platform.history.asked)
    platform.trades(h.trade(3), stored=False)
    platform.has_every_trade.set()
    await h.until(lambda: not platform.founder.missing)
    told = [tick for _, tick in platform.hub.market("binance", "BTC-USDT").ticks]
    assert [(tick.trade.trade_id, tick.cvd) for tick in told] == [(2, 2), (3, 3)]
    async with platform.client(PATH, **headers(platform)) as socket:
        assert (await h.hear(socket))["cvd"] == 3


async def test_bar_close_and_late_trade_are_what_rest_answers(platform):
    minute = now_minute() - MINUTE
    second = minute // NANOSECONDS
    async with platform.client(PATH, **headers(platform)) as socket:
        await h.hear(socket)
        platform.trades(h.trade(1, time=minute, price="10.50"), h.trade(2, time=minute + 5, side=TakerSide.SELL))
        platform.close_minute(second)
        *_, close = await h.hear_until(socket, lambda message: message["type"] == "bar_close")
        (rest,) = await platform.history.bars("binance", "BTC-USDT", Interval.M1, second, second + 60)
        assert close["bar"] == {
            "timestamp": second,
            "open": 10.5,
            "high": 60000,
            "low": 10.5,
            "close": 60000,
            "volume": 2,
            "volume_delta": 0,
            "trades": 2,
            "status": "final",
            "revision": 0,
            "volume_unknown": 0,
        }
        assert Decimal(rest.volume) == close["bar"]["volume"]
        platform.trades(h.trade(3, time=minute + 9, quantity="0.1"))
        tick = await h.hear_text(socket)
        assert (tick["type"], tick["cvd"]) == ("tick", "0.1")
        platform.close_minute(second)
        revision = await h.hear_text(socket)
        assert (revision["type"], revision["revision"], revision["bar"]["volume_delta"]) == ("bar_revision", "1", "0.1")
        assert revision["bar"]["status"] == "revised"
        platform.publish("bars", platform.log.records["bars"][-1].value)
        platform.trades(h.trade(4))
        assert (await h.hear(socket))["type"] == "tick"


async def test_longer_bars_are_told_as_history_rolls_them_up(platform):
    start = (time.time_ns() // NANOSECONDS // 300 - 1) * 300
    async with platform.client(f"{PATH}?interval=5m", **headers(platform)) as socket:
        await h.hear(socket)
        for number in range(5):
            platform.trades(h.trade(number, time=(start + 60 * number) * NANOSECONDS, price=str(100 + number)))
            platform.close_minute(start + 60 * number)
        *ticks, close = await h.hear_until(socket, lambda message: message["type"] == "bar_close")
        assert len(ticks) == 5
        assert (close["bar"]["timestamp"], close["bar"]["trades"], close["bar"]["close"]) == (start, 5, 104)
        platform.trades(h.trade(9, time=(start + 1) * NANOSECONDS))
        platform.close_minute(start)
        *_, revision = await h.hear_until(socket, lambda message: message["type"] == "bar_revision")
        assert (revision["bar"]["trades"], revision["revision"]) == (6, 1)


async def test_a_longer_bar_that_is_not_all_stored_yet_is_told_once_it_is(platform, monkeypatch):
    monkeypatch.setattr(rolled, "RETRY_SECONDS", 0.01)
    start = (time.time_ns() // NANOSECONDS // 300 - 1) * 300
    platform.history.stored_until = start + 240
    async with platform.client(f"{PATH}?interval=5m", **headers(platform)) as socket:
        await h.hear(socket)
        platform.trades(h.trade(1, time=(start + 240) * NANOSECONDS))
        platform.close_minute(start + 240)
        asked = platform.history.asked
        await h.until(lambda: platform.history.asked > asked + 1)
        platform.history.stored_until = start + 300
        *_, close = await h.hear_until(socket, lambda message: message["type"] == "bar_close")
        assert (close["bar"]["timestamp"], close["bar"]["status"]) == (start, "final")


async def test_anchors_sum_up_from_where_they_say(platform):
    minute = now_minute() - 3 * MINUTE
    for number in range(3):
        platform.trades(h.trade(number, time=minute + number * MINUTE, quantity="1.5"))
    async with (
        platform.client(f"{PATH}?anchor=connect", **headers(platform)) as since_connect,
        platform.client(f"{PATH}?anchor={(minute + MINUTE) // NANOSECONDS}", **headers(platform)) as since_time,
    ):
        assert (await h.hear(since_connect))["cvd"] == 0
        assert (await h.hear_text(since_time))["cvd"] == "3"
        platform.trades(h.trade(7, quantity="0.25"))
        assert (await h.hear_text(since_connect))["cvd"] == "0.25"
        assert (await h.hear_text(since_time))["cvd"] == "3.25"


@pytest.mark.parametrize(("second", "counting"), [(240, 21), (12 * 3_600, 31)], ids=["just after midnight", "at noon"])
async def test_new_replica_knows_the_day_from_history_and_the_rest_from_the_bus(
    platform, monkeypatch, second, counting
):
    now = set_clock(monkeypatch, second)
    minute = (now // 60 - 5) * MINUTE
    early = [h.trade(number, time=minute + number * MINUTE // 10, quantity="0.1") for number in range(30)]
    platform.history.store(early)
    platform.history.closed_until = (minute + 2 * MINUTE) // NANOSECONDS
    platform.trades(*early[15:25], stored=False)
    platform.trades(h.trade(30, time=minute + 3 * MINUTE, quantity="0.1"), stored=False)
    await platform.restart()
    async with platform.client(PATH, **headers(platform)) as socket:
        assert Decimal((await h.hear_text(socket))["cvd"]) == counting * Decimal("0.1")


@pytest.mark.parametrize("interval", [Interval.H4, Interval.H12, Interval.D1])
async def test_snapshots_bar_is_whole_when_the_hour_turns_while_the_socket_opens(platform, monkeypatch, interval):
    noon = set_clock(monkeypatch, 12 * 3_600)
    trades = [h.trade(number, time=(noon - 300 - number * 600) * NANOSECONDS, quantity="0.1") for number in range(24)]
    trades.append(h.trade(24, time=noon * NANOSECONDS, quantity="7"))
    platform.history.closed_until = noon
    platform.trades(*trades)
    await h.until(lambda: not platform.founder.missing)
    bars = platform.history.bars

    async def turning(*asked):
        set_clock(monkeypatch, 12 * 3_600)
        return await bars(*asked)

    monkeypatch.setattr(platform.history, "bars", turning)
    set_clock(monkeypatch, 12 * 3_600 - 1)
    async with platform.client(f"{PATH}?interval={interval.value}", **headers(platform)) as socket:
        shown = (await h.hear_text(socket))["bar"]
    (whole,) = fold_bars([one for one in trades if one.time >= interval.open_time(noon) * NANOSECONDS], interval)
    assert (int(shown["timestamp"]), int(shown["trades"])) == (whole.open_time, whole.trades)
    assert Decimal(shown["volume"]) == Decimal(whole.volume)


def set_clock(monkeypatch, second):
    """It is so many seconds after midnight for sums and their history; returns the time (Unix s)."""
    now = TODAY + second
    clock = SimpleNamespace(time=lambda: now, time_ns=lambda: now * NANOSECONDS)
    for module in (anchors, cvd_session, founding):
        monkeypatch.setattr(module, "time", clock)
    return now


@pytest.mark.parametrize(
    ("path", "code", "error"),
    [
        ("/ws/v1/cvd/binance/DOGEUSD", 4404, "SYMBOL_NOT_FOUND"),
        ("/ws/v1/cvd/mtgox/BTCUSD", 4404, "EXCHANGE_NOT_FOUND"),
        ("/ws/v1/cvd/*/BTC-USD", 4404, "EXCHANGE_NOT_FOUND"),
    ],
)
async def test_unknown_market_closes_with_4404_and_leaves_nothing_behind(platform, path, code, error):
    async with platform.client(path, **headers(platform)) as socket:
        found, (message,) = await h.closed(socket)
        assert (found, message["error_code"]) == (code, error)
    assert not platform.hub.markets()
    assert not platform.founder.missing


async def test_malformed_query_is_said_before_the_close(platform):
    async with platform.client(f"{PATH}?interval=7m", **headers(platform)) as socket:
        code, (message,) = await h.closed(socket)
        assert (code, message["error_code"]) == (1008, "VALIDATION_ERROR")


@given(data=st.data())
@settings(max_examples=25)
def test_adding_up_ticks_gives_rests_bars_whatever_comes_late_or_twice(data):
    """Join at any moment: snapshot and ticks together are exactly the bars that history stores in the end."""
    import asyncio

    asyncio.run(_adds_up(data))


async def _adds_up(data):
    minute = now_minute() - 2 * MINUTE
    places = data.draw(st.lists(st.integers(0, 119_000), min_size=1, max_size=25))
    trades = [
        h.trade(
            number,
            time=minute + place * 1_000_000,
            quantity=data.draw(st.sampled_from(["0.1", "0.30", "2", "0.000000000000000001"])),
            side=data.draw(st.sampled_from(list(TakerSide))),
        )
        for number, place in enumerate(places)
    ]
    order = data.draw(st.permutations([*trades, *data.draw(st.lists(st.sampled_from(trades), max_size=5))]))
    joined = data.draw(st.integers(0, len(order)))
    async with h.platform() as platform:
        for one in order[:joined]:
            platform.trades(one)
        async with platform.client(f"{PATH}?interval=1h", **headers(platform)) as socket:
            snapshot = await h.hear_text(socket)
            for one in order[joined:]:
                platform.trades(one)
            marker = h.trade("end", exchange="binance", quantity="7")
            platform.trades(marker)
            ticks = []
            while not ticks or ticks[-1]["trade_id"] != "end":
                ticks.append(await h.hear_text(socket))
        hours = {}
        if snapshot["bar"] is not None:
            hours[int(snapshot["bar"]["timestamp"])] = [
                Decimal(snapshot["bar"]["volume"]),
                Decimal(snapshot["bar"]["volume_delta"]),
            ]
        for tick in ticks:
            hour = hours.setdefault(int(Decimal(tick["timestamp"])) // 3600 * 3600, [Decimal(), Decimal()])
            hour[0] += Decimal(tick["quantity"])
            hour[1] += Decimal(tick["volume_delta"])
        rest = {
            bar.open_time: [Decimal(bar.volume), Decimal(bar.volume_delta)]
            for bar in await platform.history.bars("binance", "BTC-USDT", Interval.H1, 0, 1 << 40)
        }
        newest = max(rest)
        assert hours[newest] == rest[newest]
        days = {open_time // 86_400 for open_time in rest}
        if len(days) == 1:
            assert Decimal(ticks[-1]["cvd"]) == sum(delta for _, delta in rest.values())
