"""Rows of `changed_bars` to columns of the store and to the bars that are told."""

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
