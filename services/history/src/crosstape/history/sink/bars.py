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
from crosstape.history.sink.rows import PRICE, VOLUME

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


def changed_bars(tape: pa.Table, stored: pa.Table) -> pa.Table:
    """The bars of `tape` that `stored` does not hold already, and an empty one for each that has no trade any more,
    with the `revision` that each of them is."""
    known_places, places = _places(stored), _places(tape)
    known = stored.take(pc.index_in(places, value_set=known_places))
    before: Any = known.column("revision")
    is_same: Any = pc.is_valid(before)
    for name in tape.column_names:
        is_equal: Any = pc.equal(tape.column(name), known.column(name))
        is_same = pc.and_(is_same, is_equal.fill_null(False))
    revision = pc.add(before, 1).fill_null(0).cast(pa.uint32())
    changed = tape.append_column("revision", revision).filter(pc.invert(is_same))
    gone = stored.filter(pc.invert(pc.is_in(known_places, value_set=places))).filter(pc.field("trades") > 0)
    return pa.concat_tables([changed, _emptied(gone, changed.schema)]) if gone.num_rows else changed


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


def bar_columns(changed: pa.Table) -> pa.Table:
    """The same rows as `bars` takes them: the texts as decimals, the open time as a time."""
    columns = {name: changed.column(name).cast(kind) for name, kind in _TYPES.items()}
    open_time = changed.column("open_time").cast(pa.int64()).cast(pa.timestamp("s", "UTC"))
    kept = {name: changed.column(name) for name in changed.column_names}
    return pa.table(kept | columns | {"open_time": open_time})


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
