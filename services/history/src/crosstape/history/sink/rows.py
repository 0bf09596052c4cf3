"""Records of the bus to columns of the store. Text becomes a number here, exactly once; what cannot is rejected."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from crosstape.common.market.decimals import INTEGER_DIGITS, SCALE
from crosstape.common.market.ledger import Coverage, Gap
from crosstape.common.market.trade import TradeBatch, trade_id, unpack
from crosstape.history.sink.soundness import (
    DAY,
    EARLIEST,
    LARGEST_ID,
    LATEST_RECEIVED,
    Unsound,
    is_id,
    is_name,
)

PRICE = pa.decimal128(38, 18)
VOLUME = pa.decimal256(76, 18)
NANOSECOND_TIME = pa.timestamp("ns", "UTC")

LEAST = Decimal(1).scaleb(-SCALE)
GREATEST = Decimal(10) ** INTEGER_DIGITS - LEAST
"""What a price or a quantity can be."""

MINUTE = 60_000_000_000
MILLISECOND = 1_000_000


class MinuteRows(Struct, frozen=True):
    """What one insert brings to one minute (Unix s) of one market."""

    exchange: str
    symbol: str
    minute: int
    first_seq: int
    last_seq: int
    rows: int


class TradeRows(Struct, frozen=True):
    """One insert into `trades`, and which minutes it touches."""

    table: pa.Table
    minutes: list[MinuteRows]


def trade_rows(batches: Sequence[TradeBatch], now: int) -> TradeRows:
    """Batches as one insert at `now` (ns). Raises Unsound when they hold anything that the tape cannot.

    Soundness is judged on whole columns, where it is nearly free; `accept` then finds the rows that are not.
    """
    columns = _Columns()
    for batch in batches:
        columns.append(batch)
    return columns.rows(now)


class _Columns:
    """The columns of one insert as they grow: what was packed for the bus becomes Arrow's without being looked at."""

    def __init__(self) -> None:
        self._markets: dict[tuple[str, str], int] = {}
        self._market = array("i")
        self._sequence = array("q")
        self._text: list[str] = []
        self._time = array("q")
        self._price: list[str] = []
        self._quantity: list[str] = []
        self._side = array("b")
        self._received = array("q")
        self._source = array("B")

    def append(self, batch: TradeBatch) -> None:
        """Add `batch`. Raises Unsound for an id that is empty."""
        size = len(batch)
        market = self._markets.setdefault((batch.exchange, batch.symbol), len(self._markets))
        time = unpack(batch.time)
        self._append_ids(batch.trade_id, time)
        self._time += time
        self._side.frombytes(batch.side)
        self._received += unpack(batch.time_received)
        self._price.append(batch.price)
        self._quantity.append(batch.quantity)
        self._market.extend(array("i", (market,)) * size)
        self._source.extend(array("B", (batch.source,)) * size)

    def _append_ids(self, ids: bytes | list[str], time: array[int]) -> None:
        if isinstance(ids, bytes):
            self._sequence += unpack(ids)
            return
        if "" in ids:
            raise Unsound("an empty id")
        known = [*map(trade_id, ids)]
        self._text += [""] * (len(self._sequence) - len(self._text))
        self._text += ["" if isinstance(i, int) else i for i in known]
        self._sequence.extend(i if isinstance(i, int) else at // MILLISECOND for i, at in zip(known, time, strict=True))

    def rows(self, now: int) -> TradeRows:
        """The insert. Raises Unsound."""
        size = len(self._sequence)
        market, sequence = _numbers(self._market, pa.int32()), _numbers(self._sequence, pa.int64())
        time, received = _numbers(self._time, pa.int64()), _numbers(self._received, pa.int64())
        side = _numbers(self._side, pa.int8())
        texts = pa.array(self._text + [""] * (size - len(self._text))) if self._text else pa.repeat("", size)
        price, quantity = _decimals(self._price), _decimals(self._quantity)
        are_sound = (
            all(is_name(name) for market in self._markets for name in market)
            and all(text == "" or is_id(text) for text in self._text)
            and _lie_in(sequence, 0, LARGEST_ID)
            and _lie_in(time, EARLIEST, now + DAY)
            and _lie_in(received, 0, LATEST_RECEIVED)
            and _lie_in(side, -1, 1)
            and _lie_in(price, LEAST, GREATEST)
            and _lie_in(quantity, LEAST, GREATEST)
        )
        if not are_sound:
            raise Unsound("a value is out of range")
        table = pa.table(
            {
                "exchange": _names((exchange for exchange, _ in self._markets), market),
                "symbol": _names((symbol for _, symbol in self._markets), market),
                "trade_seq": sequence.cast(pa.uint64()),
                "trade_uid": texts,
                "time": time.cast(NANOSECOND_TIME),
                "price": price,
                "quantity": quantity,
                "side": side,
                "time_received": received.cast(NANOSECOND_TIME),
                "source": _numbers(self._source, pa.uint8()),
            }
        )
        return TradeRows(table, _minutes(list(self._markets), market, time, sequence))


def _decimals(lines: list[str]) -> pa.Array[Any]:
    """Joined columns of decimal text as numbers. Raises Unsound for a text that is none, or none that fits."""
    texts = pc.split_pattern(pa.array(["\n".join(lines)] if lines else [], pa.string()), "\n").flatten()
    try:
        return texts.cast(PRICE)
    except pa.ArrowInvalid as error:
        raise Unsound("no decimal") from error


def _numbers(values: array[int], kind: pa.DataType) -> pa.Array[Any]:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _lie_in(numbers: pa.Array[Any], least: int | Decimal, greatest: int | Decimal) -> bool:
    if not len(numbers):
        return True
    smallest, largest = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    return bool(least <= smallest and largest <= greatest)


def _names(of_markets: Iterable[str], market: pa.Array[Any]) -> pa.Array[Any]:
    return pa.array(of_markets, pa.string()).take(market).dictionary_encode()


def _minutes(
    markets: Sequence[tuple[str, str]], market: pa.Array[Any], time: pa.Array[Any], sequence: pa.Array[Any]
) -> list[MinuteRows]:
    minute = pc.multiply(pc.divide(time, MINUTE), 60)
    touched = (
        pa.table({"market": market, "minute": minute, "sequence": sequence})
        .group_by(["market", "minute"])
        .aggregate([("sequence", "min"), ("sequence", "max"), ("sequence", "count")])
    )
    return [
        MinuteRows(markets[index][0], markets[index][1], minute, first, last, count)
        for index, minute, first, last, count in zip(*touched.to_pydict().values(), strict=True)
    ]


def gap_rows(gaps: Sequence[Gap]) -> pa.Table:
    """Ledger events about holes as one insert; -1 stands for an id that there is none of."""
    return pa.table(
        {
            "exchange": [gap.exchange for gap in gaps],
            "symbol": [gap.symbol for gap in gaps],
            "first_id": pa.array([-1 if gap.first_id is None else gap.first_id for gap in gaps], pa.int64()),
            "last_id": pa.array([-1 if gap.last_id is None else gap.last_id for gap in gaps], pa.int64()),
            "start": _times(gap.start for gap in gaps),
            "end": _times(gap.end for gap in gaps),
            "cause": [gap.cause for gap in gaps],
            "state": [gap.state.value for gap in gaps],
            "trades": pa.array([max(0, gap.trades) for gap in gaps], pa.uint64()),
            "time": _times(gap.time for gap in gaps),
        }
    )


def coverage_rows(intervals: Sequence[Coverage]) -> pa.Table:
    """Ledger events about connections as one insert."""
    return pa.table(
        {
            "exchange": [interval.exchange for interval in intervals],
            "symbol": [interval.symbol for interval in intervals],
            "start": _times(interval.start for interval in intervals),
            "end": _times(interval.end for interval in intervals),
        }
    )


def _times(nanoseconds: Iterable[int]) -> pa.Array[Any]:
    return pa.array(nanoseconds, pa.int64()).cast(NANOSECOND_TIME)
