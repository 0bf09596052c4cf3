"""Bars: seed 0's route by exchange and symbol, seed 2's by a symbol that names its exchange."""

from __future__ import annotations

import datetime as dt
import time
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from crosstape.common.errors import DataNotFound, ValidationFailed
from crosstape.common.market.bar import NANOSECONDS, Interval
from crosstape.common.time import iso_milliseconds
from crosstape.common.web.layout import layout_of
from crosstape.history.api import examples
from crosstape.history.api.answers import json_response, page_response, tell_quote_alias
from crosstape.history.api.bars import BarQuery, BarRow, bar_rows, count_bars, newest_bars, oldest_bars, traded_lately
from crosstape.history.api.cursor import BarCursor, bar_cursor, encode_cursor
from crosstape.history.api.export import export_bars
from crosstape.history.api.fill import Fill, empty_span, fill_bars, fillable, newest_intervals, oldest_intervals
from crosstape.history.api.ledger import read_ledger
from crosstape.history.api.markets import Market
from crosstape.history.api.parameters import (
    DEFAULT_LIMIT,
    Bars,
    Limit,
    Numbers,
    Offset,
    PageParameters,
    Parameters,
    SymbolText,
    TimeText,
    check_days,
    time_range,
)
from crosstape.history.api.resources import Context, Resources
from crosstape.history.api.spans import Spans

router = APIRouter(tags=["ohlcv"])

SEED_FIELDS = ("candle_time", "symbol", "open", "high", "low", "close", "volume")
BAR_FIELDS = ("volume_delta", "volume_unknown", "trades", "status", "revision")
MORE_FIELDS = (*BAR_FIELDS, "quote_alias")
MOST_DAYS_OF_SECONDS = 31
"""Counting all matches reads them all."""


class _Shape(Parameters):
    symbol: SymbolText
    interval: Bars = Interval.M1
    fields: str = Field(
        "", description=f"further fields, comma-separated, of: {', '.join(MORE_FIELDS)}", max_length=200
    )
    numbers: Numbers = "number"


class _OffsetPage(_Shape):
    start: TimeText = Field(description="first open time, ISO 8601 or the deprecated YYYYMMDD-HHmm")
    end: TimeText | None = Field(None, description="exclusive end; now if left out")
    limit: Limit = DEFAULT_LIMIT
    offset: Offset = 0


class _CursorPage(PageParameters):
    interval: Bars = Interval.M1
    fill: Fill = Field(
        Fill.NONE,
        description="what stands where nobody traded; never where nobody listened or trades lack, nor in a file",
    )


@router.get(
    "/api/v1/ohlcv", summary="Bars of a symbol that names its exchange, paged by offset", responses=examples.CANDLES
)
async def ohlcv(context: Context, response: Response, asked: Annotated[_OffsetPage, Query()]) -> Response:
    started = time.perf_counter()
    span = time_range(asked.start, asked.end, response, unix=False)
    if asked.interval is Interval.S1:
        check_days(span, MOST_DAYS_OF_SECONDS)
    more = _fields(asked.fields)
    market = await context.markets.resolve_anywhere(asked.symbol)
    query = BarQuery(market, asked.interval, *span.seconds, quote_decimals=asked.numbers == "string")
    lines = await oldest_bars(context.reads, query, context.closed, limit=asked.limit, offset=asked.offset)
    total = await count_bars(context.reads, query)
    tell_quote_alias(market, response)
    data = [_candle(row, asked.symbol, market, more) for row in bar_rows(lines)]
    return _seed_body(data, total, asked.limit, asked.offset, started, response)


@router.get(
    "/api/v1/ohlcv/latest",
    summary="The most recent bar of a symbol that names its exchange",
    responses=examples.LATEST_CANDLE,
)
async def latest_bar(context: Context, response: Response, asked: Annotated[_Shape, Query()]) -> Response:
    started = time.perf_counter()
    more = _fields(asked.fields)
    market = await context.markets.resolve_anywhere(asked.symbol)
    query = BarQuery(market, asked.interval, 0, int(time.time()) + 1, quote_decimals=asked.numbers == "string")
    lines = await newest_bars(context.reads, query, context.closed, limit=1)
    if not lines:
        raise DataNotFound(f"No data found for symbol {asked.symbol}", {"symbol": asked.symbol})
    tell_quote_alias(market, response)
    data = [_candle(row, asked.symbol, market, more) for row in bar_rows(lines)]
    return _seed_body(data, 1, 1, 0, started, response)


