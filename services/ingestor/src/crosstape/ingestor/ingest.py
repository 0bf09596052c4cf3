"""Frames in, values out: what one exchange's process does with everything its sockets say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog
from prometheus_client import Gauge

from crosstape.common.errors import ExchangeError
from crosstape.common.market.book import BookEvent, BookUpdate
from crosstape.common.market.ledger import Coverage
from crosstape.common.market.trade import Trade
from crosstape.exchanges.answers import checked_levels
from crosstape.exchanges.dialect import Decode, Dialect, MalformedFrame, MarketRefused, Subscription
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.book_sync import BookSync
from crosstape.ingestor.feed import Feed, backoff
from crosstape.ingestor.intervals import Outage
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair

log = structlog.get_logger(__name__)

LAST_TRADE_AGE = Gauge(
    "crosstape_ingestor_last_trade_age_seconds",
    "Since the newest trade of any market came, or since the start while none did",
    ["exchange"],
)
SNAPSHOT_DEPTH = 1_000
"""Levels a side in the snapshots that are published for readers who come later."""


class TradeHandler:
    """One trade socket: every trade goes to its market's sequence and to the bus; holes and outages to its repair."""

    def __init__(
        self,
        subscription: Subscription,
        markets: dict[str, Market],
        repairs: dict[str, MarketRepair],
        publisher: Publisher,
    ):
        self._decode: Decode = subscription.decode
        self._markets = {instrument.symbol: markets[instrument.symbol] for instrument in subscription.instruments}
        self._repairs = repairs
        self._publisher = publisher

    def on_connected(self, now: int) -> None:
        for market in self._markets.values():
            market.connected_since = now
            if market.disconnected_at is not None:
                vouched = market.disconnected_at if market.sequence is not None else market.compared_until
                self._repairs[market.symbol].outage(Outage(min(vouched, market.disconnected_at), now, "disconnect"))
                market.disconnected_at = None
            elif market.sequence is None:
                market.compared_until = market.compared_until or now
                publish_coverage(self._publisher, market, now)  # from here on it is known what nobody vouched for

    def on_disconnected(self, now: int) -> None:
        for market in self._markets.values():
            if market.connected_since is None:  # the exchange refused it
                continue
            if market.sequence is not None:
                publish_coverage(self._publisher, market, now)
            market.connected_since = None
            market.disconnected_at = now

    def on_frame(self, payload: bytes, time_received: int) -> None:
        try:
            events = self._decode(payload, time_received)
        except MalformedFrame:
            self._lost_frame(time_received)
            raise
        except MarketRefused as error:
            market = self._markets[error.symbol]
            market.disconnected_at = market.disconnected_at or market.connected_since
            market.connected_since = None
            raise
        for event in events:
            if isinstance(event, Trade):
                market = self._markets[event.symbol]
                market.last_trade_received = time_received
                hole = market.observe(event)
                self._publisher.trade(event)
                if hole is not None:
                    self._repairs[event.symbol].hole(hole, "sequence")

    def _lost_frame(self, now: int) -> None:
        """Where trades are not numbered nothing else would reveal what an unreadable frame held."""
        for market in self._markets.values():
            if market.sequence is None and market.connected_since is not None:
                since = max(market.connected_since, market.last_trade_received)
                self._repairs[market.symbol].outage(Outage(since, now, "malformed"))


