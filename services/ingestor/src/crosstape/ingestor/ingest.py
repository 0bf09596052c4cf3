"""The trades of one socket: from frames to the sequence, the repair and the bus, and what the ledger is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from prometheus_client import Gauge

from crosstape.common.market.ledger import Coverage
from crosstape.common.market.trade import Trade
from crosstape.exchanges.dialect import Decode, Event, MalformedFrame, MarketRefused, Subscription
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import Outage
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair

LAST_TRADE_AGE = Gauge(
    "crosstape_ingestor_last_trade_age_seconds",
    "Since the newest trade of any market came, or since the start while none did",
    ["exchange"],
)


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

    def on_frame(self, payload: bytes, time_received: int) -> Sequence[Event]:
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
        return events

    def _lost_frame(self, now: int) -> None:
        """Where trades are not numbered nothing else would reveal what an unreadable frame held."""
        for market in self._markets.values():
            if market.sequence is None and market.connected_since is not None:
                since = max(market.connected_since, market.last_trade_received)
                self._repairs[market.symbol].outage(Outage(since, now, "malformed"))


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
