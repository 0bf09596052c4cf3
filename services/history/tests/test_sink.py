"""What the sink refuses, and when minutes are closed: pure rules, and the writer on the store."""

from __future__ import annotations

import time

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given

from crosstape.common.bus.consumer import Batch
from crosstape.common.bus.topics import TRADES, DeadLetter
from crosstape.common.errors import DatabaseConnectionError
from crosstape.common.market.trade import Source, TradeBatch, batch_columns, batch_trades
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START, tapes
from crosstape.history.sink.rows import MinuteRows, trade_rows
from crosstape.history.sink.touched import IdRanges, Seconds, TouchedMinutes
from crosstape.history.sink.writer import sound_rows
from services.history.tests.harness import Sink, new_symbol

NOW = START + 3_600 * 10**9
MINUTE = START // 10**9


def batch(exchange: str = "binance", symbol: str = "BTC-USDT", **columns: object) -> TradeBatch:
    whole = batch_trades([make_trade(i) for i in range(1, 4)], Source.STREAM).columns()
    return batch_columns(exchange, symbol, Source.STREAM, whole._replace(**columns))


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"price": ["1", "-1", "1"]}, "price"),
        ({"price": ["1", "NaN", "1"]}, "price"),
        ({"price": ["1", "1e400", "1"]}, "price"),
        ({"price": ["1", "\uff11", "1"]}, "price"),
        ({"quantity": ["1", "0.000", "1"]}, "quantity"),
        ({"quantity": ["1", "1" * 40, "1"]}, "quantity"),
        ({"time": [NOW, 0, NOW]}, "time"),
        ({"time": [NOW, NOW + 2 * 86_400 * 10**9, NOW]}, "time"),
        ({"time": [NOW, NOW // 1000, NOW]}, "time"),
        ({"side": [1, 2, -1]}, "side"),
        ({"trade_id": [1, -5, 3]}, "trade_id"),
        ({"trade_id": [1, "", 3]}, "trade_id"),
        ({"trade_id": [1, "a\x00b", 3]}, "trade_id"),
        ({"time_received": [1, -1, 1]}, "time_received"),
    ],
)
def test_a_poisonous_row_is_put_aside_alone(columns: dict[str, object], reason: str) -> None:
    rows, rejected = sound_rows([batch(**columns), batch()], NOW)
    assert [(r.reason, len(r.batch)) for r in rejected] == [(reason, 1)]
    assert rows.table.num_rows == 5


@pytest.mark.parametrize("columns", [{"symbol": ""}, {"exchange": "a\n"}, {"symbol": "x" * 200}])
def test_a_record_of_no_market_is_put_aside_whole(columns: dict[str, object]) -> None:
    rows, rejected = sound_rows([batch(**columns), batch()], NOW)
    assert (rows.table.num_rows, [(r.reason, len(r.batch)) for r in rejected]) == (3, [("market", 3)])


def test_one_symbol_of_two_exchanges_is_two_markets() -> None:
    rows = trade_rows([batch("kraken"), batch("okx", "ETH-USDT"), batch("binance"), batch("kraken")], NOW)
    names = zip(rows.table.column("exchange").to_pylist(), rows.table.column("symbol").to_pylist(), strict=True)
    assert [*names][::3] == [
        ("kraken", "BTC-USDT"),
        ("okx", "ETH-USDT"),
        ("binance", "BTC-USDT"),
        ("kraken", "BTC-USDT"),
    ]
    assert {(m.exchange, m.symbol, m.rows) for m in rows.minutes} == {
        ("kraken", "BTC-USDT", 6),
        ("okx", "ETH-USDT", 3),
        ("binance", "BTC-USDT", 3),
    }


@given(tapes())
def test_every_row_of_an_insert_is_in_one_touched_minute(tape: list[object]) -> None:
    rows = trade_rows([batch_trades(tape, Source.STREAM)] if tape else [], NOW)
    assert sum(minute.rows for minute in rows.minutes) == len(tape)
    assert {minute.minute for minute in rows.minutes} == {t.time // 60_000_000_000 * 60 for t in tape}


def test_a_minute_is_due_once_it_is_over_and_quiet() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 5, now=100.0, since=MINUTE)
    assert touched.due(105.0, MINUTE + 60.5, max_rows=10) == {}
    touched.touch(minute, 2, now=105.5, since=MINUTE)
    assert touched.due(106.0, MINUTE + 61.0, max_rows=10) == {}
    assert touched.due(106.5, MINUTE + 61.5, max_rows=10) == {minute: 7}
    assert touched.due(200.0, MINUTE + 200, max_rows=10) == {}


def test_a_minute_that_never_gets_quiet_is_closed_all_the_same() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    for second in range(70):
        touched.touch(minute, 1, now=float(second), since=MINUTE)
    assert touched.due(69.0, MINUTE + 69, max_rows=10) == {minute: 70}


def test_only_minutes_that_are_over_count_as_waiting() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    assert touched.longest_wait(100.0, MINUTE) == 0
    touched.touch(("binance", "ETH-USDT", MINUTE + 3_600), 1, now=100.0, since=MINUTE + 3_600)
    assert touched.longest_wait(900.0, MINUTE + 800) == 0
    touched.touch(("binance", "BTC-USDT", MINUTE), 1, now=130.0, since=MINUTE + 30)
    assert touched.longest_wait(140.0, MINUTE + 40) == 0
    assert touched.longest_wait(181.0, MINUTE + 81) == 20
    touched.touch(("binance", "BTC-USDT", MINUTE - 3_600), 1, now=150.0, since=MINUTE - 3_600)
    assert touched.longest_wait(181.0, MINUTE + 81) == 31


def test_a_second_is_due_once_it_is_over_and_what_reached_the_bus_is_stored() -> None:
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.touch(minute, 5, now=100.0, since=MINUTE + 3)
    touched.reached = MINUTE + 4.9
    assert touched.due_seconds(MINUTE + 30) is None
    touched.reached = MINUTE + 7.2
    assert touched.due_seconds(MINUTE + 6.5) == Seconds([minute], MINUTE + 3, MINUTE + 5)
    assert touched.due_seconds(MINUTE + 30) == Seconds([minute], MINUTE + 5, MINUTE + 6)
    assert touched.due_seconds(MINUTE + 30) is None


def test_a_second_is_due_again_after_a_late_trade_and_after_a_failure() -> None:
    touched = TouchedMinutes(grace=0, quiet=1.0)
    minute = ("binance", "BTC-USDT", MINUTE)
    touched.reached = MINUTE + 10.0
    touched.touch(minute, 1, now=100.0, since=MINUTE + 5)
    failed = touched.due_seconds(MINUTE + 30)
    assert failed is not None
    touched.give_back(failed)
    assert touched.due_seconds(MINUTE + 30) == Seconds([minute], MINUTE + 5, MINUTE + 10)
    touched.touch(minute, 1, now=101.0, since=MINUTE + 2)
    assert touched.due_seconds(MINUTE + 30) == Seconds([minute], MINUTE + 2, MINUTE + 10)


def test_seconds_of_long_ago_wait_for_their_minute() -> None:
    touched = TouchedMinutes(grace=0, quiet=1.0)
    touched.reached = MINUTE + 10.0
    touched.touch(("binance", "BTC-USDT", MINUTE - 3_600), 1, now=100.0, since=MINUTE - 3_600)
    assert touched.due_seconds(MINUTE + 30) is None


def test_one_step_takes_neighbours_of_one_hour_up_to_its_weight() -> None:
    touched = TouchedMinutes(grace=0, quiet=0)
    for second in (0, 60, 3_600):
        for symbol in ("A", "B"):
            touched.touch(("x", symbol, MINUTE + second), 10, now=0.0, since=MINUTE + second)
    steps = [list(touched.due(9.0, MINUTE + 9_000, max_rows=30)) for _ in range(4)]
    assert [[(s, m - MINUTE) for _, s, m in step] for step in steps] == [
        [("A", 0), ("B", 0), ("A", 60)],
        [("B", 60)],
        [("A", 3_600), ("B", 3_600)],
        [],
    ]


def test_ids_within_another_minute_s_ids_name_that_minute() -> None:
    ranges = IdRanges()
    assert ranges.unknown([MinuteRows("x", "A", 60, 1, 5, 5, 60)]) == [("x", "A")]
    ranges.learn(("x", "A"), -1)
    assert ranges.overlapped(MinuteRows("x", "A", 60, 1, 5, 5, 60)) == []
    ranges.add([MinuteRows("x", "A", 60, 1, 5, 5, 60), MinuteRows("x", "A", 120, 6, 9, 4, 120)])
    assert ranges.overlapped(MinuteRows("x", "A", 180, 10, 12, 3, 180)) == []
    assert ranges.overlapped(MinuteRows("x", "A", 120, 5, 7, 3, 120)) == [("x", "A", 60)]
    assert ranges.overlapped(MinuteRows("x", "A", 0, 1, 1, 1, 0)) is None


async def test_a_batch_stores_what_is_sound_and_tells_the_rest(sink: Sink, symbol: str) -> None:
    sound = batch(symbol=symbol)
    poison = batch(symbol=symbol, price=["1", "x", "1"], trade_id=[7, 8, 9])
    undecodable = DeadLetter("trades", 0, 5, "k", "empty record", b"")
    await sink.writer.write(Batch({TRADES.name: [sound, poison], "ledger": []}, [undecodable], {}, 0))
    rows = await sink.store.json_lines(
        "trades", exchange="binance", symbol=symbol, start=0, end=2**62, from_seq=0, from_uid="", limit=10
    )
    assert [msgspec.json.decode(row)["trade_id"] for row in rows] == [1, 2, 3, 7, 9]
    assert [(name, record.reason) for name, _, record in sink.told.records] == [
        ("dead-letters", "empty record"),
        ("dead-letters", "price"),
    ]
    [(_, _, letter)] = sink.told.records[1:]
    assert TRADES.codec.decode(letter.value).columns().trade_id == [8]


async def test_while_the_store_is_away_nothing_is_skipped(
    sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, True, False])
    insert = sink.store.insert

    async def flaky(table: str, rows: object) -> None:
        if next(failures, False):
            raise DatabaseConnectionError("away")
        await insert(table, rows)

    monkeypatch.setattr(sink.store, "insert", flaky)
    await sink.writer.write(Batch({TRADES.name: [msgspec.structs.replace(batch(), symbol=symbol)]}, [], {}, 0))
    assert sink.writer.is_storing
    await sink.close_all()
    assert [bar.trades for bar in sink.told.bars() if bar.interval == "1m"] == [3]


