"""Kraken: spot, over its socket version 2.

Sources: those of `stream`, `rest` and `book`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.answers import checked_klines
from crosstape.exchanges.dialect import (
    Channel,
    HistoryPage,
    HistoryQuery,
    HttpRequest,
    Kline,
    MalformedFrame,
    RateLimit,
    StreamedBooks,
    Subscription,
)
from crosstape.exchanges.kraken import rest, stream
from crosstape.exchanges.kraken.book import cut_and_checksum

_PAGE = 1_000

# Kraken's weeks open on Thursday, ours on Monday: not offered.
_MINUTES = {
    Interval.M1: 1,
    Interval.M5: 5,
    Interval.M15: 15,
    Interval.M30: 30,
    Interval.H1: 60,
    Interval.H4: 240,
    Interval.D1: 1_440,
}


class Kraken(StreamedBooks):
    """The dialect of Kraken."""

    exchange = "kraken"
    addresses: Mapping[str, str] = {"rest": "https://api.kraken.com", "stream": "wss://ws.kraken.com"}
    # Public requests: one a second (support article 206548367).
    rate_limits: Mapping[str, RateLimit] = {"rest": RateLimit(weight=10, seconds=10)}
    refused_seconds: Mapping[int, float] = {429: 10.0}
    klines_per_request: int | None = None
    klines_reach: int | None = 720

    def markets(self) -> Sequence[HttpRequest]:
        return [HttpRequest("rest", "/0/public/AssetPairs")]

    def decode_markets(self, bodies: Sequence[bytes]) -> list[Instrument]:
        return [i for body in bodies for i in rest.instruments(body)]

    def subscriptions(self, instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
        return stream.subscriptions(instruments, channels)

    def numbers_trades(self, instrument: Instrument) -> bool:
        return True

    def history(self, query: HistoryQuery) -> HttpRequest:
        """Trades after a time: Kraken does not look up ids."""
        pair = query.instrument.exchange_symbol
        return HttpRequest("rest", "/0/public/Trades", {"pair": pair, "since": str(_since(query)), "count": str(_PAGE)})

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        """The page that answers `history`.

        `since` excludes its own instant, and several trades may share one: the next page starts an instant earlier,
        unless that would ask for the same page again.
        """
        trades, last = rest.trades(query.instrument.symbol, body, time_received)
        if query.last_id is None:
            reaches_on = any(t.time > query.end for t in trades)
        else:
            reaches_on = any(int(t.trade_id) >= query.last_id for t in trades)
        since = _since(query)
        if reaches_on or len(trades) < _PAGE:
            return HistoryPage(trades, None, reaches_back=True)
        if last <= since:
            raise MalformedFrame("value", "its last trade is older than what was asked for")
        return HistoryPage(trades, str(max(last - 1, since + 1)), reaches_back=True)

    def continues(self, last_id: int | None, update: BookUpdate) -> bool | None:
        """Kraken numbers no update: what is missing shows in the checksum."""
        return True

    def verify(self, book: OrderBook, update: BookUpdate) -> bool:
        """Cuts `book` to the subscribed depth, as levels beyond it are never removed, and compares the checksum.

        Source: docs.kraken.com/exchange/guides/websockets/book-checksum-v2 (2026-11-24).
        """
        found = cut_and_checksum(book, stream.DEPTH)
        return update.checksum is None or found == update.checksum

    def intervals(self) -> Sequence[Interval]:
        return list(_MINUTES)

    def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> HttpRequest:
        """The candles after `start`, whatever `end` is."""
        params = {
            "pair": instrument.exchange_symbol,
            "interval": str(_MINUTES[interval]),
            "since": str(start // 1_000 - 1),
        }
        return HttpRequest("rest", "/0/public/OHLC", params)

    def decode_klines(self, instrument: Instrument, body: bytes) -> list[Kline]:
        return checked_klines(rest.klines(body))


def _since(query: HistoryQuery) -> int:
    return max(0, query.start - 1) if query.cursor is None else int(query.cursor)