@router.get(
    "/api/v1/ohlcv/{exchange}/{symbol:path}", summary="Bars with volume delta, paged by cursor", responses=examples.BARS
)
async def bars(
    context: Context,
    response: Response,
    exchange: str,
    symbol: str,
    asked: Annotated[_CursorPage, Query()],
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    span = time_range(asked.start, asked.end, response, unix=True)
    layout = layout_of(accept)
    if layout is not None and asked.fill is not Fill.NONE:
        raise ValidationFailed(
            "A file has no filled bars: leave fill out, or ask for application/json.", {"parameter": "fill"}
        )
    market = await context.markets.resolve(exchange, symbol)
    query = BarQuery(market, asked.interval, *span.seconds, quote_decimals=asked.numbers == "string")
    if asked.cursor is not None:
        query = msgspec.structs.replace(query, start=bar_cursor(asked.cursor).open_time)
    if layout is not None:
        tell_quote_alias(market, response)
        return await export_bars(context.exports, query, context.closed, layout, response.headers)
    is_latest = span.start is None and asked.cursor is None
    if asked.fill is not Fill.NONE:
        lines, following = await _filled_page(context, query, asked.fill, asked.limit, is_latest=is_latest)
    elif is_latest:
        lines, following = await newest_bars(context.reads, query, context.closed, limit=asked.limit), None
    else:
        lines, following = await _page(context, query, asked.limit)
    next_page = None if following is None else encode_cursor(BarCursor(following))
    return page_response(market, symbol, "bars", lines, next_page, response.headers)


async def _page(context: Resources, query: BarQuery, limit: int) -> tuple[list[bytes], int | None]:
    lines = await oldest_bars(context.reads, query, context.closed, limit=limit + 1)
    if len(lines) <= limit:
        return lines, None
    return lines[:limit], bar_rows(lines[limit:])[0].timestamp


async def _filled_page(
    context: Resources, query: BarQuery, fill: Fill, limit: int, *, is_latest: bool
) -> tuple[list[bytes], int | None]:
    """A page of `limit` intervals; those that are empty and were not listened to are left out of it."""
    page = newest_intervals(query, limit) if is_latest else oldest_intervals(query, limit)
    stored_until = await context.closed.stored_until(context.reads, query.market, page.last_close)
    rows = bar_rows(await oldest_bars(context.reads, page, context.closed, limit=limit))
    close_before = None
    if fill is Fill.FFILL:
        before = msgspec.structs.replace(query, start=0, end=page.first_open)
        lines = await newest_bars(context.reads, before, context.closed, limit=1)
        close_before = next((row.close for row in bar_rows(lines)), None)
    certain = Spans(())
    if (empty := empty_span(rows, page)) is not None:
        ledger = await read_ledger(context.reads, query.market, *empty)
        opened = await traded_lately(context.reads, query.market, query.base, *empty)
        certain = fillable(ledger, ((one * NANOSECONDS, (one + query.base) * NANOSECONDS) for one in opened))
    filled = fill_bars(rows, page, certain, fill, close_before, stored_until)
    following = page.end if page.end < query.end and not is_latest else None
    return [msgspec.json.encode(bar) for bar in filled], following


def _fields(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in MORE_FIELDS + SEED_FIELDS]:
        raise ValidationFailed(
            f"fields must be of: {', '.join(MORE_FIELDS)}.", {"parameter": "fields", "unknown": unknown[:5]}
        )
    return [name for name in dict.fromkeys(names) if name in MORE_FIELDS]


def _candle(row: BarRow, symbol: str, market: Market, more: list[str]) -> dict[str, Any]:
    candle: dict[str, Any] = {
        "candle_time": dt.datetime.fromtimestamp(row.timestamp, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        "symbol": symbol,
        "open": row.open,
        "high": row.high,
        "low": row.low,
        "close": row.close,
        "volume": row.volume,
    }
    return candle | {name: getattr(row if name in BAR_FIELDS else market, name) for name in more}


def _seed_body(
    data: list[dict[str, Any]], total: int, limit: int, offset: int, started: float, response: Response
) -> Response:
    metadata = {
        "total_records": total,
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(data) < total,
        "query_time_ms": round((time.perf_counter() - started) * 1000, 1),
        "timestamp": iso_milliseconds(dt.datetime.now(dt.UTC)),
    }
    return json_response({"success": True, "data": data, "metadata": metadata}, response.headers)
