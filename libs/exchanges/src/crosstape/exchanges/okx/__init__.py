"""OKX: spot and linear swaps, version 5.

Sources: those of `stream`, `rest` and `contracts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.answers import checked_klines, page_before
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
from crosstape.exchanges.okx import rest, stream
from crosstape.exchanges.okx.checksum import checksum
from crosstape.exchanges.times import MILLISECOND

_PAGE = 100
_BY_ID, _BY_TIME = "1", "2"

# Days and longer open at 00:00 UTC with the suffix `utc`, at 00:00 in Hong Kong without.
_BARS = {
    Interval.S1: "1s",
    Interval.M1: "1m",
    Interval.M3: "3m",
    Interval.M5: "5m",
    Interval.M15: "15m",
    Interval.M30: "30m",
    Interval.H1: "1H",
    Interval.H2: "2H",
    Interval.H4: "4H",
    Interval.H6: "6Hutc",
    Interval.H12: "12Hutc",
    Interval.D1: "1Dutc",
    Interval.W1: "1Wutc",
    Interval.MO1: "1Mutc",
}


class Okx(StreamedBooks):
    """The dialect of OKX."""

    exchange = "okx"
    addresses: Mapping[str, str] = {"rest": "https://www.okx.com", "stream": "wss://ws.okx.com:8443"}
    # Each of the requests used allows 20 in 2 s and address.
    rate_limits: Mapping[str, RateLimit] = {"rest": RateLimit(weight=20, seconds=2)}
    refused_seconds: Mapping[int, float] = {429: 10.0}
    klines_per_request: int | None = 100
    klines_reach: int | None = None

    def markets(self) -> Sequence[HttpRequest]:
        return [HttpRequest("rest", "/api/v5/public/instruments", {"instType": kind}) for kind in ("SPOT", "SWAP")]

    def decode_markets(self, bodies: Sequence[bytes]) -> list[Instrument]:
        spot, swaps = bodies
        return [*rest.spot(spot), *rest.swaps(swaps)]

    def subscriptions(self, instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
        return stream.subscriptions(instruments, channels)

    def numbers_trades(self, instrument: Instrument) -> bool:
        return True

    def history(self, query: HistoryQuery) -> HttpRequest:
        """Trades older than an id, or without one older than a time; newest first, three months back."""
        after = query.cursor
        if after is None and query.last_id is not None:
            after = str(query.last_id + 1)
        params = {"instId": query.instrument.exchange_symbol, "limit": str(_PAGE)}
        if after is None:
            params |= {"type": _BY_TIME, "after": str(query.end // MILLISECOND + 1)}
        else:
            params |= {"type": _BY_ID, "after": after}
        return HttpRequest("rest", "/api/v5/market/history-trades", params)

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        """The page that answers `history`."""
        return page_before(query, rest.trades(query.instrument, body, time_received))

    def continues(self, last_id: int | None, update: BookUpdate) -> bool | None:
        """An update must name the book's `seqId` as its predecessor; a number lower than it is a reset, not a loss.

        Frames recorded before 2023 have no numbers: there the checksum tells.
        Source: www.okx.com/docs-v5/en, "Sequence ID".
        """
        if update.is_snapshot or update.previous_id is None:
            return True
        if update.previous_id == last_id:
            return True
        return None if update.last_id == last_id else False

    def verify(self, book: OrderBook, update: BookUpdate) -> bool:
        return update.checksum is None or checksum(book) == update.checksum

    def intervals(self) -> Sequence[Interval]:
        return list(_BARS)

    def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> HttpRequest:
        """`after` and `before` exclude their own instants."""
        params = {
            "instId": instrument.exchange_symbol,
            "bar": _BARS[interval],
            "after": str(end),
            "before": str(start - 1),
            "limit": str(self.klines_per_request),
        }
        return HttpRequest("rest", "/api/v5/market/history-candles", params)

    def decode_klines(self, instrument: Instrument, body: bytes) -> list[Kline]:
        return checked_klines(rest.klines(instrument, body))
