"""Following: the bus into the hub, from far enough back that a new replica knows what the others know."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import structlog

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.topics import BARS, BOOKS, ORDERS, TRADES, Topic
from crosstape.common.runtime.health import Check
from crosstape.common.waiting import unless_stopped
from crosstape.stream_hub.hub import Hub

log = structlog.get_logger(__name__)

BOOK_SECONDS = 30.0
"""Every book is published whole once in ten seconds."""
PRIMING_SECONDS = 60.0
"""Trades are read from longer back than they are kept, so that repeats of the first ones kept are known."""
SWEEP_SECONDS = 1.0
SILENT_SECONDS = 15.0


class Following:
    """Feeds the hub. `caught_up` is set once it knows what stood in the log when it began."""

    def __init__(self, settings: BusSettings, hub: Hub, ring_seconds: float):
        self._settings = settings
        self._hub = hub
        self._ring_seconds = ring_seconds
        self._polled = time.monotonic()
        self._follower: asyncio.Future[Follower] = asyncio.get_running_loop().create_future()
        self.caught_up = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`."""
        back = self._ring_seconds + PRIMING_SECONDS
        topics: dict[Topic[Any], float] = {
            TRADES: back,
            BARS: back,
            ORDERS: back,
            BOOKS: BOOK_SECONDS,
        }
        async with contextlib.AsyncExitStack() as stack:
            follower = await unless_stopped(stop, stack.enter_async_context(Follower(self._settings, topics)))
            if follower is None:
                return
            self._hub.begin(follower.epoch, follower.start_of)
            self._follower.set_result(follower)
            swept = time.monotonic()
            batches = await stack.enter_async_context(contextlib.aclosing(follower.arrivals()))
            async for arrivals in batches:
                if stop.is_set():
                    break
                self._hub.take(arrivals)
                now = self._polled = time.monotonic()
                if arrivals.is_caught_up and not self.caught_up.is_set():
                    log.info("caught_up", markets=len(self._hub.markets()))
                    self.caught_up.set()
                if now - swept >= SWEEP_SECONDS:
                    swept = now
                    self._hub.sweep(time.time())
                    self._hub.prune(time.time())
                await asyncio.sleep(0)

    async def has_every_trade(self) -> None:
        """Return once the hub has every trade that stands in the log now."""
        follower = await asyncio.shield(self._follower)
        await follower.has_passed(TRADES)

    def check(self) -> Check:
        """Up while the bus is read."""
        age = time.monotonic() - self._polled
        return Check(is_up=self.caught_up.is_set() and age < SILENT_SECONDS, detail={"polled_ms": round(age * 1000)})
