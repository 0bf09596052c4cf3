"""(D) Bus to ClickHouse with bars: the sink's own writing and closing against the usual ways to insert.

Everything starts from the same records as they stand on the bus (MessagePack), in batches of 50,000 trades of 100
markets, into the same schema in one embedded ClickHouse; clickhouse-connect is the client of all.
- Crosstape: decode, check every row, insert, and at the end recompute and store the bars of all minutes touched
  (one-second and one-minute bars, from the deduplicated tape).
- rows: decode, one Python list a row, `insert()`. No checks, no bars. Times as integer ticks and decimals as text,
  which it takes fastest.
- columns: decode, the columns joined and cast by pyarrow, `insert_arrow`. No checks, no bars.
- columns, built beforehand: only `insert_arrow`, the database's own share. No checks, no bars.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver.client import Client

from bench import tape
from bench.measure import OURS, Row, compare, take_turns
from bench.store import fresh_folder, stores
from crosstape.common.bus.topics import TRADES
from crosstape.history.sink.closing import Closing
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.sink.writer import Writer
from crosstape.history.store import Store

ROUNDS = 3
BATCHES = 12
ROWS = 50_000
MARKETS = 100
SECONDS_PER_BATCH = 1.0
"""50,000 trades/s: a batch is one second of the tape."""

_TIME, _DECIMAL = pa.timestamp("ns", "UTC"), pa.decimal128(38, 18)
_NAMES = (
    "exchange",
    "symbol",
    "trade_seq",
    "trade_uid",
    "time",
    "price",
    "quantity",
    "side",
    "time_received",
    "source",
)
_TYPES = (
    "LowCardinality(String)", "LowCardinality(String)", "UInt64", "String", "DateTime64(9, 'UTC')", "Decimal(38, 18)",
    "Decimal(38, 18)", "Int8", "DateTime64(9, 'UTC')", "UInt8",
)  # fmt: skip


def measure() -> list[Row]:
    """Rows per second of each way."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    path = fresh_folder("sink") / "data"
    names = tape.symbols(MARKETS)
    start = 1_763_000_040 * tape.NANOSECONDS
    span = int(SECONDS_PER_BATCH * tape.NANOSECONDS)
    batches = [tape.records(names, n * ROWS, ROWS, start + n * span, SECONDS_PER_BATCH) for n in range(BATCHES)]
    rows = BATCHES * ROWS
    async with stores(f"chdb://{path}") as (inserts, closings):
        loop = asyncio.get_running_loop()

        def timed(work: Callable[[], Awaitable[None]]) -> float:
            asyncio.run_coroutine_threadsafe(_empty(inserts), loop).result()
            started = time.perf_counter()
            asyncio.run_coroutine_threadsafe(work(), loop).result()  # type: ignore[arg-type]
            return rows / (time.perf_counter() - started)

        client = await asyncio.to_thread(clickhouse_connect.get_client, interface="chdb", path=str(path))
        built = [_table(values) for values in batches]
        contenders = {
            OURS: lambda: timed(lambda: _ours(inserts, closings, batches, closes=True)),
            "without bars": lambda: timed(lambda: _ours(inserts, closings, batches, closes=False)),
            "rows": lambda: timed(lambda: asyncio.to_thread(_by_rows, client, batches)),
            "columns": lambda: timed(lambda: _by_columns(inserts, batches)),
            "columns, built beforehand": lambda: timed(lambda: _prebuilt(inserts, built)),
        }
        measured = await asyncio.to_thread(take_turns, contenders, ROUNDS)
        client.close()
    return [
        compare("bus → ClickHouse, with bars", measured, "rows", least=3),
        compare("bus → ClickHouse, with bars", measured, "columns", least=0.5),
        compare("bus → ClickHouse, with bars", measured, "columns, built beforehand", least=0.5),
        compare("bus → ClickHouse, before the bars", measured, "columns", ours="without bars"),
        compare("bus → ClickHouse, before the bars", measured, "columns, built beforehand", ours="without bars"),
    ]


async def _empty(store: Store) -> None:
    for table in ("trades", "bars"):
        await store.execute(f"TRUNCATE TABLE {table}")


async def _ours(inserts: Store, closings: Store, batches: Sequence[list[bytes]], *, closes: bool) -> None:
    touched = TouchedMinutes(grace=0, quiet=0)
    touched.reached = math.inf
    bus: Any = tape.Deaf()
    writer = Writer(inserts, bus, touched)
    for values in batches:
        await writer.write(tape.batch(values))
    if closes:
        await tape.close_all(Closing(closings, bus, touched, lambda: tape.EVERYTHING))


def _by_rows(client: Client, batches: Sequence[list[bytes]]) -> None:
    for values in batches:
        rows: list[list[Any]] = []
        for value in values:
            batch = TRADES.codec.decode(value)
            rows += [
                [batch.exchange, batch.symbol, i, "", t, p, q, s, r, 1]
                for i, t, p, q, s, r in zip(*batch.columns(), strict=True)
            ]
        client.insert("trades", rows, column_names=_NAMES, column_type_names=_TYPES)


async def _by_columns(store: Store, batches: Sequence[list[bytes]]) -> None:
    for values in batches:
        await store.insert("trades", _table(values))


async def _prebuilt(store: Store, tables: Sequence[pa.Table]) -> None:
    for table in tables:
        await store.insert("trades", table)


def _table(values: Sequence[bytes]) -> pa.Table:
    """Records of the bus as the columns of `trades`, by way of lists."""
    records = [TRADES.codec.decode(value) for value in values]
    lists = [batch.columns() for batch in records]

    def joined(column: str, kind: pa.DataType) -> pa.Array[Any]:
        return pa.array(list(chain.from_iterable(getattr(columns, column) for columns in lists)), kind)

    sizes = [len(batch) for batch in records]
    rows = sum(sizes)
    return pa.table(
        {
            "exchange": _names([batch.exchange for batch in records], sizes),
            "symbol": _names([batch.symbol for batch in records], sizes),
            "trade_seq": joined("trade_id", pa.uint64()),
            "trade_uid": pa.array([""] * rows, pa.string()),
            "time": joined("time", pa.int64()).cast(_TIME),
            "price": joined("price", pa.string()).cast(_DECIMAL),
            "quantity": joined("quantity", pa.string()).cast(_DECIMAL),
            "side": joined("side", pa.int8()),
            "time_received": joined("time_received", pa.int64()).cast(_TIME),
            "source": pa.array([1] * rows, pa.uint8()),
        }
    )


def _names(names: Sequence[str], sizes: Sequence[int]) -> pa.Array[Any]:
    places = list(chain.from_iterable([place] * size for place, size in enumerate(sizes)))
    return pa.array(names, pa.string()).take(pa.array(places, pa.int32())).dictionary_encode()
