"""From values to the bus: trades in batches of one market, books in order, and back-pressure to the sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import Counter, Gauge, Histogram

from crosstape.common import tracing
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BOOKS, LEDGER, TRADES, market_key
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookEvent, BookUpdate
from crosstape.common.market.decimals import are_positive_decimal_lines
from crosstape.common.market.ledger import Coverage, LedgerEvent
from crosstape.common.market.trade import Source, Trade, TradeBatch, batch_trades
from crosstape.exchanges.answers import set_apart

log = structlog.get_logger(__name__)

WINDOW_SECONDS = 0.004
MAX_BATCH = 500
SAMPLE_CHARACTERS = 60
DECIMAL = "decimal"
"""Why a trade is refused: a price or quantity that no tape can hold."""
HIGH_WATER, LOW_WATER = 500_000, 100_000
"""Trades, and levels of books, waiting for the bus at which the sockets stop and start being read again: 100 MB."""
LEDGER_BATCH = 500
"""Ledger events that are on their way at a time."""

PUBLISHED = Counter("crosstape_ingestor_trades_published_total", "Trades handed to the bus", ["exchange", "source"])
REFUSED = Counter("crosstape_ingestor_trades_refused_total", "Trades that no tape can hold", ["exchange", "reason"])
WAITING = Gauge("crosstape_ingestor_values_waiting", "Trades, and levels of books, waiting for the bus", ["exchange"])
EXCHANGE_DELAY = Histogram(
    "crosstape_ingestor_exchange_delay_seconds",
    "From the exchange's time of a trade to its receipt, both clocks' errors included, of the first of each batch",
    ["exchange"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class Publisher:
    """Takes values synchronously, from inside a socket's callback, and sends them from `run`.

    The first value after a pause leaves at once; under load what came within a window leaves together. A ledger event
    leaves once the broker has all trades that were published before it: what the ledger vouches for is on the bus.
    Until then it gives way to a newer one of the same row: a time without the broker brings many.
    `on_pressure(True)` asks the sockets to stop reading, `on_pressure(False)` to go on: nothing is dropped here.
    """

    def __init__(self, exchange: str, producer: Producer, on_pressure: Callable[[bool], None]):
        self._exchange = exchange
        self._producer = producer
        self._on_pressure = on_pressure
        self._trades: dict[tuple[str, Source], list[Trade]] = {}
        self._books: deque[BookEvent] = deque()
        self._ledger: dict[tuple[object, ...], LedgerEvent] = {}
        self._has_ledger = asyncio.Event()
        self._ledger_idle = asyncio.Event()
        self._ledger_idle.set()
        self._exchange_delay = EXCHANGE_DELAY.labels(exchange)
        self._shown: set[str] = set()
        self._waiting = 0
        self._leaving = 0
        WAITING.labels(exchange).set_function(lambda: self._waiting + self._leaving)
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._rounds: list[asyncio.Event] = []

    def trade(self, trade: Trade, source: Source = Source.STREAM) -> None:
        """Publish `trade` soon."""
        rows = self._trades.get((trade.symbol, source))
        if rows is None:
            self._trades[trade.symbol, source] = [trade]
        else:
            rows.append(trade)
        self._added(1)

    def book(self, event: BookEvent) -> None:
        """Publish a book's change, in the order of the calls."""
        self._books.append(event)
        self._added(1 + len(event.bids) + len(event.asks) if type(event) is BookUpdate else 1)

    def ledger(self, event: LedgerEvent) -> None:
        """Publish a ledger event soon."""
        row = _row(event)
        self._ledger.pop(row, None)  # the newer one is the last
        self._ledger[row] = event
        self._has_ledger.set()
        self._ledger_idle.clear()

    def _added(self, size: int) -> None:
        self._waiting = waiting = self._waiting + size
        if waiting == size:
            self._wake.set()
            self._idle.clear()
        elif waiting > HIGH_WATER and self._has_room.is_set():
            self._has_room.clear()
            self._on_pressure(True)

    @property
    def has_room(self) -> bool:
        """Whether the sockets may be read."""
        return self._has_room.is_set()

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the bus that what may as well be said later should be."""
        return self._waiting + self._leaving > LOW_WATER

    async def room(self) -> None:
        """Return while the sockets may be read: who fetches trades waits for it as they do."""
        await self._has_room.wait()

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        sent_at = 0.0
        while True:
            await self._wake.wait()
            if (left := sent_at + WINDOW_SECONDS - loop.time()) > 0:
                await asyncio.sleep(left)
            sent_at = loop.time()
            await self._send_waiting()

    async def run_ledger(self) -> None:
        """Send ledger events until cancelled."""
        while True:
            await self._has_ledger.wait()
            self._has_ledger.clear()
            waiting, self._ledger = [*self._ledger.values()], {}
            await self._sent_so_far()
            for start in range(0, len(waiting), LEDGER_BATCH):
                await asyncio.gather(
                    *(
                        self._producer.deliver(LEDGER, market_key(event.exchange, event.symbol), event)
                        for event in waiting[start : start + LEDGER_BATCH]
                    )
                )
            if not self._ledger:
                self._ledger_idle.set()

    async def drain(self) -> None:
        """Return once everything published so far is acknowledged by the broker."""
        await self._ledger_idle.wait()
        await self._sent_so_far()

    async def _sent_so_far(self) -> None:
        """Return once the broker has everything published so far."""
        if not self._idle.is_set():
            has_been_sent = asyncio.Event()
            self._rounds.append(has_been_sent)
            await has_been_sent.wait()
        await self._producer.flush()

    async def _send_waiting(self) -> None:
        rounds, self._rounds = self._rounds, []
        trades, self._trades = self._trades, {}
        books, self._books = self._books, deque()
        self._leaving, self._waiting = self._waiting, 0
        self._wake.clear()
        for (symbol, source), rows in trades.items():
            if source is Source.STREAM:
                self._exchange_delay.observe(max(0, rows[0].time_received - rows[0].time) / NANOSECONDS)
            await self._send_trades(symbol, source, rows)
        for event in books:
            await self._producer.send(BOOKS, market_key(event.exchange, event.symbol), event)
        self._leaving = 0
        if self._waiting < LOW_WATER and not self._has_room.is_set():
            self._has_room.set()
            self._on_pressure(False)
        if not self._waiting:
            self._idle.set()
            rounds += self._rounds
            self._rounds = []
        for has_been_sent in rounds:
            has_been_sent.set()

    async def _send_trades(self, symbol: str, source: Source, rows: list[Trade]) -> None:
        key = market_key(self._exchange, symbol)
        published = 0
        for start in range(0, len(rows), MAX_BATCH):
            batch = self._batch(rows[start : start + MAX_BATCH], source)
            if batch is not None:
                with tracing.trace("publish trades", begun=rows[start].time_received) as span:
                    if span.is_recording():
                        span.set_attributes(tracing.own(batch.identity()))
                    await self._producer.send(TRADES, key, batch)
                published += len(batch)
        PUBLISHED.labels(self._exchange, source.name.lower()).inc(published)

    def _batch(self, rows: list[Trade], source: Source) -> TradeBatch | None:
        """What the tape can hold of `rows`; None when that is nothing."""
        with contextlib.suppress(ValueError):  # a line break in a number: no decimal either
            batch = batch_trades(rows, source)
            if are_positive_decimal_lines(batch.price) and are_positive_decimal_lines(batch.quantity):
                return batch
        good = self._holdable(rows)
        return batch_trades(good, source) if good else None

    def _holdable(self, rows: list[Trade]) -> list[Trade]:
        good, bad = set_apart(rows)
        if bad:
            self.refuse(bad)
        return good

    def refuse(self, rows: Sequence[Trade]) -> None:
        """Trades of one market that no tape can hold: the metric counts them, one line a market shows what they are."""
        REFUSED.labels(self._exchange, DECIMAL).inc(len(rows))
        bad = rows[0]
        if bad.symbol not in self._shown:
            self._shown.add(bad.symbol)
            price, quantity = bad.price[:SAMPLE_CHARACTERS], bad.quantity[:SAMPLE_CHARACTERS]
            trade = {"exchange": bad.exchange, "symbol": bad.symbol, "trade_id": bad.trade_id}
            log.warning("trade_refused", **trade, price=price, quantity=quantity)


def _row(event: LedgerEvent) -> tuple[object, ...]:
    """What the ledger knows it by: of those that share it only the newest counts."""
    if isinstance(event, Coverage):
        return event.symbol, event.start
    return event.symbol, event.start, event.first_id, event.last_id