async def test_what_a_dead_process_left_unclosed_is_found(sink: Sink, symbol: str) -> None:
    await sink.insert([make_trade(1, symbol=symbol)])
    successor = Sink(sink.store)
    await successor.closing._reconcile()
    successor.told.records.clear()
    await successor.close_all()
    assert symbol in {bar.symbol for bar in successor.told.bars()}


async def test_a_minute_dated_ahead_is_found_by_the_next_process_when_it_is_over(sink: Sink, symbol: str) -> None:
    now = time.time_ns()
    ahead = trade_rows([batch_trades([make_trade(1, symbol=symbol, time=now - 150 * 10**9)], Source.STREAM)], now).table
    stored = pa.array([now // 1_000 - 3_600_000_000], pa.timestamp("us", "UTC"))
    await sink.store.insert("trades", ahead.append_column("inserted_at", stored))
    await sink.insert([make_trade(1, symbol=new_symbol())])
    await sink.close_all()
    successor = Sink(sink.store)
    await successor.closing._reconcile()
    await successor.close_all()
    assert symbol in {bar.symbol for bar in successor.told.bars()}


async def test_what_was_stored_last_is_told_again_by_the_next_process(sink: Sink, symbol: str) -> None:
    await sink.insert([make_trade(1, symbol=symbol)])
    await sink.close_all()
    successor = Sink(sink.store)
    await successor.closing._reconcile()
    assert symbol in {bar.symbol for bar in successor.told.bars()}


async def test_copies_that_disagree_are_counted(sink: Sink, symbol: str) -> None:
    from crosstape.history.sink import metrics

    await sink.store.execute("SYSTEM STOP MERGES trades")
    before = metrics.CONFLICTS._value.get()
    await sink.insert([make_trade(1, symbol=symbol)])
    await sink.insert([make_trade(1, symbol=symbol, price="2")])
    await sink.insert([make_trade(1, symbol=symbol, price="2")], Source.HISTORY)
    await sink.close_all()
    await sink.store.execute("SYSTEM START MERGES trades")
    assert metrics.CONFLICTS._value.get() == before + 1
