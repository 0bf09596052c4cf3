"""The simulated markets and the loop that lets their time pass."""

import asyncio
from typing import Any

from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.faults import Faults
from crosstape.exchange_sim.feed import Feed, LiveFeed
from crosstape.exchange_sim.instruments import BASES, Instrument, listing
from crosstape.exchange_sim.latent import stream_key
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.order_flow import OrderFlow
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.settings import SimConfig
from crosstape.exchange_sim.state import StateStore
from crosstape.exchange_sim.venues import DIALECTS
from crosstape.exchange_sim.venues.dialect import Answer, Dialect, Query

TICK_NS = 10_000_000
FAST_STEP_TICKS, SLOW_STEP_TICKS = 5, 50
FAST_ORDERS_A_SIDE, SLOW_ORDERS_A_SIDE = 150, 40
SLOW_TRADES_PER_SECOND = 0.05
EPOCH_MS = 1_704_067_200_000


def shares(instruments: list[Instrument], rate: float) -> list[float]:
    """Trades per second of each market: `rate` over the fast ones, falling with the base's rank."""
    weights = [(BASES.index(one.base) + 1) ** -0.7 if one.is_active else 0.0 for one in instruments]
    total = sum(weights) or 1.0
    return [rate * weight / total if weight else SLOW_TRADES_PER_SECOND for weight in weights]


def first_number(key: str, now_ns: int) -> int:
    """Where ids start without a saved state: they grow with the time of the start faster than any market
    trades, so that a fresh simulator does not reuse an older one's ids."""
    return stream_key(key) % 1_000_000_000 + now_ns // 1_000_000 - EPOCH_MS


class Simulation:
    """Markets of every exchange, stepped each 50 ms (slow ones each 500 ms) and told to the feeds."""

    def __init__(self, config: SimConfig, faults: Faults, clock: ExchangeClock) -> None:
        self.clock = clock
        self.sessions: set[Session] = set()
        self.connections = 0
        self.is_paused = False
        self.trades = 0
        self.store = StateStore(config.state) if config.state else None
        instruments = list(
            listing(config.exchanges, config.bases, config.bases)
            if config.bases
            else listing(config.exchanges, BASES[: config.symbols])
        )
        rates = shares(instruments, config.rate)
        now_ns = clock.now_ns()
        self.markets: dict[str, Market] = {}
        self.flows: list[OrderFlow] = []
        for one in instruments:
            self.markets[one.key] = Market(
                one, config.seed, history_limit=config.history, first_number=first_number(one.key, now_ns),
                since=now_ns // 1_000_000_000, first_update_id=10 * first_number(one.key, now_ns),
            )  # fmt: skip
        if self.store:
            self.store.adopt(self.markets.values())
        for one, rate in zip(instruments, rates, strict=True):
            orders = FAST_ORDERS_A_SIDE if one.is_active else SLOW_ORDERS_A_SIDE
            flow = OrderFlow(self.markets[one.key], config.seed, rate, orders)
            flow.open_book(now_ns)
            self.flows.append(flow)
        self.dialects: dict[str, Dialect] = {}
        self.feeds: dict[str, LiveFeed] = {}
        for exchange in config.exchanges:
            own = {(market.instrument.kind, market.instrument.symbol): market
                   for market in self.markets.values() if market.instrument.exchange == exchange}  # fmt: skip
            self.dialects[exchange] = DIALECTS[exchange](own, clock)
            self.feeds[exchange] = LiveFeed(self.dialects[exchange].channel, clock)

    async def run(self) -> None:
        tick = 0
        while True:
            now_ns = self.clock.now_ns()
            self.advance(tick, now_ns)
            tick += 1
            await asyncio.sleep((TICK_NS - now_ns % TICK_NS) / 1e9)

    def advance(self, tick: int, now_ns: int) -> None:
        if not self.is_paused:
            for index, flow in enumerate(self.flows):
                every = FAST_STEP_TICKS if flow.market.instrument.is_active else SLOW_STEP_TICKS
                if (tick + index) % every == 0:
                    self._step(flow, now_ns)
        for feed in self.feeds.values():
            feed.tick(now_ns)
        for session in list(self.sessions):
            session.flush(now_ns)

    def _step(self, flow: OrderFlow, now_ns: int) -> None:
        trades = flow.step(now_ns)
        self.trades += len(trades)
        self.feeds[flow.market.instrument.exchange].stepped(flow.market, trades, now_ns)

    def feed(self, exchange: str) -> Feed:
        return self.feeds[exchange]

    def recorded_answer(self, exchange: str, address: str, path: str, query: Query) -> Answer | None:
        return None

    def stats(self) -> dict[str, Any]:
        return {
            "trades": self.trades, "connections": self.connections,
            "open_connections": len(self.sessions), "paused": self.is_paused,
            "frames": sum(feed.frames for feed in self.feeds.values()), "replay": None,
        }  # fmt: skip

    def close(self) -> None:
        if self.store:
            self.store.save(self.markets.values())
