"""What is told, and when: after it is stored, again where that is unsure, and by whom the partition belongs to."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest
from aiokafka.partitioner import murmur2

from crosstape.common.bus.consumer import Share
from crosstape.common.bus.topics import BARS, MAX_RECORD_BYTES, market_key
from crosstape.common.errors import DatabaseConnectionError, DatabaseError, DatabaseTimeout
from crosstape.common.market.trade import Source, batch_trades
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START
from crosstape.history.sink.closing import RECORD_BARS
from crosstape.history.sink.rows import trade_rows
from crosstape.history.store import Store
from services.history.tests.harness import Sink, new_symbol

MINUTE = START // 10**9
MANY = 2**31 - 1
"""So many partitions that no two markets share one."""


def alone(symbol: str) -> Share:
    """The partition that a market of binance has for itself."""
    return Share(MANY, [(murmur2(market_key("binance", symbol)) & 0x7FFFFFFF) % MANY])


async def told_and_stored(sink: Sink, symbol: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(open time, trades) of the minutes that were told, and of those that are stored."""
    rows = await sink.store.rows("minutes", exchange="binance", symbol=symbol, base=60, start=0, end=2**32 - 1)
    told = [(bar.open_time, bar.trades) for bar in sink.told.bars() if (bar.symbol, bar.interval) == (symbol, "1m")]
    return told, [(minute, trades) for minute, trades, *_ in rows]


