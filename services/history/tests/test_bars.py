"""Bars are a pure function of the tape: what the store computes equals the fold that defines a bar."""

from __future__ import annotations

import asyncio
import json
import math
from decimal import Decimal, localcontext

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosstape.common.market.bar import Bar, BarStatus, Interval, fold_bars
from crosstape.common.market.trade import Source, TakerSide, Trade
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START, tapes
from crosstape.history.api.bars import BarQuery, ClosedBars, bar_rows, newest_bars, oldest_bars
from crosstape.history.api.markets import Market, _instrument
from crosstape.history.sink.closing import Closing
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.sink.writer import Writer
from crosstape.history.store import Store
from services.history.tests.harness import EVERYTHING, Sink, new_symbol

QUICK = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def of_market(trades: list[Trade], symbol: str) -> list[Trade]:
    return [msgspec.structs.replace(trade, symbol=symbol) for trade in trades]


def newest(bars: list[Bar]) -> list[Bar]:
    """The last word on each bar, as the fold would put it."""
    last = {(bar.interval, bar.open_time): bar for bar in bars}
    plain = [msgspec.structs.replace(bar, status=BarStatus.FINAL, revision=0) for bar in last.values()]
    return sorted(plain, key=lambda bar: (bar.interval, bar.open_time))


def expected(trades: list[Trade]) -> list[Bar]:
    return [*fold_bars(trades, Interval.M1), *fold_bars(trades, Interval.S1)]


@QUICK
@given(st.data(), tapes(max_size=25))
def test_any_order_any_split_and_any_repeats_give_the_bars_of_the_fold(
    store: Store, data: st.DataObject, tape: list[Trade]
) -> None:
    tape = of_market(tape, new_symbol())
    arrivals = data.draw(
        st.permutations(tape + data.draw(st.lists(st.sampled_from(tape), max_size=10)) if tape else tape)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arrivals)), max_size=3)))
    sink = Sink(store)  # an example that ends early leaves minutes unclosed

    async def play() -> None:
        for start, end in zip([0, *cuts], [*cuts, len(arrivals)], strict=True):
            if start < end:
                await sink.insert(arrivals[start:end])
            if data.draw(st.booleans()):
                await sink.close_all()
        await sink.close_all()

    asyncio.run(play())
    assert newest(sink.told.bars()) == expected(tape)


