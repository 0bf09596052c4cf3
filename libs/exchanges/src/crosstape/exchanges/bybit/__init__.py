"""Bybit: spot and linear perpetual futures, version 5.

Its REST gives only the newest trades (60 of spot, 1000 of linear): longer holes stay visible in the ledger. Its
candles open at the close before them, not at the first trade.
Sources: those of `stream` and `rest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.exchanges.answers import checked_klines
from crosstape.exchanges.bybit import rest, stream
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

_CATEGORIES = {Kind.SPOT: "spot", Kind.PERPETUAL: "linear"}
_NEWEST_TRADES = {Kind.SPOT: "60", Kind.PERPETUAL: "1000"}
_INTERVALS = {
    Interval.M1: "1",
    Interval.M3: "3",
    Interval.M5: "5",
    Interval.M15: "15",
    Interval.M30: "30",
    Interval.H1: "60",
    Interval.H2: "120",
    Interval.H4: "240",
    Interval.H6: "360",
    Interval.H12: "720",
    Interval.D1: "D",
    Interval.W1: "W",
    Interval.MO1: "M",
}


class Bybit(StreamedBooks):
    """The dialect of Bybit."""

    exchange = "bybit"
    addresses: Mapping[str, str] = {
        "rest": "https://api.bybit.com",
        "spot.stream": "wss://stream.bybit.com",
        "perpetual.stream": "wss://stream.bybit.com",
    }
    # docs/v5/rate-limit: 600 in 5 s and address.
    rate_limits: Mapping[str, RateLimit] = {"rest": RateLimit(weight=600, seconds=5)}
    # A ban (403) lasts ten minutes (docs/v5/rate-limit).
    refused_seconds: Mapping[int, float] = {403: 600.0, 429: 10.0}
    klines_per_request: int | None = 1_000
    klines_reach: int | None = None

    def markets(self) -> Sequence[HttpRequest]:
        """One page each: a page holds 1000, and the exchange lists fewer of either kind (2026-08). More are logged."""
        return [
            HttpRequest(
                "rest",
                "/v5/market/instruments-info",
                {"category": category, "status": "Trading", "limit": "1000"},
            )
            for category in _CATEGORIES.values()
        ]

    def decode_markets(self, bodies: Sequence[bytes]) -> list[Instrument]:
        return [i for kind, body in zip(_CATEGORIES, bodies, strict=True) for i in rest.instruments(kind, body)]

    def subscriptions(self, instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
        return stream.subscriptions(instruments, channels)

    def numbers_trades(self, instrument: Instrument) -> bool:
        return False

    def history(self, query: HistoryQuery) -> HttpRequest:
        """The newest trades: there are no others."""
        params = _market(query.instrument) | {"limit": _NEWEST_TRADES[query.instrument.kind]}
        return HttpRequest("rest", "/v5/market/recent-trade", params)

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        """The only page that answers `history`; exhaustive where it reaches back before the wanted time."""
        trades = rest.trades(query.instrument.symbol, body, time_received)
        return HistoryPage(trades, None, any(t.time < query.start for t in trades))

    def continues(self, last_id: int | None, update: BookUpdate) -> bool | None:
        """`u` must grow by one; after a restart of the service a snapshot begins again at 1.

        The documentation (websocket/public/orderbook) names the restart only; that updates are consecutive holds for
        every frame seen (1381 of 2026-08, 49 of 2024-12).
        """
        if update.is_snapshot:
            return True
        if last_id is None or update.last_id is None:
            return False
        if update.last_id <= last_id:
            return None
        return update.last_id == last_id + 1

    def verify(self, book: OrderBook, update: BookUpdate) -> bool:
        return True

    def intervals(self) -> Sequence[Interval]:
        return list(_INTERVALS)

    def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> HttpRequest:
        params = _market(instrument) | {
            "interval": _INTERVALS[interval],
            "start": str(start),
            "end": str(end - 1),
            "limit": str(self.klines_per_request),
        }
        return HttpRequest("rest", "/v5/market/kline", params)

    def decode_klines(self, instrument: Instrument, body: bytes) -> list[Kline]:
        return checked_klines(rest.klines(body))


def _market(instrument: Instrument) -> dict[str, str]:
    return {"category": _CATEGORIES[instrument.kind], "symbol": instrument.exchange_symbol}
