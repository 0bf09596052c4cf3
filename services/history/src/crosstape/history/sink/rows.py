"""Records of the bus to columns of the store. Text becomes a number here, exactly once; what cannot is rejected."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from crosstape.common.market.decimals import INTEGER_DIGITS, SCALE
from crosstape.common.market.ledger import Coverage, Gap
from crosstape.common.market.soundness import DAY, EARLIEST, LARGEST, is_id, is_name
from crosstape.common.market.trade import TradeBatch, trade_id, unpack
from crosstape.exchanges.times import MILLISECOND
from crosstape.history.columns import PRICE
from crosstape.history.sink.soundness import Unsound

NANOSECOND_TIME = pa.timestamp("ns", "UTC")

_NO_DECIMAL = rf"(?m)[^0-9.\n]|[0-9]{{{INTEGER_DIGITS + 1}}}|\.[0-9]{{{SCALE + 1}}}|^[0.]*$|^\.|\.$|\.[0-9]*\."
"""What stands in lines of which one is no positive decimal. Arrow's expressions take half the time of Python's."""

MINUTE = 60_000_000_000
SECOND = 1_000_000_000


class MinuteRows(Struct, frozen=True):
    """What one insert brings to one minute (Unix s) of one market; `since` is the second of the first of it."""

    exchange: str
    symbol: str
    minute: int
    first_seq: int
    last_seq: int
    rows: int
    since: int


class TradeRows(Struct, frozen=True):
    """One insert into `trades`, and which minutes it touches."""

    table: pa.Table
    minutes: list[MinuteRows]


def trade_rows(batches: Sequence[TradeBatch], now: int) -> TradeRows:
    """Batches as one insert at `now` (ns). Raises Unsound when they hold anything that the tape cannot.

    What was packed for the bus becomes Arrow's without being looked at. Soundness is judged on whole columns, where it
    is nearly free; `accept` then finds the rows that are not.
    """
    sizes = [len(batch.side) for batch in batches]
    markets: dict[tuple[str, str], int] = {}
    market = _repeated(
        [markets.setdefault((batch.exchange, batch.symbol), len(markets)) for batch in batches], sizes, pa.int32()
    )
    sequence, texts = _ids(batches)
    time = _integers(batch.time for batch in batches)
    price = _decimals([batch.price for batch in batches])
    quantity = _decimals([batch.quantity for batch in batches])
    side = _numbers(b"".join([batch.side for batch in batches]), pa.int8())
    received = _integers(batch.time_received for batch in batches)
    are_sound = (
        all(is_name(name) for market in markets for name in market)
        and all(text == "" or is_id(text) for text in texts)
        and _lie_in(sequence, 0, LARGEST)
        and _lie_in(time, EARLIEST, now + DAY)
        and _lie_in(received, 0, LARGEST)
        and _lie_in(side, -1, 1)
    )
    if not are_sound:
        raise Unsound("a value is out of range")
    table = pa.table(
        {
            "exchange": _names([exchange for exchange, _ in markets], market),
            "symbol": _names([symbol for _, symbol in markets], market),
            "trade_seq": sequence.cast(pa.uint64()),
            "trade_uid": pa.array(texts, pa.string()) if texts else pa.repeat("", len(sequence)),
            "time": time.cast(NANOSECOND_TIME),
            "price": price,
            "quantity": quantity,
            "side": side,
            "time_received": received.cast(NANOSECOND_TIME),
            "source": _repeated([batch.source for batch in batches], sizes, pa.uint8()),
        }
    )
    return TradeRows(table, _minutes(list(markets), market, time, sequence))


def _ids(batches: Sequence[TradeBatch]) -> tuple[pa.Array[Any], list[str]]:
    """Each trade's number and text; no texts at all where all ids are numbers. Raises Unsound for an empty id."""
    packed = [batch.trade_id for batch in batches if isinstance(batch.trade_id, bytes)]
    if len(packed) == len(batches):
        return _integers(packed), []
    sequence = array("q")
    texts: list[str] = []
    for batch in batches:
        if isinstance(batch.trade_id, bytes):
            sequence += unpack(batch.trade_id)
            texts += [""] * len(batch)
        elif "" in batch.trade_id:
            raise Unsound("an empty id")
        else:
            known = [*map(trade_id, batch.trade_id)]
            texts += ["" if isinstance(i, int) else i for i in known]
            times = unpack(batch.time)
            sequence.extend(i if isinstance(i, int) else at // MILLISECOND for i, at in zip(known, times, strict=True))
    return _numbers(sequence, pa.int64()), texts


def _decimals(lines: list[str]) -> pa.Array[Any]:
    """Joined columns of decimal text as numbers. Raises Unsound for a text that is none of the tape's: Arrow alone
    would take `1e5` and `.5` as well."""
    text = pa.array(["\n".join(lines)] if lines else [], pa.string())
    if pc.any(pc.match_substring_regex(text, _NO_DECIMAL)).as_py():
        raise Unsound("no decimal")
    return pc.split_pattern(text, "\n").flatten().cast(PRICE)


def _integers(packed: Iterable[bytes]) -> pa.Array[Any]:
    return _numbers(unpack(b"".join(packed)), pa.int64())


def _numbers(values: array[int] | bytes, kind: pa.DataType) -> pa.Array[Any]:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def _repeated(values: Sequence[int], times: Sequence[int], kind: pa.DataType) -> pa.Array[Any]:
    """Each of `values` as many times as its place in `times` says."""
    ends = pa.array(accumulate(times), pa.int32())
    runs: pa.Array[Any] = pa.RunEndEncodedArray.from_arrays(ends, pa.array(values, kind))
    repeated: pa.Array[Any] = pc.call_function("run_end_decode", [runs])
    return repeated


def _lie_in(numbers: pa.Array[Any], least: int, greatest: int) -> bool:
    if not len(numbers):
        return True
    found: Any = pc.min_max(numbers).as_py()
    return bool(least <= found["min"] and found["max"] <= greatest)


def _names(of_markets: Sequence[str], market: pa.Array[Any]) -> pa.Array[Any]:
    places = {name: place for place, name in enumerate(dict.fromkeys(of_markets))}
    indices = pa.array([places[name] for name in of_markets], pa.int32()).take(market)
    return pa.DictionaryArray.from_arrays(indices, pa.array(places, pa.string()))


def _minutes(
    markets: Sequence[tuple[str, str]], market: pa.Array[Any], time: pa.Array[Any], sequence: pa.Array[Any]
) -> list[MinuteRows]:
    minute = pc.multiply(pc.divide(time, MINUTE), 60)
    touched = (
        pa.table({"market": market, "minute": minute, "sequence": sequence, "time": time})
        .group_by(["market", "minute"])
        .aggregate([("sequence", "min"), ("sequence", "max"), ("sequence", "count"), ("time", "min")])
    )
    return [
        MinuteRows(markets[index][0], markets[index][1], minute, first, last, count, earliest // SECOND)
        for index, minute, first, last, count, earliest in zip(*touched.to_pydict().values(), strict=True)
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
