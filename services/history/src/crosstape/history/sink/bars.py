"""Bars of the tape against those that are stored: which changed, as columns of the store and as bars that are told.

Pure. The tables are as `tape_minutes` and `stored_minutes` answer them, numbers as their canonical text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crosstape.common.market.bar import Bar, BarStatus
from crosstape.common.market.trade import TradeId
from crosstape.history.columns import PRICE, VOLUME
from crosstape.history.sink.touched import Minute

_TYPES = {
    "interval": pa.uint32(),
    "open": PRICE,
    "high": PRICE,
    "low": PRICE,
    "close": PRICE,
    "volume": VOLUME,
    "volume_delta": VOLUME,
    "volume_unknown": VOLUME,
    "trades": pa.uint64(),
}

INTERVALS = {1: "1s", 60: "1m"}

_PLACE = ("exchange", "symbol", "interval", "open_time")
"""The first columns say which bar it is, the others what is in it."""


def changed_bars(tape: pa.Table, stored: pa.Table, late: Iterable[Minute] = ()) -> pa.Table:
    """The bars of `tape` that `stored` does not hold already, and an empty one for each that has no trade any more,
    with the `revision` that each of them is: 0 for a new one, 1 where it is one of the minutes that are `late`, as what
    was told without it is changed."""
    known_places, places = _places(stored), _places(tape)
    known = stored.take(pc.index_in(places, value_set=known_places))
    before: Any = known.column("revision")
    is_same: Any = pc.is_valid(before)
    for name in tape.column_names:
        is_equal: Any = pc.equal(tape.column(name), known.column(name))
        is_same = pc.and_(is_same, is_equal.fill_null(False))
    late_places = pa.array([f"{exchange} {symbol} 60 {minute}" for exchange, symbol, minute in late], pa.string())
    first = pc.is_in(places, value_set=late_places).cast(pa.uint32())
    revision = pc.coalesce(pc.add(before, 1).cast(pa.uint32()), first)
    changed = tape.append_column("revision", revision).filter(pc.invert(is_same))
    gone = stored.filter(pc.invert(pc.is_in(known_places, value_set=places))).filter(pc.field("trades") > 0)
    return pa.concat_tables([changed, _emptied(gone, changed.schema)]) if gone.num_rows else changed


def with_stored(changed: pa.Table, stored: pa.Table, wanted: Iterable[str]) -> pa.Table:
    """`changed`, and of `stored` the bars at the places `wanted` that are not among them, by market, minutes first."""
    names = _places(stored)
    is_wanted = pc.is_in(names, value_set=pa.array(wanted, pa.string()))
    is_changed = pc.is_in(names, value_set=_places(changed))
    found = stored.filter(pc.and_not(is_wanted, is_changed)).select(changed.column_names)
    both = pa.concat_tables([changed, found.cast(changed.schema)])
    return both.sort_by([(name, "descending" if name == "interval" else "ascending") for name in _PLACE])


def bar_places(bars: pa.Table) -> list[str]:
    """Which bar each row is."""
    return [str(place) for place in _places(bars).to_pylist()]


def _places(bars: pa.Table) -> pa.Array[Any]:
    """Which bar each row is, as one text: names hold no space."""
    columns: list[Any] = [bars.column(name).cast(pa.string()) for name in _PLACE]
    places: pa.Array[Any] = pc.binary_join_element_wise(*columns, " ").combine_chunks()
    return places


def _emptied(bars: pa.Table, schema: pa.Schema) -> pa.Table:
    """The bars with nothing in them, one revision on."""
    columns = []
    for field in schema:
        column: Any = bars.column(field.name)
        if field.name == "revision":
            column = pc.add(column, 1)
        elif field.name not in _PLACE:
            nothing = "" if field.name.endswith("uid") else "0"
            column = pa.repeat(pa.scalar(nothing).cast(field.type), bars.num_rows)
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)


def bar_columns(changed: pa.Table, partitions: int) -> pa.Table:
    """The same rows as `bars` takes them, closed while the trades' topic had so many partitions: the texts as decimals,
    the open time as a time."""
    columns = {name: changed.column(name).cast(kind) for name, kind in _TYPES.items()}
    open_time = changed.column("open_time").cast(pa.int64()).cast(pa.timestamp("s", "UTC"))
    kept = {name: changed.column(name) for name in changed.column_names}
    topic = pa.repeat(pa.scalar(partitions, pa.uint32()), changed.num_rows)
    return pa.table(kept | columns | {"open_time": open_time, "partitions": topic})


def bars_by_market(rows: Iterable[Sequence[Any]]) -> dict[tuple[str, str], list[Bar]]:
    """Rows in the order of `changed_bars`' columns as bars, without those that have no trade any more."""
    markets: dict[tuple[str, str], list[Bar]] = {}
    for exchange, symbol, interval, *values, trades, seq, uid, last_seq, last_uid, revision in rows:
        bars = markets.setdefault((exchange, symbol), [])
        if trades:
            status = BarStatus.REVISED if revision else BarStatus.FINAL
            first, last = _trade_id(seq, uid), _trade_id(last_seq, last_uid)
            fields = (exchange, symbol, INTERVALS[interval], *values, trades, first, last, status, revision)
            bars.append(Bar(*fields))
    return markets


def _trade_id(sequence: int, text: str) -> TradeId:
    return text or sequence
