"""Bars in the four shapes the platform has: recorded bars, the exchanges' own candles, and seed 2's candles."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from crosstape.client.calls import LARGEST_PAGE, Call, Paged, columns_of, get, path
from crosstape.client.times import Time, date_text, time_text, utc

Interval = Literal["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
Fill = Literal["none", "zero", "ffill"]


class Bar(Struct, frozen=True, kw_only=True):
    """One interval of the tape. `timestamp` is Unix seconds of its open.

    `volume_delta` = taker-buy minus taker-sell volume; `volume_unknown` is the part of `volume` whose side the exchange
    does not tell. `provisional` while open, `final` once, `revised` when a late trade changed it (`revision` counts).
    `filled`: nobody traded, and the caller asked for a bar all the same.
    """

    timestamp: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    volume_delta: Decimal
    trades: int
    status: Literal["provisional", "final", "revised"]
    revision: int
    volume_unknown: Decimal = Decimal(0)
    filled: bool = False

    @property
    def open_time(self) -> dt.datetime:
        return utc(self.timestamp)


class BarPage(Struct, frozen=True):
    """A page of bars, oldest first."""

    exchange: str
    symbol: str
    bars: tuple[Bar, ...]
    next_cursor: str | None = None

    @property
    def rows(self) -> tuple[Bar, ...]:
        return self.bars


class Kline(Struct, frozen=True):
    """A candle as the exchange itself reports it. `timestamp` is Unix milliseconds of its open."""

    timestamp: int
    date: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Candle(Struct, frozen=True):
    """A bar of a symbol that names its exchange. `candle_time` is the open in UTC, without a zone."""

    candle_time: str
    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    @property
    def open_time(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.candle_time).replace(tzinfo=dt.UTC)


class CandleMetadata(Struct, frozen=True):
    """Of a page of candles: `total_records` match in all."""

    total_records: int
    limit: int
    offset: int
    has_more: bool
    query_time_ms: float
    timestamp: dt.datetime


class Candles(Struct, frozen=True):
    """A page of candles, oldest first."""

    data: tuple[Candle, ...]
    metadata: CandleMetadata


def ohlcv(
    exchange: str,
    symbol: str,
    *,
    interval: Interval = "1m",
    start: Time | None = None,
    end: Time | None = None,
    limit: int | None = None,
    fill: Fill = "none",
) -> Paged[BarPage, Bar]:
    """Bars that open in [start, end), oldest first; without `start` the latest `limit` (1000 if left out, 10,000 at
    most).

    `limit` is the most bars of all pages together. `fill` says what stands in intervals in which nobody traded.
    """
    first = get(
        path("api", "v1", "ohlcv", exchange, symbol),
        BarPage,
        interval=interval,
        start=None if start is None else time_text(start),
        end=None if end is None else time_text(end),
        limit=page_limit(limit, has_start=start is not None),
        fill=None if fill == "none" else fill,
    )
    columns = columns_of(Bar, without="filled" if fill == "none" else "")
    return Paged(first, columns, limit, is_exported=start is not None and limit is None and fill == "none")


def klines(
    exchange: str,
    symbol: str,
    *,
    interval: Interval = "1d",
    start_date: Time | dt.date | None = None,
    end_date: Time | dt.date | None = None,
) -> Call[list[Kline]]:
    """The exchange's own candles, of any time, oldest first; a bare end date includes its day."""
    return get(
        path("klines", exchange, symbol),
        list[Kline],
        interval=interval,
        start_date=None if start_date is None else date_text(start_date),
        end_date=None if end_date is None else date_text(end_date),
    )


def candles(
    symbol: str,
    *,
    start: Time,
    end: Time | None = None,
    interval: Interval = "1m",
    limit: int = 1_000,
    offset: int = 0,
) -> Call[Candles]:
    """One page of the candles of a symbol that names its exchange (`BINANCE:BTCUSDT.P`), by offset."""
    return get(
        "/api/v1/ohlcv",
        Candles,
        symbol=symbol,
        start=time_text(start),
        end=None if end is None else time_text(end),
        interval=interval,
        limit=limit,
        offset=offset,
    )


def latest_candle(symbol: str, *, interval: Interval = "1m") -> Call[Candles]:
    """The most recent candle. Raises DataNotFound when there is none."""
    return get("/api/v1/ohlcv/latest", Candles, symbol=symbol, interval=interval)


def page_limit(limit: int | None, *, has_start: bool) -> int | None:
    """Rows to ask for at once: of a whole range the largest page, of the latest rows what the platform gives, which is
    one page. Raises ValueError for more of the latest than that."""
    if limit is None:
        return LARGEST_PAGE if has_start else None
    if limit > LARGEST_PAGE and not has_start:
        raise ValueError(f"The latest rows are {LARGEST_PAGE} at most: give a start for more.")
    return min(limit, LARGEST_PAGE)
