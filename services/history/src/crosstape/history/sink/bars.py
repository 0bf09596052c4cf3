"""Bars of the tape against those that are stored: which changed, as columns of the store and as bars that are told.

Pure. The tables are as `tape_minutes` and `stored_minutes` answer them, numbers as their canonical text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa

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

_PLACE = 4
"""The first columns say which bar it is, the others what is in it."""

_NOTHING = ("0", "0", "0", "0", "0", "0", "0", 0, 0, "", 0, "")
"""A bar whose last trade left it."""


def changed_bars(tape: pa.Table, stored: pa.Table) -> pa.Table:
    """The bars of `tape` that `stored` does not hold already, and an empty one for each that has no trade any more,
    with the `revision` that each of them is."""
    known = {row[:_PLACE]: row[_PLACE:] for row in _rows(stored)}
    if not known:
        return tape.append_column("revision", pa.repeat(pa.scalar(0, pa.uint32()), tape.num_rows))
    changed = []
    for row in _rows(tape):
        *values, revision = known.pop(row[:_PLACE], (-1,))
        if tuple(values) != row[_PLACE:]:
            changed.append((*row, revision + 1))
    changed += [
        (*place, *_NOTHING, revision + 1) for place, (*values, revision) in known.items() if tuple(values) != _NOTHING
    ]
    columns = zip(*changed, strict=True) if changed else [()] * len(stored.schema)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, stored.schema, strict=True)], schema=stored.schema)


def _rows(table: pa.Table) -> Iterable[tuple[Any, ...]]:
    return zip(*table.to_pydict().values(), strict=True)


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