@settings(QUICK, max_examples=5)
@given(st.data(), st.lists(tapes(seconds=130, max_size=6), min_size=2, max_size=3))
def test_conflicting_copies_leave_one_winner_whatever_their_order(
    sink: Sink, data: st.DataObject, versions: list[list[Trade]]
) -> None:
    copies = [trade for version in versions for trade in version]
    ends = []
    for _ in range(2):
        symbol = new_symbol()
        sink.told.records.clear()
        arrivals = data.draw(st.permutations(copies))

        async def play(arrivals: list[Trade], symbol: str) -> list[tuple[object, ...]]:
            for trade in of_market(arrivals, symbol):
                await sink.insert([trade])
                if data.draw(st.booleans()):
                    await sink.close_all()
            await sink.close_all()
            place = {"exchange": "binance", "symbol": symbol, "start": START // 10**9 - 60, "end": START // 10**9 + 600}
            tape = await sink.store.rows("tape_lines", **place)
            assert tape == await sink.store.rows("stored_lines", **place)
            return [(interval, second, line.replace(symbol, "")) for interval, second, line in tape]

        ends.append(asyncio.run(play(arrivals, symbol)))
    assert ends[0] == ends[1]


def test_history_outranks_the_stream_whenever_it_arrives(sink: Sink) -> None:
    for order in ((Source.STREAM, Source.HISTORY), (Source.HISTORY, Source.STREAM)):
        symbol = new_symbol()
        sink.told.records.clear()

        async def play(order: tuple[Source, ...], symbol: str) -> None:
            for source in order:
                price = "2" if source is Source.HISTORY else "1"
                await sink.insert([make_trade(1, symbol=symbol, price=price)], source)
                await sink.close_all()

        asyncio.run(play(order, symbol))
        assert newest(sink.told.bars())[0].close == "2"


def test_a_late_trade_revises_the_bar_and_a_repeat_does_not(sink: Sink, symbol: str) -> None:
    async def play() -> None:
        first, late = make_trade(2, symbol=symbol), make_trade(1, symbol=symbol, price="1")
        for trades in ([first], [first], [late], [late, first]):
            await sink.insert(trades)
            await sink.close_all()

    asyncio.run(play())
    minutes = [bar for bar in sink.told.bars() if bar.interval == "1m"]
    assert [(bar.status, bar.revision, bar.open) for bar in minutes] == [
        (BarStatus.FINAL, 0, "60000"),
        (BarStatus.REVISED, 1, "1"),
    ]


def test_a_copy_that_says_another_minute_takes_the_trade_out_of_the_old_one(sink: Sink, symbol: str) -> None:
    early = make_trade(7, symbol=symbol, time=START + 59 * 10**9)
    other = make_trade(8, symbol=symbol, time=START + 58 * 10**9)
    moved = make_trade(7, symbol=symbol, time=START + 60 * 10**9)

    async def play() -> list[tuple[object, ...]]:
        await sink.insert([early, other])
        await sink.close_all()
        await sink.insert([moved], Source.HISTORY)
        await sink.close_all()
        place = {"exchange": "binance", "symbol": symbol, "start": START // 10**9, "end": START // 10**9 + 120}
        stored = await sink.store.rows("stored_lines", **place)
        assert stored == await sink.store.rows("tape_lines", **place)
        return stored

    minutes = [second for interval, second, _ in asyncio.run(play()) if interval == 60]
    assert minutes == [START // 10**9, START // 10**9 + 60]


def test_a_minute_that_lost_all_its_trades_is_stored_as_empty_once(sink: Sink, symbol: str) -> None:
    minute = START // 10**9
    place = {"exchange": "binance", "symbol": symbol, "start": minute, "end": minute + 60, "base": 60}

    async def play() -> list[tuple[int, int]]:
        await sink.insert([make_trade(7, symbol=symbol, time=START)])
        await sink.close_all()
        await sink.insert([make_trade(7, symbol=symbol, time=START + 60 * 10**9)], Source.HISTORY)
        await sink.close_all()
        sink.touched.touch(("binance", symbol, minute), 0, 0.0, minute)
        await sink.close_all()
        assert await sink.store.rows("closed_bars", **place, limit=10, offset=0) == []
        return await sink.store.rows(
            "stored_minutes",
            intervals=[1, 60],
            markets=[("binance", symbol)],
            start=minute,
            end=minute + 60,
            minutes=[],
        )

    rows = asyncio.run(play())
    assert {(row[2], row[3], row[11], row[-1]) for row in rows} == {(60, minute, 0, 1), (1, minute, 0, 1)}


def test_only_the_minutes_that_are_due_are_closed(sink: Sink) -> None:
    one, other = new_symbol(), new_symbol()
    minute = START // 10**9
    due = [(one, minute), (other, minute + 60)]

    async def play() -> None:
        trades = [make_trade(n + 1, symbol=s, time=START + n * 60 * 10**9) for s in (one, other) for n in range(2)]
        await sink.insert(trades)
        touched = TouchedMinutes(grace=0, quiet=0)
        touched.reached = math.inf
        for symbol, second in due:
            touched.touch(("binance", symbol, second), 1, 0.0, second)
        await Closing(sink.store, sink.told, touched, lambda: EVERYTHING).step()

    asyncio.run(play())
    assert [(b.symbol, b.open_time) for b in sink.told.bars() if b.interval == "1m"] == due


def test_sums_beyond_one_trade_are_exact(sink: Sink, symbol: str) -> None:
    huge = "9" * 20 + "." + "9" * 18
    trades = [make_trade(i, symbol=symbol, quantity=huge, side=TakerSide.SELL) for i in range(1, 4)]

    async def play() -> None:
        await sink.insert(trades)
        await sink.close_all()

    asyncio.run(play())
    with localcontext(prec=80):
        assert Decimal(sink.told.bars()[0].volume) == 3 * Decimal(huge)
        assert newest(sink.told.bars()) == expected(trades)


@pytest.mark.parametrize("interval", [i for i in Interval if i not in (Interval.S1, Interval.M1)])
@settings(QUICK, max_examples=2)
@given(st.data())
def test_a_longer_bar_is_the_fold_of_its_trades(sink: Sink, interval: Interval, data: st.DataObject) -> None:
    tape = data.draw(tapes(seconds=min(4 * interval.seconds, 40 * 86_400), max_size=20))
    symbol = new_symbol()
    tape = of_market(tape, symbol)
    market = Market("binance", _instrument("binance", symbol))
    query = BarQuery(market, interval, 0, START // 10**9 + 100 * 86_400)

    async def play() -> list[bytes]:
        if tape:
            await sink.insert(tape)
        await sink.close_all()
        return await oldest_bars(sink.store, query, ClosedBars(), limit=10_000)

    rows = [json.loads(line, parse_float=Decimal) for line in asyncio.run(play())]
    shown = ("open", "high", "low", "close", "volume", "volume_delta", "volume_unknown")
    assert [(r["timestamp"], r["trades"], *(Decimal(r[name]) for name in shown)) for r in rows] == [
        (bar.open_time, bar.trades, *(Decimal(getattr(bar, name)) for name in shown))
        for bar in fold_bars(tape, interval)
    ]


class StoredUntil(ClosedBars):
    """Of what the bus had, as much as `end` (Unix s) is stored."""

    def __init__(self, end: int):
        super().__init__()
        self.end = end

    async def stored_until(self, store: Store, market: Market, end: int) -> int:
        return self.end


def test_a_longer_bar_is_final_once_all_that_the_bus_had_of_it_is_stored(sink: Sink, symbol: str) -> None:
    minute, market = START // 10**9, Market("binance", _instrument("binance", symbol))
    query = BarQuery(market, Interval.M5, minute, minute + 300)

    async def play() -> list[list[str]]:
        await sink.insert([make_trade(1, symbol=symbol)])
        await sink.close_all()
        found = []
        for end in (minute + 60, minute + 299, minute + 300):
            lines = await oldest_bars(sink.store, query, StoredUntil(end), limit=2)
            lines += await newest_bars(sink.store, query, StoredUntil(end), limit=2)
            found.append([bar.status for bar in bar_rows(lines)])
        return found

    assert asyncio.run(play()) == [["provisional"] * 2, ["provisional"] * 2, ["final"] * 2]


def test_a_longer_bar_s_revision_rises_when_a_minute_of_it_loses_its_only_trade_or_gets_its_first(
    sink: Sink, symbol: str
) -> None:
    minute, market = START // 10**9, Market("binance", _instrument("binance", symbol))
    query = BarQuery(market, Interval.M5, minute, minute + 600)

    async def store_and_read(*trades: Trade, source: Source = Source.STREAM) -> list[tuple[int, int, str, str]]:
        await sink.insert([*trades], source)
        await sink.close_all()
        rows = bar_rows(await oldest_bars(sink.store, query, StoredUntil(minute + 600), limit=5))
        lines = await oldest_bars(sink.store, query, ClosedBars(), limit=5)
        assert [row.revision for row in bar_rows(lines)] == [row.revision for row in rows]
        return [(row.timestamp - minute, row.trades, bytes(row.low).decode(), row.status) for row in rows] + [
            row.revision for row in rows
        ]

    async def play() -> None:
        one, other, last = (
            make_trade(n, symbol=symbol, time=START + at * 10**9) for n, at in ((1, 0), (2, 61), (3, 400))
        )
        assert await store_and_read(one, other, last) == [(0, 2, "60000", "final"), (300, 1, "60000", "final"), 0, 0]
        moved = msgspec.structs.replace(other, time=START + 301 * 10**9)
        assert await store_and_read(moved, source=Source.HISTORY) == [
            (0, 1, "60000", "revised"),
            (300, 2, "60000", "revised"),
            1,
            1,
        ]
        assert [(bar.open_time - minute, bar.status) for bar in sink.told.bars() if bar.revision == 1] == [
            (300, BarStatus.REVISED)
        ]

    asyncio.run(play())


def test_ids_that_are_texts_order_trades_of_one_time_as_the_fold_does(sink: Sink, symbol: str) -> None:
    ids = ["b", "B", "aa", "a", "a0", "Z", "~", "é", 3, 12, 100, 2**62]
    trades = [make_trade(i, symbol=symbol, price=str(n + 1), time=START) for n, i in enumerate(ids)]

    async def play() -> None:
        for trade in trades:
            await sink.insert([trade])
        await sink.insert(trades)
        await sink.close_all()

    asyncio.run(play())
    assert newest(sink.told.bars()) == expected(trades)


@QUICK
@given(st.data(), tapes(seconds=100, max_size=20))
def test_while_seconds_close_the_page_is_always_the_fold_of_what_is_stored(
    store: Store, data: st.DataObject, tape: list[Trade]
) -> None:
    symbol = new_symbol()
    market = Market("binance", _instrument("binance", symbol))
    query = BarQuery(market, Interval.S1, 0, START // 10**9 + 600)
    arrivals = data.draw(st.permutations(of_market(tape, symbol)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(arrivals)), max_size=4)))
    sink = Sink(store)
    sink.touched = TouchedMinutes(grace=0, quiet=3_600)
    sink.closing = Closing(store, sink.told, sink.touched, lambda: EVERYTHING)
    sink.writer = Writer(store, sink.told, sink.touched)

    async def play() -> None:
        sink.touched.reached = START // 10**9
        for start, end in zip([0, *cuts], [*cuts, len(arrivals)], strict=True):
            if start < end:
                await sink.insert(arrivals[start:end])
            sink.closing._rests_until = 0.0
            sink.touched.reached += data.draw(st.integers(0, 20))
            assert not await sink.closing.step()
            lines = await oldest_bars(store, query, ClosedBars(), limit=1_000)
            bars = {row["timestamp"]: row for row in (json.loads(line, parse_float=Decimal) for line in lines)}
            wanted = fold_bars(arrivals[:end], Interval.S1)
            assert [(second, row["trades"], row["close"]) for second, row in bars.items()] == [
                (bar.open_time, bar.trades, Decimal(bar.close)) for bar in wanted
            ]
            told = {bar.open_time: bar for bar in sink.told.bars()}
            for bar in wanted:
                is_closed = bar.open_time < sink.touched.reached
                assert (bars[bar.open_time]["status"] != "provisional") >= is_closed
                assert not is_closed or told[bar.open_time].trades == bar.trades

    asyncio.run(play())


def test_trades_of_the_open_minute_are_answered_before_it_is_closed(store: Store, symbol: str) -> None:
    patient = Sink(store)
    trades = [make_trade(i, symbol=symbol, time=START + i * 20 * 10**9) for i in range(1, 5)]
    market = Market("binance", _instrument("binance", symbol))

    async def play() -> list[tuple[int, str]]:
        await patient.insert(trades[:2])
        await patient.close_all()
        await patient.insert(trades[2:])
        found = []
        for interval in (Interval.M1, Interval.S1):
            lines = await oldest_bars(
                store, BarQuery(market, interval, 0, START // 10**9 + 600), ClosedBars(), limit=100
            )
            found += [(row["timestamp"] - START // 10**9, row["status"]) for row in map(msgspec.json.decode, lines)]
        return found

    assert asyncio.run(play()) == [
        (0, "final"),
        (60, "provisional"),
        (20, "final"),
        (40, "final"),
        (60, "provisional"),
        (80, "provisional"),
    ]
