"""What the sink refuses: pure rules, and the writer on the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.bus.consumer import MAX_DEAD_LETTER_BYTES, Batch
from crosstape.common.bus.topics import TRADES, DeadLetter
from crosstape.common.errors import DatabaseConnectionError
from crosstape.common.market.soundness import sound_part
from crosstape.common.market.trade import Source, TradeBatch, batch_columns, batch_trades
from crosstape.common.testing.builders import UNSOUND, make_trade
from crosstape.common.testing.strategies import START, decimal_texts, tapes
from crosstape.history.sink.id_ranges import IdRanges
from crosstape.history.sink.rows import MinuteRows, trade_rows
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.sink.writer import Writer, sound_rows
from crosstape.history.store import Store
from services.history.tests.harness import Sink, Told, new_symbol

NOW = START + 3_600 * 10**9
MINUTE = START // 10**9


def batch(exchange: str = "binance", symbol: str = "BTC-USDT", **columns: object) -> TradeBatch:
    whole = batch_trades([make_trade(i) for i in range(1, 4)], Source.STREAM).columns()
    return batch_columns(exchange, symbol, Source.STREAM, whole._replace(**columns))


@pytest.mark.parametrize(("reason", "fields"), UNSOUND)
def test_a_poisonous_row_is_put_aside_alone(reason: str, fields: dict[str, object]) -> None:
    wrong = batch_trades([make_trade(1), make_trade(**{"trade_id": 2} | fields), make_trade(3)], Source.STREAM)
    rows, rejected = sound_rows([wrong, batch()], NOW)
    assert [(r.reason, len(r.batch)) for r in rejected] == [(reason, 1)]
    assert rows.table.num_rows == 5


@pytest.mark.parametrize(("reason", "fields"), UNSOUND)
def test_a_row_is_put_aside_whatever_else_is_stored_with_it(reason: str, fields: dict[str, object]) -> None:
    rows, rejected = sound_rows([batch_trades([make_trade(**fields)], Source.STREAM)], NOW)
    assert (rows.table.num_rows, [r.reason for r in rejected]) == (0, [reason])


@given(st.text("0123456789.+-eE_ \n\u0661", max_size=6) | st.text(max_size=3) | decimal_texts())
def test_a_text_is_a_price_in_the_store_exactly_when_it_is_one_everywhere(text: str) -> None:
    sent = batch(price=["1", text, "1"]) if "\n" not in text else batch()
    rows, _ = sound_rows([sent], NOW)
    sound = sound_part(sent, NOW)
    assert rows.table.num_rows == (0 if sound is None else len(sound))


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


def test_ids_within_another_minute_s_ids_name_that_minute() -> None:
    ranges = IdRanges()
    assert ranges.unknown([MinuteRows("x", "A", 60, 1, 5, 5, 60)]) == [("x", "A")]
    ranges.learn(("x", "A"), -1)
    assert ranges.overlapped(MinuteRows("x", "A", 60, 1, 5, 5, 60)) == []
    ranges.add([MinuteRows("x", "A", 60, 1, 5, 5, 60), MinuteRows("x", "A", 120, 6, 9, 4, 120)])
    assert ranges.overlapped(MinuteRows("x", "A", 180, 10, 12, 3, 180)) == []
    assert not ranges.is_behind(MinuteRows("x", "A", 180, 8, 12, 3, 180))
    assert ranges.is_behind(MinuteRows("x", "A", 0, 1, 8, 1, 0))
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


async def test_a_full_batch_of_long_ago_says_that_the_sink_catches_up(sink: Sink, symbol: str) -> None:
    touched = TouchedMinutes(grace=0, quiet=3_600)
    stop = asyncio.Event()

    class Bus:
        async def batches(self, **limits: object) -> AsyncIterator[Batch]:
            stop.set()
            yield Batch({TRADES.name: [batch(symbol=symbol)]}, [], {}, (MINUTE + 30) * 1000, is_full=True)

        async def commit(self, taken: Batch) -> None:
            """It took effect."""

    await Writer(sink.store, sink.told, touched).run(Bus(), stop, flush_rows=1, flush_seconds=1.0)
    now = time.monotonic()
    assert touched.due_seconds(now, MINUTE + 60) is None
    assert touched.due_seconds(now + 3_600, MINUTE + 60) is not None


async def test_what_was_taken_before_partitions_were_shared_anew_says_nothing_of_those_that_are_ours_now() -> None:
    touched = TouchedMinutes(grace=0, quiet=0)
    writer = Writer(Store("chdb:///nowhere", threads=1, deadline=1), Told(), touched)
    stop = asyncio.Event()
    reached = []

    class Bus:
        async def batches(self, **limits: object) -> AsyncIterator[Batch]:
            for is_shared_anew in (False, True, False):
                if is_shared_anew:
                    writer.forget()
                    touched.forget()
                yield Batch({}, [], {}, 0)
                reached.append(touched.reached > 0)

    await writer.run(Bus(), stop, flush_rows=1, flush_seconds=1.0)
    assert reached == [True, False, True]
    assert touched.taken_at <= time.monotonic()


async def test_a_rejected_record_that_is_too_long_for_a_dead_letter_is_cut(sink: Sink) -> None:
    long = batch(price=["1", "x" * 2 * MAX_DEAD_LETTER_BYTES, "1"], symbol=new_symbol())
    await sink.writer.write(Batch({TRADES.name: [long]}, [], {}, 0))
    [(_, _, letter)] = sink.told.records
    assert (letter.reason, len(letter.value)) == ("price", MAX_DEAD_LETTER_BYTES)


async def test_a_trade_that_moves_leaves_its_minute_though_another_sink_stored_it(sink: Sink, symbol: str) -> None:
    other, second = Sink(sink.store), 10**9
    await sink.insert([make_trade(1, symbol=symbol)])
    await other.insert([make_trade(n, symbol=symbol, time=START + 3_600 * second) for n in (100, 101)])
    await other.close_all()
    sink.writer.forget()  # the partition came back
    await sink.insert([make_trade(101, symbol=symbol, time=START + 3_660 * second)], Source.HISTORY)
    await sink.close_all()
    rows = await sink.store.rows("minutes", exchange="binance", symbol=symbol, base=60, start=0, end=2**32 - 1)
    assert [(minute - MINUTE, trades) for minute, trades, *_ in rows] == [(0, 1), (3_600, 1), (3_660, 1)]


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
    successor.closing.reconcile_soon()
    await successor.closing.reconcile()
    successor.told.records.clear()
    await successor.close_all()
    assert symbol in {bar.symbol for bar in successor.told.bars()}


async def test_a_minute_dated_ahead_is_found_by_the_next_process_when_it_is_over(sink: Sink, symbol: str) -> None:
    now = time.time_ns()
    dated = now - 300 * 10**9  # before the newest minutes: its bar says of other markets until when they are stored
    ahead = trade_rows([batch_trades([make_trade(1, symbol=symbol, time=dated)], Source.STREAM)], now).table
    stored = pa.array([now // 1_000 - 3_600_000_000], pa.timestamp("us", "UTC"))
    await sink.store.insert("trades", ahead.append_column("inserted_at", stored))
    await sink.insert([make_trade(1, symbol=new_symbol())])
    await sink.close_all()
    successor = Sink(sink.store)
    successor.closing.reconcile_soon()
    await successor.closing.reconcile()
    await successor.close_all()
    assert symbol in {bar.symbol for bar in successor.told.bars()}


async def test_what_was_stored_last_is_told_again_by_the_next_process(sink: Sink, symbol: str) -> None:
    await sink.insert([make_trade(1, symbol=symbol)])
    await sink.close_all()
    successor = Sink(sink.store)
    successor.closing.reconcile_soon()
    await successor.closing.reconcile()
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
