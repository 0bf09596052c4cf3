"""The schemas of the answers, for the API's document."""

from __future__ import annotations

import enum
from typing import Literal

from pydantic import Field

from crosstape.common.market.bar import BarStatus
from crosstape.common.web.described import Absent, Count, Described, Int64, Number, TradeId

_CURSOR = "`cursor` of the next page; null: there is none"


class _Market(Described):
    exchange: str
    symbol: str = Field(description="as it was asked for")
    canonical: str
    quote_alias: str | Absent = Field(None, description="the quote that stands in for the one asked for")


class Bar(Described):
    """A bar: a pure function of the trades in it."""

    timestamp: Int64 = Field(description="when it opens, Unix seconds")
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    volume_delta: Number = Field(description="taker-buy volume − taker-sell volume")
    trades: Count
    status: BarStatus
    revision: Count = Field(description="grows with every change after the bar was closed")
    volume_unknown: Number = Field(description="volume whose taker's side the exchange does not tell")
    filled: bool | Absent = Field(None, description="true where `fill` put a bar into an empty interval")


class BarPage(_Market):
    """Bars of a market, oldest first."""

    bars: list[Bar]
    next_cursor: str | None = Field(description=_CURSOR)


class Trade(Described):
    """A trade of the tape."""

    trade_id: TradeId = Field(
        description="a number where the exchange numbers its trades, which may be more than 2^53, else its text"
    )
    timestamp: float = Field(description="Unix seconds with up to six places")
    price: Number
    quantity: Number
    side: Literal["buy", "sell", "unknown"] = Field(description="the taker's")


class TradePage(_Market):
    """Trades of a market, oldest first."""

    trades: list[Trade]
    next_cursor: str | None = Field(description=_CURSOR)


class MinuteState(enum.StrEnum):
    """What is known of one minute: `gap` lacks trades or a connection, `repaired` lacked some and is whole now,
    `complete` was heard all through, `quiet` too but nobody traded, of `unknown` that is not known, yet or ever."""

    COMPLETE = "complete"
    REPAIRED = "repaired"
    GAP = "gap"
    QUIET = "quiet"
    UNKNOWN = "unknown"


class Minute(Described):
    """What is known of one minute."""

    timestamp: Int64 = Field(description="when it begins, Unix seconds")
    status: MinuteState
    cause: str | None = Field(description="why trades lack, or lacked")
    trades: Count = Field(description="trades that the tape has of it")
    first_trade_id: TradeId | None
    last_trade_id: TradeId | None


class CompletenessPage(_Market):
    """The ledger of a market, minute by minute."""

    minutes: list[Minute]
    missing_ids: list[tuple[Int64, Int64]] = Field(description="[first, last] of the ranges of ids that lack")
    next_cursor: str | None = Field(description=_CURSOR)


class Candle(Described):
    """A bar under a symbol that may name its exchange. What `fields` asks for comes beside these."""

    candle_time: str = Field(description="when it opens: ISO 8601 without a zone, UTC")
    symbol: str
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    volume_delta: Number | Absent = None
    volume_unknown: Number | Absent = None
    trades: Count | Absent = None
    status: BarStatus | Absent = None
    revision: Count | Absent = None
    quote_alias: str | None = None


class CandleMetadata(Described):
    """Where the page stands in all that matches."""

    total_records: Count
    limit: Count
    offset: Count
    has_more: bool
    query_time_ms: float
    timestamp: str = Field(json_schema_extra={"format": "date-time"})


class Candles(Described):
    """Bars of a symbol, oldest first."""

    success: Literal[True]
    data: list[Candle]
    metadata: CandleMetadata


class Kline(Described):
    """A candle of the exchange itself."""

    timestamp: Int64 = Field(description="when it opens, Unix milliseconds")
    date: str = Field(description="the same as `YYYY-MM-DD HH:MM:SS`, UTC")
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number


class Exchanges(Described):
    """The ids of the exchanges."""

    exchanges: list[str]


class Symbols(Described):
    """The symbols of an exchange."""

    symbols: list[str]