class BookHandler:
    """One book socket: verified updates to the bus; a broken book is stale at once and taken anew."""

    def __init__(self, dialect: Dialect, subscription: Subscription, rest: ExchangeRest, publisher: Publisher):
        self.subscription = subscription
        self._decode = subscription.decode
        self._rest = rest
        self._publisher = publisher
        self._instruments = {instrument.symbol: instrument for instrument in subscription.instruments}
        self.books = {symbol: BookSync(dialect, instrument) for symbol, instrument in self._instruments.items()}
        self._wanted: asyncio.Queue[str] = asyncio.Queue()
        self._fetching: set[str] = set()
        self.feed: Feed | None = None

    def on_connected(self, now: int) -> None:
        self._restart("connected", now)

    def on_disconnected(self, now: int) -> None:
        self._restart("disconnected", now)

    def _restart(self, reason: str, now: int) -> None:
        for book in self.books.values():
            for event in book.restart(reason, now):
                self._publisher.book(event)

    def on_frame(self, payload: bytes, time_received: int) -> None:
        try:
            events = self._decode(payload, time_received)
        except MalformedFrame:
            for symbol, book in self.books.items():
                self._tell(symbol, book.lost_frame(time_received))
            raise
        refusal: MalformedFrame | None = None
        for event in events:
            if isinstance(event, BookUpdate):
                book = self.books[event.symbol]
                try:
                    self._tell(event.symbol, book.update(checked_levels(event)))
                except MalformedFrame as error:
                    refusal = error
                    self._tell(event.symbol, book.refuse(event))
        if refusal is not None:
            raise refusal

    def _tell(self, symbol: str, events: Sequence[BookEvent]) -> None:
        for event in events:
            self._publisher.book(event)
        self._look_after(symbol, self.books[symbol])

    def _look_after(self, symbol: str, book: BookSync) -> None:
        if book.is_broken and self.feed is not None:
            self.feed.reconnect(f"the book of {symbol} broke")
        elif book.needs_snapshot and symbol not in self._fetching:
            self._fetching.add(symbol)
            self._wanted.put_nowait(symbol)

    async def fetch_snapshots(self) -> None:
        """Fetch the snapshots that books need, one after the other, until cancelled."""
        failures = 0
        while True:
            symbol = await self._wanted.get()
            try:
                snapshot = await self._rest.book_snapshot(self._instruments[symbol])
            except ExchangeError as error:
                failures += 1
                exchange = self._instruments[symbol].exchange
                log.warning("book_snapshot_failed", exchange=exchange, symbol=symbol, error=error.message)
                await asyncio.sleep(backoff(failures, 0.9))
                self._wanted.put_nowait(symbol)
                continue
            failures = 0
            self._fetching.discard(symbol)
            self._tell(symbol, self.books[symbol].snapshot(snapshot))

    async def publish_snapshots(self, every: float) -> None:
        """Publish each kept book whole once in `every` seconds, spread evenly; a crossed one is taken anew."""
        while True:
            for symbol, book in self.books.items():
                await asyncio.sleep(every / len(self.books))
                if book.is_live and book.book.is_crossed():
                    for event in book.restart("crossed", time.time_ns()):
                        self._publisher.book(event)
                    if self.feed is not None:
                        self.feed.reconnect(f"the book of {symbol} is crossed")
                elif (whole := book.whole(time.time_ns(), SNAPSHOT_DEPTH)) is not None:
                    self._publisher.book(whole)


def tell_last_trade_age(exchange: str, markets: Mapping[str, Market]) -> None:
    """Have the metric say from now on how old the newest trade of `markets` is."""
    started = time.time_ns()

    def age() -> float:
        newest = max((market.last_trade_received for market in markets.values()), default=0)
        return max(0, time.time_ns() - (newest or started)) / 1e9

    LAST_TRADE_AGE.labels(exchange).set_function(age)


def publish_coverage(publisher: Publisher, market: Market, now: int) -> None:
    """Tell the ledger since when `market` has been connected without a break."""
    if market.connected_since is not None:
        instrument = market.instrument
        publisher.ledger(Coverage(instrument.exchange, instrument.symbol, market.connected_since, now))


async def report_coverage(publisher: Publisher, markets: dict[str, Market], every: float) -> None:
    """Tell the ledger every `every` seconds which markets are connected, until cancelled."""
    while True:
        await asyncio.sleep(every)
        now = time.time_ns()
        for market in markets.values():
            publish_coverage(publisher, market, now)