async def test_what_could_not_be_stored_is_not_told_and_is_closed_by_the_next_step(
    sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = sink.store.insert

    async def failing(table: str, rows: pa.Table) -> None:
        if table == "bars":
            raise DatabaseConnectionError("away")
        await insert(table, rows)

    await sink.insert([make_trade(1, symbol=symbol)])
    with monkeypatch.context() as away:
        away.setattr(sink.store, "insert", failing)
        for _ in range(2):
            with pytest.raises(DatabaseError):
                await sink.closing.step()
    assert sink.told.bars() == []
    await sink.close_all()
    assert await told_and_stored(sink, symbol) == ([(MINUTE, 1)], [(MINUTE, 1)])


async def test_what_is_closed_stays_so_where_its_copies_cannot_be_counted(
    sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sink.store.rows

    async def failing(query: str, **parameters: object) -> list[tuple[object, ...]]:
        if query == "conflicts":
            raise DatabaseTimeout("too slow")
        return await rows(query, **parameters)

    monkeypatch.setattr(sink.store, "rows", failing)
    for _ in range(2):
        await sink.insert([make_trade(1, symbol=symbol)])
    with pytest.raises(DatabaseError):
        await sink.closing.step()
    assert not await sink.closing.step()
    assert await told_and_stored(sink, symbol) == ([(MINUTE, 1)], [(MINUTE, 1)])


def make_unsure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `store` say that it has no bars, and have them all the same."""
    insert = store.insert

    async def unsure(table: str, rows: pa.Table) -> None:
        await insert(table, rows)
        if table == "bars":
            raise DatabaseTimeout("too slow")

    monkeypatch.setattr(store, "insert", unsure)


async def test_what_was_stored_though_the_store_said_otherwise_is_told_by_the_next_step(
    sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sink.insert([make_trade(1, symbol=symbol), make_trade(2, symbol=symbol, time=START + 61 * 10**9)])
    with monkeypatch.context() as slow:
        make_unsure(sink.store, slow)
        with pytest.raises(DatabaseError):
            await sink.closing.step()
    assert sink.told.bars() == []
    await sink.insert([make_trade(3, symbol=symbol, time=START + 121 * 10**9)])
    await sink.close_all()
    minutes = [(MINUTE + 60 * n, 1) for n in range(3)]
    assert await told_and_stored(sink, symbol) == (minutes, minutes)
    assert len([bar for bar in sink.told.bars() if bar.interval == "1s"]) == 3
    sink.told.records.clear()
    await sink.insert([make_trade(1, symbol=symbol)])
    await sink.close_all()
    assert sink.told.bars() == []


async def test_what_may_be_stored_of_partitions_that_were_taken_away_is_told_by_their_new_owner(
    sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sink.insert([make_trade(1, symbol=symbol)])
    with monkeypatch.context() as slow:
        make_unsure(sink.store, slow)
        with pytest.raises(DatabaseError):
            await sink.closing.step()
    sink.closing.reconcile_soon()
    await sink.close_all()
    assert sink.told.bars() == []
    await sink.closing.reconcile()
    assert symbol in {bar.symbol for bar in sink.told.bars()}


async def test_who_is_asked_to_look_again_while_looking_does(
    sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, asked = sink.store.rows, []

    async def interrupted(query: str, **parameters: object) -> list[tuple[object, ...]]:
        found = await rows(query, **parameters)
        if query == "unclosed_minutes":
            asked.append(query)
            if len(asked) == 1:
                await Sink(sink.store).insert([make_trade(1, symbol=symbol)])  # by one who then left
                sink.closing.reconcile_soon()
        return found

    monkeypatch.setattr(sink.store, "rows", interrupted)
    sink.closing.reconcile_soon()
    await sink.closing.reconcile()
    await sink.closing.reconcile()
    await sink.closing.reconcile()
    assert len(asked) == 2
    await sink.close_all()
    assert symbol in {bar.symbol for bar in sink.told.bars()}


async def test_minutes_whose_closing_failed_for_long_are_found_while_others_were_closed(
    sink: Sink, symbol: str
) -> None:
    now = time.time_ns()
    minute = now // 10**9 // 60 * 60 - 1_800
    old = [make_trade(1, symbol=symbol, time=minute * 10**9), make_trade(2, symbol=symbol, time=(minute + 60) * 10**9)]
    stored = pa.array([now // 1_000 - 1_200_000_000] * 2, pa.timestamp("us", "UTC"))
    rows = trade_rows([batch_trades(old, Source.STREAM)], now).table
    await sink.store.insert("trades", rows.append_column("inserted_at", stored))
    place = f"'binance', '{symbol}', 60, {minute - 60}, 1"
    await sink.store.execute(
        "INSERT INTO bars (exchange, symbol, interval, open_time, trades, computed_at) "
        f"SELECT {place}, now64(6) - INTERVAL 40 MINUTE"
    )
    await sink.insert([make_trade(1, symbol=new_symbol())])
    await sink.close_all()
    successor = Sink(sink.store, alone(symbol))
    successor.closing.reconcile_soon()
    await successor.closing.reconcile()
    await successor.close_all()
    found, _ = await told_and_stored(successor, symbol)
    assert {minute, minute + 60} <= {opened for opened, _ in found}


async def test_a_market_that_is_gone_is_not_told_again_nor_makes_a_start_read_all_since(
    sink: Sink, symbol: str
) -> None:
    many = 50_000
    await sink.store.execute(
        "INSERT INTO trades (exchange, symbol, trade_seq, time, inserted_at) "
        f"SELECT 'binance', '{new_symbol()}', number, now64(9) - INTERVAL 3 HOUR, now64(6) - INTERVAL 3 HOUR "
        f"FROM numbers({many})"
    )
    await sink.store.execute(
        "INSERT INTO bars (exchange, symbol, interval, open_time, trades, computed_at) "
        f"SELECT 'binance', '{symbol}', 60, {MINUTE}, 1, now64(6) - INTERVAL 200 DAY"
    )
    await sink.insert([make_trade(1, symbol=new_symbol())])
    await sink.close_all()
    share = alone(symbol)
    successor = Sink(sink.store, share)
    successor.closing.reconcile_soon()
    await successor.closing.reconcile()
    assert (len(successor.touched), successor.told.bars()) == (0, [])
    sql = "EXPLAIN ESTIMATE " + sink.store._sql("unclosed_minutes")
    parameters = {"partitions": share.of, "assigned": share.numbers}
    tables = await sink.store._run(lambda client: client.query(sql, parameters).result_rows)
    [(stored,)] = await sink.store._run(lambda client: client.query("SELECT count() FROM trades").result_rows)
    assert sum(rows for _, table, _, rows, _ in tables if table == "trades") <= stored - many / 2


async def test_what_belongs_to_others_is_neither_closed_nor_told_again(sink: Sink, symbol: str) -> None:
    stranger, other = Sink(sink.store, alone(new_symbol())), new_symbol()
    await sink.insert([make_trade(1, symbol=symbol)])
    await sink.close_all()
    await sink.insert([make_trade(1, symbol=other)])
    for one in (stranger, Sink(sink.store, Share(MANY, []))):
        one.closing.reconcile_soon()
        await one.closing.reconcile()
        await one.close_all()
        assert (len(one.touched), one.told.bars()) == (0, [])


async def test_more_bars_than_one_record_holds_are_told_in_their_order(sink: Sink, symbol: str) -> None:
    seconds = RECORD_BARS + 10
    await sink.insert([make_trade(n, symbol=symbol, time=START + n * 10**9) for n in range(seconds)])
    await sink.close_all()
    sink.told.records.clear()
    successor = Sink(sink.store, alone(symbol))
    successor.closing.reconcile_soon()
    await successor.closing.reconcile()
    records = [record for name, _, record in successor.told.records if name == BARS.name]
    assert [len(record) for record in records] == [RECORD_BARS, seconds + seconds // 60 + 1 - RECORD_BARS]
    assert max(len(BARS.codec.encode(record)) for record in records) < MAX_RECORD_BYTES
    opened = [bar.open_time for record in records for bar in record if bar.interval == "1s"]
    assert opened == [MINUTE + n for n in range(seconds)]
