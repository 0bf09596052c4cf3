"""Trades: the tape itself, and what is known of its completeness."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Literal

from msgspec import Struct

from crosstape.client.bars import page_limit
from crosstape.client.calls import LARGEST_PAGE, Paged, columns_of, get, path
from crosstape.client.times import Time, time_text, utc

TakerSide = Literal["buy", "sell", "unknown"]


class Trade(Struct, frozen=True):
    """One trade. `timestamp` is Unix seconds with microseconds; `side` is the taker's, where the exchange tells it."""

    trade_id: int | str
    timestamp: Decimal
    price: Decimal
    quantity: Decimal
    side: TakerSide

    @property
    def time(self) -> dt.datetime:
        return utc(self.timestamp)


class TradePage(Struct, frozen=True):
    """A page of trades, in the order of their ids."""

    exchange: str
    symbol: str
    trades: tuple[Trade, ...]
    next_cursor: str | None = None

    @property
    def rows(self) -> tuple[Trade, ...]:
        return self.trades


class Minute(Struct, frozen=True):
    """What is known of one minute. `timestamp` is Unix seconds; `cause` says why trades lack or lacked.

    `complete` was heard all through, `quiet` too but nobody traded, `repaired` lacked trades that were fetched since,
    `gap` lacks some, of `unknown` nothing is known.
    """

    timestamp: int
    status: Literal["complete", "repaired", "gap", "quiet", "unknown"]
    cause: str | None
    trades: int
    first_trade_id: int | str | None
    last_trade_id: int | str | None


class CompletenessPage(Struct, frozen=True):
    """A page of minutes, and the (first, last) ids of every hole in them."""

    exchange: str
    symbol: str
    minutes: tuple[Minute, ...]
    missing_ids: tuple[tuple[int, int], ...]
    next_cursor: str | None = None

    @property
    def rows(self) -> tuple[Minute, ...]:
        return self.minutes


def trades(
    exchange: str, symbol: str, *, start: Time | None = None, end: Time | None = None, limit: int | None = None
) -> Paged[TradePage, Trade]:
    """Trades of [start, end) in the order of their ids; without `start` the latest `limit` (1000 if left out,
    10,000 at most).

    `limit` is the most trades of all pages together.
    """
    first = get(
        path("api", "v1", "trades", exchange, symbol),
        TradePage,
        start=None if start is None else time_text(start),
        end=None if end is None else time_text(end),
        limit=page_limit(limit, has_start=start is not None),
    )
    return Paged(first, columns_of(Trade), limit, is_exported=start is not None and limit is None)


def completeness(
    exchange: str, symbol: str, *, start: Time | None = None, end: Time | None = None
) -> Paged[CompletenessPage, Minute]:
    """Minute by minute what is known of [start, end); without `start` the last hour. Pages hold `missing_ids` too."""
    first = get(
        path("api", "v1", "completeness", exchange, symbol),
        CompletenessPage,
        start=None if start is None else time_text(start),
        end=None if end is None else time_text(end),
        limit=LARGEST_PAGE,
    )
    return Paged(first, columns_of(Minute))
