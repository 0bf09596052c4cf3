"""Coinbase Exchange (the seeds' `coinbasepro`): spot.

Sources: those of `stream` and `rest`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.answers import checked_klines, page_before
from crosstape.exchanges.coinbasepro import rest, stream
from crosstape.exchanges.dialect import (
    Channel,
    HistoryPage,
    HistoryQuery,
    HttpRequest,
    Kline,
    RateLimit,
    StreamedBooks,
    Subscription,
)

_PAGE = 1_000
_DISORDER = 1_000_000_000
"""How far (ns) the times of trades may disagree with the order of their ids."""

_INTERVALS = (Interval.M1, Interval.M5, Interval.M15, Interval.H1, Interval.H6, Interval.D1)


class CoinbasePro(StreamedBooks):
    """The dialect of Coinbase Exchange."""

    exchange = "coinbasepro"
    addresses: Mapping[str, str] = {
        "rest": "https://api.exchange.coinbase.com",
        "stream": "wss://ws-feed.exchange.coinbase.com",
    }
    # docs.cdp.coinbase.com/exchange/rest-api/rate-limits: 10 a second and address.
    rate_limits: Mapping[str, RateLimit] = {"rest": RateLimit(weight=10, seconds=1)}
    refused_seconds: Mapping[int, float] = {429: 10.0}
    klines_per_request: int | None = 300
    klines_reach: int | None = None

    def markets(self) -> Sequence[HttpRequest]:
        return [HttpRequest("rest", "/products")]

    def decode_markets(self, bodies: Sequence[bytes]) -> list[Instrument]:
        return [i for body in bodies for i in rest.instruments(body)]

    def subscriptions(self, instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
        return stream.subscriptions(instruments, channels)

    def numbers_trades(self, instrument: Instrument) -> bool:
        return True

    def history(self, query: HistoryQuery) -> HttpRequest:
        """Trades older than an id (`after`), newest first; without an id the newest. Coinbase does not look up times:
        where the newest are too young, single trades are asked for until the id of the time is known."""
        limit, after = _PAGE, query.cursor
        if (searched := _searched(query)) is not None:
            limit, after = 1, str(sum(searched) // 2 + 1)
        elif after is None and query.last_id is not None:
            after = str(query.last_id + 1)
        params = {"limit": str(limit)} if after is None else {"limit": str(limit), "after": after}
        return HttpRequest("rest", f"/products/{query.instrument.exchange_symbol}/trades", params)

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        """The page that answers `history`."""
        trades = rest.trades(query.instrument.symbol, body, time_received)
        is_too_young = bool(trades) and min(trade.time for trade in trades) > query.end + _DISORDER
        if (searched := _searched(query)) is not None:
            return HistoryPage([], _narrowed(searched, is_too_young=is_too_young), reaches_back=False)
        oldest = min((int(trade.trade_id) for trade in trades), default=0)
        if query.first_id is None and query.cursor is None and is_too_young and oldest > _PAGE:
            return HistoryPage([], f"1:{oldest}", reaches_back=False)
        return page_before(query, trades)

    def continues(self, last_id: int | None, update: BookUpdate) -> bool | None:
        """Coinbase numbers no update of `level2_batch`: nothing can be seen missing within a connection."""
        return True

    def verify(self, book: OrderBook, update: BookUpdate) -> bool:
        return True

    def intervals(self) -> Sequence[Interval]:
        return _INTERVALS

    def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> HttpRequest:
        params = {
            "granularity": str(interval.seconds),
            "start": _iso(start),
            "end": _iso(end - 1),
        }
        return HttpRequest("rest", f"/products/{instrument.exchange_symbol}/candles", params)

    def decode_klines(self, instrument: Instrument, body: bytes) -> list[Kline]:
        return checked_klines(rest.klines(body))


def _searched(query: HistoryQuery) -> tuple[int, int] | None:
    """The ids between which the wanted time lies: all trades from the second id on are too young. None where no time is
    searched."""
    first, colon, last = (query.cursor or "").partition(":")
    return (int(first), int(last)) if colon else None


def _narrowed(searched: tuple[int, int], *, is_too_young: bool) -> str:
    """The cursor after a look between the ids `searched`."""
    first, last = searched
    middle = (first + last) // 2
    first, last = (first, middle) if is_too_young else (middle, last)
    return f"{first}:{last}" if last - first > _PAGE else str(last)


def _iso(milliseconds: int) -> str:
    return dt.datetime.fromtimestamp(milliseconds // 1_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
