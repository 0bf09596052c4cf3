"""Binance: spot and USD-M perpetual futures, told apart by the instrument's kind.

Perpetuals have no `1s` candles, and of their trades only the newest thousand can be had: older ones need an API key.
Sources: those of `stream` and `rest`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import Trade
from crosstape.exchanges.answers import checked_klines
from crosstape.exchanges.binance import rest, stream
from crosstape.exchanges.dialect import (
    Channel,
    HistoryPage,
    HistoryQuery,
    HttpRequest,
    Kline,
    RateLimit,
    Subscription,
)
from crosstape.exchanges.times import MILLISECOND

_API = {Kind.SPOT: "/api/v3", Kind.PERPETUAL: "/fapi/v1"}
_WEIGHTS = {
    Kind.SPOT: {"exchangeInfo": 20, "aggTrades": 4, "historicalTrades": 25, "depth": 50, "klines": 2},
    Kind.PERPETUAL: {"exchangeInfo": 1, "trades": 5, "depth": 20, "klines": 5},
}
"""What a request costs of its address's limit, at the 1000 rows that are asked for."""

_PAGE = 1_000
_SNAPSHOT_DEPTH = 1_000
"""Levels a side. Of deeper ones a book learns only once they change, so it shows none of them. Spot has 5000 for five
times the weight: a hundred markets that start would wait for minutes, and repairs with them."""


class Binance:
    """The dialect of Binance."""

    exchange = "binance"
    addresses: Mapping[str, str] = {
        "spot.rest": "https://api.binance.com",
        "spot.stream": "wss://stream.binance.com:9443",
        "perpetual.rest": "https://fapi.binance.com",
        "perpetual.stream": "wss://fstream.binance.com",
    }
    # `rateLimits` of exchangeInfo, REQUEST_WEIGHT (ccxt 4.5.64 paces by the same).
    rate_limits: Mapping[str, RateLimit] = {
        "spot.rest": RateLimit(weight=6_000, seconds=60),
        "perpetual.rest": RateLimit(weight=2_400, seconds=60),
    }
    # 418 bans for two minutes to three days (rest-api.md#ip-limits).
    refused_seconds: Mapping[int, float] = {418: 120.0, 429: 10.0}
    klines_per_request: int | None = 1_000
    klines_reach: int | None = None

    def markets(self) -> Sequence[HttpRequest]:
        return [_request(kind, "exchangeInfo", {}) for kind in _API]

    def decode_markets(self, bodies: Sequence[bytes]) -> list[Instrument]:
        return [i for kind, body in zip(_API, bodies, strict=True) for i in rest.instruments(kind, body)]

    def subscriptions(self, instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
        return stream.subscriptions(instruments, channels)

    def numbers_trades(self, instrument: Instrument) -> bool:
        return True

    def history(self, query: HistoryQuery) -> HttpRequest:
        """Trades by id from `historicalTrades`; without an id, first the id of the time from `aggTrades`. Of perpetuals
        the newest ones."""
        kind, symbol, first_id = query.instrument.kind, query.instrument.exchange_symbol, _first_id(query)
        if kind is Kind.PERPETUAL:
            route, params = "trades", {"symbol": symbol, "limit": str(_PAGE)}
        elif first_id is None:
            route = "aggTrades"
            params = {"symbol": symbol, "startTime": str(query.start // MILLISECOND), "limit": "1"}
        else:
            route = "historicalTrades"
            params = {"symbol": symbol, "fromId": str(first_id), "limit": str(_PAGE)}
        return _request(kind, route, params)

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        """The page that answers `history`."""
        first_id, symbol = _first_id(query), query.instrument.symbol
        if query.instrument.kind is Kind.PERPETUAL:
            trades = rest.trades(symbol, body, time_received)
            return HistoryPage(trades, None, _reaches_back(query, trades))
        if first_id is None:
            found = rest.first_trade_id(body)
            return HistoryPage([], None if found is None else str(found), reaches_back=True)
        trades = rest.trades(symbol, body, time_received)
        newest = max((int(t.trade_id) for t in trades), default=-1)
        is_end = _reaches_on(query, trades) or len(trades) < _PAGE or newest < first_id
        return HistoryPage(trades, None if is_end else str(newest + 1), reaches_back=True)

    def book_snapshot(self, instrument: Instrument) -> HttpRequest | None:
        return _request(instrument.kind, "depth", {"symbol": instrument.exchange_symbol, "limit": str(_SNAPSHOT_DEPTH)})

    def decode_book_snapshot(self, instrument: Instrument, body: bytes, time_received: int) -> BookUpdate:
        return rest.snapshot(instrument.symbol, body, time_received, _SNAPSHOT_DEPTH)

    def continues(self, last_id: int | None, update: BookUpdate) -> bool | None:
        """Spot: an update must begin at or before the next id (`U` <= last + 1).

        USD-M ids have holes: an update must name one no newer than the book's as its predecessor (`pu` <= last),
        of which the documented `U` <= last <= `u` for the first update is a case.
        Sources: web-socket-streams.md#how-to-manage-a-local-order-book-correctly; on USD-M the page
        How-to-manage-a-local-order-book-correctly.
        """
        if update.is_snapshot:
            return True
        if last_id is None or update.last_id is None or update.first_id is None:
            return False
        if update.last_id <= last_id:
            return None
        before = update.first_id - 1 if update.previous_id is None else update.previous_id
        return before <= last_id

    def verify(self, book: OrderBook, update: BookUpdate) -> bool:
        return True

    def intervals(self) -> Sequence[Interval]:
        return list(Interval)

    def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> HttpRequest:
        params = {
            "symbol": instrument.exchange_symbol,
            "interval": interval.value,
            "startTime": str(start),
            "endTime": str(end - 1),
            "limit": str(self.klines_per_request),
        }
        return _request(instrument.kind, "klines", params)

    def decode_klines(self, instrument: Instrument, body: bytes) -> list[Kline]:
        return checked_klines(rest.klines(body))


def _request(kind: Kind, route: str, params: dict[str, str]) -> HttpRequest:
    return HttpRequest(f"{kind}.rest", f"{_API[kind]}/{route}", params, _WEIGHTS[kind][route])


def _first_id(query: HistoryQuery) -> int | None:
    return query.first_id if query.cursor is None else int(query.cursor)


def _reaches_back(query: HistoryQuery, trades: Sequence[Trade]) -> bool:
    if query.first_id is None:
        return any(t.time < query.start for t in trades)
    return any(int(t.trade_id) <= query.first_id for t in trades)


def _reaches_on(query: HistoryQuery, trades: Sequence[Trade]) -> bool:
    if query.last_id is None:
        return any(t.time > query.end for t in trades)
    return any(int(t.trade_id) >= query.last_id for t in trades)
