"""The hub: what the bus brings, applied to the markets it concerns.

One trade's way: `take` -> `MarketState.take_trades` -> a group's `publish` -> the outbox -> the socket's `write`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from opentelemetry.trace import SpanContext, SpanKind, get_current_span, use_span
from prometheus_client import Counter, Gauge

from crosstape.common import tracing
from crosstape.common.bus.follower import Arrivals, Record
from crosstape.common.bus.topics import BARS, BOOKS, ORDERS, TRADES, Topic, market_key
from crosstape.common.market.bar import Bar
from crosstape.common.market.book import BookEvent
from crosstape.common.market.order import OrderEvent
from crosstape.common.market.soundness import sound_part
from crosstape.common.market.trade import TradeBatch
from crosstape.common.runtime.metrics import begin
from crosstape.exchanges.times import MILLISECOND
from crosstape.stream_hub import messages
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.market import MarketState, RingSize
from crosstape.stream_hub.positions import before, position
from crosstape.stream_hub.ring import Ring

log = structlog.get_logger(__name__)

RECORDS = Counter("crosstape_hub_records_total", "Records taken from the bus", ["topic"])
REFUSED = Counter("crosstape_hub_refused_records_total", "Records that could not be used", ["reason"])
begin(REFUSED, ("undecodable", "malformed"))
LAG_SECONDS = Gauge("crosstape_hub_lag_seconds", "Age of the newest record when it was taken")

StartOf = Callable[[Topic[Any], bytes], int]
"""The first offset that is read of the partition a key belongs to."""
ORDER_EVENTS = 500
PRUNE_PARTS = 60


class OrderChannel:
    """The order events of one user."""

    def __init__(self, outbox: Outbox, seconds: float, floor: int):
        self.group = Group(outbox)
        self.ring: Ring[OrderEvent] = Ring(OrderEvent, ORDER_EVENTS, seconds, floor)
        self._seen: dict[tuple[str, int], None] = {}
        self._seconds = seconds
        self._newest_ms = 0

    def is_idle(self, now: float) -> bool:
        """Whether nobody listens at `now` (Unix s), and nothing would be left to recover."""
        return not len(self.group) and now - self._newest_ms / 1000 > 2 * self._seconds

    def take(self, event: OrderEvent, place: int, time_ms: int) -> None:
        """One event; a repeat says nothing."""
        self._newest_ms = time_ms
        identity = (event.order_id, event.number)
        if identity in self._seen:
            return
        self._seen[identity] = None
        if len(self._seen) > 2 * ORDER_EVENTS:
            del self._seen[next(iter(self._seen))]
        self.ring.append(place, time_ms, event)
        self.group.publish(messages.order(event, place), place)


class Hub:
    """All markets. Feed it with `take`; look around with `sweep` and `prune` once a second."""

    def __init__(self, outbox: Outbox, size: RingSize):
        self.outbox = outbox
        self.epoch = ""
        self._size = size
        self._listening_since = time.time() - size.seconds
        self._start_of: StartOf = lambda topic, key: 0
        self._markets: dict[tuple[str, str], MarketState] = {}
        self._orders: dict[str, OrderChannel] = {}
        self._order_floors: dict[str, int] = {}  # of users whose channels were let go
        self._book_reasons: dict[tuple[str, str], str | None] = {}
        self._prunings = 0
        self._on_new_market: Callable[[MarketState], None] = lambda market: None
        self._on_lost: Callable[[], None] = lambda: None

    def begin(self, epoch: str, start_of: StartOf) -> None:
        """The log's epoch, and from where it is read."""
        self.epoch = epoch
        self._start_of = start_of

    def tell(self, new_market: Callable[[MarketState], None], lost: Callable[[], None]) -> None:
        """Whom to call for every market of which a first trade comes, and when positions lose their meaning."""
        self._on_new_market, self._on_lost = new_market, lost

    def market(self, exchange: str, symbol: str) -> MarketState:
        """The state of a market, empty if nothing came of it yet."""
        key = (exchange, symbol)
        market = self._markets.get(key)
        if market is None:
            market = MarketState(exchange, symbol, self.outbox, self._size, self._listening_since)
            trades_floor, bars_floor = self._floors(market)
            market.ticks.restart(trades_floor)
            market.bars.restart(bars_floor)
            self._markets[key] = market
        return market

    def known(self, exchange: str, symbol: str) -> MarketState | None:
        """The state of a market if there is one."""
        return self._markets.get((exchange, symbol))

    def markets(self) -> Sequence[MarketState]:
        """All that there are."""
        return list(self._markets.values())

    def orders(self, user_id: str) -> OrderChannel:
        """The order events of a user."""
        channel = self._orders.get(user_id)
        if channel is None:
            floor = self._order_floors.pop(user_id, self._orders_floor(user_id))
            channel = self._orders[user_id] = OrderChannel(self.outbox, self._size.seconds, floor)
        return channel

    def _floors(self, market: MarketState) -> tuple[int, int]:
        """The last positions of its trades and bars before what was read since the start or since records were lost."""
        name = market_key(market.exchange, market.symbol)
        return before(self._start_of(TRADES, name)), before(self._start_of(BARS, name))

    def _orders_floor(self, user_id: str) -> int:
        return before(self._start_of(ORDERS, user_id.encode()))

    def take(self, arrivals: Arrivals) -> None:
        """Apply what came."""
        if arrivals.epoch != self.epoch:
            self._restart(arrivals.epoch)
        if arrivals.gaps:
            self._lost(arrivals.gaps)
        if arrivals.undecodable:
            REFUSED.labels("undecodable").inc(arrivals.undecodable)
        for record in arrivals.records:
            RECORDS.labels(record.topic).inc()
            if record.context is None:
                self._take_or_refuse(record)
            else:
                self._take_traced(record, record.context)
        if arrivals.records:
            LAG_SECONDS.set(max(0.0, time.time() - arrivals.records[-1].time_ms / 1000))

    def _take_traced(self, record: Record, context: SpanContext) -> None:
        """A sampled record: the span lasts until the sockets have what comes of it."""
        span = tracing.start(
            "fan out",
            kind=SpanKind.CONSUMER,
            parent=context,
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.operation.name": "fan out",
                "messaging.operation.type": "process",
            },
        )
        with use_span(span, record_exception=False, set_status_on_exception=False):
            self._take_or_refuse(record)
        self.outbox.ends(span)

    def _take_or_refuse(self, record: Record) -> None:
        try:
            self._take(record)
        except (ValueError, ArithmeticError) as error:
            REFUSED.labels("malformed").inc()
            log.warning(
                "record_refused",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                exchange=getattr(record.value, "exchange", None),
                symbol=getattr(record.value, "symbol", None),
                error=str(error)[:200],
            )

    def _take(self, record: Record) -> None:
        if record.topic == TRADES.name:
            self._trades(record.value, record)
        elif record.topic == BOOKS.name:
            self._book(record.value, record)
        elif record.topic == BARS.name:
            self._bars(record.value, record)
        elif record.topic == ORDERS.name:
            event: OrderEvent = record.value
            self.orders(event.user_id).take(event, position(record.offset, 0), record.time_ms)

    def _trades(self, sent: TradeBatch, record: Record) -> None:
        batch = sound_part(sent, record.time_ms * MILLISECOND)  # whenever it is read: positions count these
        if batch is None:
            return
        market = self.market(batch.exchange, batch.symbol)
        is_new = market.ticks.last is None  # the flow may know bars of it already
        new = market.take_trades(batch.trades(), record.offset, record.time_ms)
        if record.context is not None:
            facts = {**batch.identity(), "new_trades": new, "subscribers": len(market.trade_group)}
            get_current_span().set_attributes(tracing.own(facts))
        if is_new and new:
            self._on_new_market(market)

    def _book(self, event: BookEvent, record: Record) -> None:
        market = self.market(event.exchange, event.symbol)
        if market.book.apply(event, position(record.offset, 0), record.time_ms):
            market.book_changed()

    def _bars(self, bars: Sequence[Bar], record: Record) -> None:
        by_market: dict[tuple[str, str], list[Bar]] = {}
        for bar in bars:
            by_market.setdefault((bar.exchange, bar.symbol), []).append(bar)
        for (exchange, symbol), own in by_market.items():
            self.market(exchange, symbol).take_bars(own, record.offset, record.time_ms)

    def _lost(self, topics: frozenset[str]) -> None:
        log.error("records_lost", topics=sorted(topics), epoch=self.epoch)
        self._on_lost()
        for market in self._markets.values():
            market.lost(*self._floors(market))
        for user_id, channel in self._orders.items():
            channel.ring.restart(max(channel.ring.newest + 1, self._orders_floor(user_id)))
        self._order_floors = {
            user_id: max(floor + 1, self._orders_floor(user_id)) for user_id, floor in self._order_floors.items()
        }

    def _restart(self, epoch: str) -> None:
        self.epoch = epoch
        self._on_lost()
        for market in self._markets.values():
            market.restart()
        for channel in self._orders.values():
            channel.ring.restart(before(0))
        self._order_floors.clear()

    def sweep(self, now: float) -> None:
        """Notice at `now` (Unix s) whose book got stale by silence or well again, and let old things go."""
        for key, market in self._markets.items():
            reason = market.book.reason(now)
            if reason != self._book_reasons.get(key):
                self._book_reasons[key] = reason
                market.book_changed()

    def prune(self, now: float) -> None:
        """Let go at `now` (Unix s) what nobody will ask for: a part each time, as trades wait for it."""
        turn = slice(self._prunings % PRUNE_PARTS, None, PRUNE_PARTS)
        self._prunings += 1
        for market in list(self._markets.values())[turn]:
            market.prune(int(now))
        for user_id, channel in list(self._orders.items())[turn]:
            if channel.is_idle(now):
                self._order_floors[user_id] = self._orders.pop(user_id).ring.newest
