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
    Rejected,
    Subscription,
)

_PAGE = 1_000
_INTERVALS = (Interval.M1, Interval.M5, Interval.M15, Interval.H1, Interval.H6, Interval.D1)


class CoinbasePro:
    """The dialect of Coinbase Exchange."""

    exchange = "coinbasepro"
    addresses: Mapping[str, str] = {
        "rest": "https://api.exchange.coinbase.com",
        "stream": "wss://ws-feed.exchange.coinbase.com",
    }
    # docs.cdp.coinbase.com/exchange/rest-api/rate-limits: 10 a second and address.
    rate_limit = RateLimit(weight=10, seconds=1)
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
        """Trades older than an id (`after`), newest first; without an id the newest."""
        after = query.cursor
        if after is None and query.last_id is not None:
            after = str(query.last_id + 1)
        params = {"limit": str(_PAGE)} if after is None else {"limit": str(_PAGE), "after": after}
        return HttpRequest("rest", f"/products/{query.instrument.exchange_symbol}/trades", params)

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        """The page that answers `history`."""
        return page_before(query, rest.trades(query.instrument.symbol, body, time_received))

    def book_snapshot(self, instrument: Instrument) -> HttpRequest | None:
        return None

    def decode_book_snapshot(self, instrument: Instrument, body: bytes, time_received: int) -> BookUpdate:
        raise Rejected("coinbasepro: the socket sends its own snapshots")

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


def _iso(milliseconds: int) -> str:
    return dt.datetime.fromtimestamp(milliseconds // 1_000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
