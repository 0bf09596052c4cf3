"""Seed 1's candles: the exchange's own, of any time, each range fetched once and kept. Only closed ones are kept."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.bar import Interval
from crosstape.common.market.decimals import decimal_text
from crosstape.common.time import UserTime, parse_time
from crosstape.exchanges.dialect import Kline
from crosstape.exchanges.times import MILLISECOND
from crosstape.history.api import examples
from crosstape.history.api.markets import Market
from crosstape.history.api.parameters import Numbers
from crosstape.history.api.resources import Context, Resources
from crosstape.history.api.spans import Span, Spans

router = APIRouter(tags=["klines"])

MOST_KLINES = 10_000
DEFAULT_KLINES = 500
DAY_SECONDS = 86_400
PRICE = pa.decimal128(38, 18)
MILLISECONDS = pa.timestamp("ms", "UTC")


class _Asked(BaseModel):
    start_date: str | None = Field(None, description="first open time: 2025-01-01, or ISO 8601", max_length=64)
    end_date: str | None = Field(
        None, description="end, exclusive; a bare date includes its day; now if left out", max_length=64
    )
    interval: Interval = Field(Interval.D1, description="length of a candle")
    numbers: Numbers = "number"


@router.get(
    "/klines/{exchange}/{symbol:path}", summary="The exchange's own candles, of any time", responses=examples.KLINES
)
async def klines(
    context: Context, response: Response, exchange: str, symbol: str, asked: Annotated[_Asked, Query()]
) -> Response:
    now = time.time_ns() // MILLISECOND
    market = await context.markets.resolve_any(exchange, symbol)
    source = source_interval(asked.interval, await context.exchanges.intervals(market.exchange))
    start, end = kline_range(asked, now, response)
    if source is not asked.interval:
        start, end = _whole_bars(asked.interval, start, min(end, now))
    if (end - start) // (source.seconds * 1000) > MOST_KLINES:
        raise ValidationFailed(
            f"the range holds more than {MOST_KLINES} candles of {source}.",
            {"parameter": "end_date", "max_candles": MOST_KLINES},
        )
    place = {"exchange": market.exchange, "symbol": market.symbol, "interval": source.value}
    held = Spans(await context.reads.rows("kline_ranges", **place, start=start, end=end))
    still_open: list[Kline] = []
    for lacking in held.lacking(start, end):
        still_open += await _fetch(context, market, source, lacking, now)
    quoted = asked.numbers == "string"
    if source is asked.interval:
        lines = await context.reads.json_lines("klines", quote_decimals=quoted, **place, start=start, end=end)
        lines += [_line(kline, quoted) for kline in still_open]
    else:
        lines = await context.reads.json_lines(
            "rolled_klines", quote_decimals=quoted, seconds=asked.interval.seconds, **place, start=start, end=end
        )
    return Response(b"[" + b",".join(lines) + b"]", headers=dict(response.headers), media_type="application/json")


def source_interval(wanted: Interval, offered: Sequence[Interval]) -> Interval:
    """The candles that answer for `wanted`: themselves, or the longest shorter ones that fill them exactly.

    Raises ValidationFailed, which names what the exchange has.
    """
    if wanted in offered:
        return wanted
    parts = [
        interval
        for interval in offered
        if interval.seconds < wanted.seconds
        and wanted.seconds % interval.seconds == 0
        and (interval.seconds <= DAY_SECONDS if wanted in (Interval.W1, Interval.MO1) else True)
    ]
    if not parts:
        raise ValidationFailed(
            f"the exchange has no candles of {wanted}; it has {', '.join(offered)}.",
            {"parameter": "interval", "intervals": list(offered)},
        )
    return max(parts, key=lambda interval: interval.seconds)


def kline_range(asked: _Asked, now: int, response: Response) -> Span:
    """The open times [start, end) in ms that are asked for. Raises InvalidTimeFormat, ValidationFailed."""
    first = None if asked.start_date is None else parse_time(asked.start_date, date=True)
    last = None if asked.end_date is None else parse_time(asked.end_date, date=True)
    if any(moment is not None and moment.is_legacy for moment in (first, last)):
        response.headers["Deprecation"] = "true"
    end = now if last is None else min(_milliseconds(last) + (DAY_SECONDS * 1000 if last.is_date else 0), now)
    if first is None:
        return max(0, end - DEFAULT_KLINES * asked.interval.seconds * 1000), end
    start = _milliseconds(first)
    if last is not None and _milliseconds(last) < start:
        raise ValidationFailed("end_date must not be before start_date.", {"parameter": "end_date"})
    return start, max(start, end)


def _milliseconds(moment: UserTime) -> int:
    return -(-moment.nanoseconds // MILLISECOND)


def _whole_bars(interval: Interval, start: int, end: int) -> Span:
    """The part of [start, end) ms that whole bars of `interval` make up."""
    first = interval.open_time(start // 1000)
    if first * 1000 < start:
        first = interval.close_time(first)
    return first * 1000, max(first, interval.open_time(end // 1000)) * 1000


async def _fetch(context: Resources, market: Market, interval: Interval, part: Span, now: int) -> list[Kline]:
    """Ask the exchange for [start, end) ms, keep what is closed, return what is not."""
    start, end = part
    found = await context.exchanges.klines(market.instrument, interval, start, end)
    closed_before = now - interval.seconds * 1000
    closed = [kline for kline in found if kline.open_time <= closed_before]
    place = {"exchange": market.exchange, "symbol": market.symbol, "interval": interval.value}
    if closed:
        await context.reads.insert("klines", _rows(closed, place))
    if (held_until := min(end, closed_before)) > start:
        times = {"start": [start], "end": [held_until]}
        held = {name: pa.array(values, pa.int64()).cast(MILLISECONDS) for name, values in times.items()}
        await context.reads.insert("kline_ranges", pa.table({name: [value] for name, value in place.items()} | held))
    return [kline for kline in found if kline.open_time > closed_before]


def _rows(klines: Sequence[Kline], place: dict[str, str]) -> pa.Table:
    columns: dict[str, Any] = {name: pa.array([value] * len(klines)) for name, value in place.items()}
    columns["open_time"] = pa.array([kline.open_time for kline in klines], pa.int64()).cast(MILLISECONDS)
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = pa.array([getattr(kline, name) for kline in klines], pa.string()).cast(PRICE)
    return pa.table(columns)


def _line(kline: Kline, quoted: bool) -> bytes:
    """A candle as the store writes them."""
    opened = dt.datetime.fromtimestamp(kline.open_time / 1000, dt.UTC)
    numbers = {name: decimal_text(Decimal(getattr(kline, name))) for name in ("open", "high", "low", "close", "volume")}
    shown = numbers if quoted else {name: msgspec.Raw(text.encode()) for name, text in numbers.items()}
    return msgspec.json.encode({"timestamp": kline.open_time, "date": opened.strftime("%Y-%m-%d %H:%M:%S"), **shown})
