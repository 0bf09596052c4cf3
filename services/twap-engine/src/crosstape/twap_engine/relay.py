"""Relay: from the outbox to topic `orders`, in order, by one replica at a time. What is told twice has the same number.

A batch leaves the outbox only when the broker has all of it, and the next one goes out only then, so that nothing ever
overtakes what came before it. Two replicas that both think they are the first repeat each other, nothing worse.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import ORDERS
from crosstape.common.errors import DatabaseError
from crosstape.common.market.order import OrderEvent
from crosstape.common.waiting import pause, unless_stopped
from crosstape.twap_engine.metrics import WAITING_EVENTS
from crosstape.twap_engine.replica import ReplicaLife
from crosstape.twap_engine.store import outbox
from crosstape.twap_engine.store.database import Database

log = structlog.get_logger(__name__)

ROWS_AT_ONCE = 1_000
LOOK_SECONDS = 0.1
LAST_SECONDS = 2.0


class Relay:
    """Tells what is committed. `producer` is open."""

    def __init__(self, database: Database, producer: Producer, life: ReplicaLife):
        self._database = database
        self._producer = producer
        self._life = life

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until `stop`, and then what is left, unless the broker is away: another replica, or the next start,
        will tell it."""
        while not stop.is_set():
            if not await unless_stopped(stop, self.step()):
                await pause(stop, LOOK_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self.step()

    async def step(self) -> bool:
        """Tell one batch; whether it was full, so that there is more."""
        if not self._life.is_first:
            return False
        try:
            async with self._database.reading() as connection:
                ids, events = await outbox.oldest(connection, ROWS_AT_ONCE)
            WAITING_EVENTS.set(len(ids))
            if ids:
                await self._tell(events)
                async with self._database.writing() as connection:
                    await outbox.told(connection, ids)
        except DatabaseError as error:
            log.warning("events_wait", error=error.error_code)
            return False
        return len(ids) == ROWS_AT_ONCE

    async def _tell(self, events: list[OrderEvent]) -> None:
        """Return once the broker has all of them; each owner's in order."""
        by_owner: dict[str, list[OrderEvent]] = {}
        for event in events:
            by_owner.setdefault(event.user_id, []).append(event)
        async with asyncio.TaskGroup() as group:
            for owner, of_owner in by_owner.items():
                group.create_task(self._producer.deliver_all(ORDERS, owner.encode(), of_owner))
