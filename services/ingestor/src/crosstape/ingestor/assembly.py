"""One exchange's parts put together: markets, repairs, sockets, audit, and the work each of them does."""

from __future__ import annotations

import time
from collections.abc import Coroutine, Sequence
from typing import Any

import aiohttp
from prometheus_client import Gauge

from crosstape.common.bus.producer import Producer
from crosstape.common.identity.services import INGESTOR
from crosstape.common.market.instrument import Instrument
from crosstape.common.runtime.health import Check
from crosstape.exchanges.dialect import Channel, Dialect, Subscription
from crosstape.exchanges.rest import ExchangeRest, resolve
from crosstape.ingestor.audit import Auditor
from crosstape.ingestor.book_handler import BookHandler
from crosstape.ingestor.feed import Feed, FeedHandler
from crosstape.ingestor.ingest import TradeHandler, report_coverage, tell_last_trade_age
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.settings import IngestorSettings
from crosstape.ingestor.watermarks import StoredTape

COVERAGE_SECONDS = 10.0
COPY_SECONDS = 10.0
MEASURE_SECONDS = 2.0

SOCKETS = Gauge("crosstape_ingestor_sockets", "Sockets that it keeps open", ["exchange"])

Part = Coroutine[Any, Any, None]


class Ingestor:
    """Everything that reads `instruments` of one exchange and publishes them.

    Trades and books have sockets of their own, so that a book that must be taken anew interrupts no trades.
    """

    def __init__(
        self,
        settings: IngestorSettings,
        dialect: Dialect,
        rest: ExchangeRest,
        session: aiohttp.ClientSession,
        instruments: Sequence[Instrument],
    ):
        self._settings = settings
        self._dialect = dialect
        self.producer = Producer(settings.bus, on_loss=self._bus_lost)
        self._publisher = Publisher(dialect.exchange, self.producer, self._pressed)
        self._markets = {
            instrument.symbol: Market(instrument, is_numbered=dialect.numbers_trades(instrument))
            for instrument in instruments
        }
        self._repairs = {
            symbol: MarketRepair(market, rest, self._publisher) for symbol, market in self._markets.items()
        }
        trades = [
            (subscription, self._feed(subscription, self._trade_handler(subscription)))
            for subscription in dialect.subscriptions(instruments, frozenset({Channel.TRADES}))
        ]
        self._trade_feeds = [feed for _, feed in trades]
        self._auditor = Auditor(
            dialect.exchange,
            self._markets,
            self._repairs,
            {instrument.symbol: feed for subscription, feed in trades for instrument in subscription.instruments},
            StoredTape(session, settings.history_url, settings.internal_tokens(INGESTOR), dialect.exchange),
            every=settings.audit_seconds,
        )
        self._books = [
            BookHandler(dialect, subscription, rest, self._publisher)
            for subscription in dialect.subscriptions(instruments, frozenset({Channel.BOOK}))
        ]
        self._book_feeds = [self._book_feed(book) for book in self._books]
        tell_last_trade_age(dialect.exchange, self._markets)
        SOCKETS.labels(dialect.exchange).set(len(self._trade_feeds) + len(self._book_feeds))

    def _feed(self, subscription: Subscription, handler: FeedHandler) -> Feed:
        origin = self._settings.exchange_origin or None
        url = resolve(self._dialect, subscription.address, origin) + subscription.path
        return Feed(self._dialect.exchange, subscription, url, handler, stall_seconds=self._settings.stall_seconds)

    def _trade_handler(self, subscription: Subscription) -> TradeHandler:
        return TradeHandler(subscription, self._markets, self._repairs, self._publisher)

    def _book_feed(self, book: BookHandler) -> Feed:
        book.feed = self._feed(book.subscription, book)
        return book.feed

    def _pressed(self, is_pressed: bool) -> None:
        for feed in (*self._trade_feeds, *self._book_feeds):
            feed.pause(is_pressed)

    def _bus_lost(self, reason: str) -> None:
        self._auditor.bus_lost(reason)
        for book in self._books:
            book.on_bus_lost(time.time_ns())

    def _numbered(self) -> dict[str, Market]:
        """The markets whose connection vouches for them, as their numbers do. The others' repairs compare first."""
        return {symbol: market for symbol, market in self._markets.items() if market.sequence is not None}

    def sockets(self) -> list[Part]:
        """The work that brings values in: it is ended first."""
        return [feed.run() for feed in (*self._trade_feeds, *self._book_feeds)]

    def others(self) -> list[Part]:
        """The work that goes on until what came in is on the bus."""
        return [
            self._publisher.run(),
            self._publisher.run_ledger(),
            self._auditor.run(),
            self._auditor.run_busy(),
            report_coverage(self._publisher, self._numbered(), COVERAGE_SECONDS),
            *(repair.run() for repair in self._repairs.values()),
            *(book.fetch_snapshots() for book in self._books),
            *(book.publish_copies(COPY_SECONDS) for book in self._books),
            *(book.measure(MEASURE_SECONDS) for book in self._books),
        ]

    async def drain(self) -> None:
        """Return once the broker has everything that was published."""
        await self._publisher.drain()

    def feed_check(self) -> Check:
        """Up when every trade socket is connected. That the tape has been resumed is told beside it: history may be
        away, and trades flow without it."""
        connected = sum(feed.is_connected for feed in self._trade_feeds)
        newest = max((market.last_trade_received for market in self._markets.values()), default=0)
        detail: dict[str, Any] = {
            "connected_sockets": connected,
            "sockets": len(self._trade_feeds),
            "resumed": self._auditor.has_resumed,
            "live_books": sum(book.is_live for handler in self._books for book in handler.books.values()),
        }
        if newest:
            detail["last_event_age_ms"] = (time.time_ns() - newest) // 1_000_000
        return Check(is_up=connected == len(self._trade_feeds), detail=detail)
