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
BYTES_AT_ONCE = 1_000_000
"""Some thousand events. A row holds a transaction's events of an order: as many, where it swept deep books."""
LOOK_SECONDS = 0.1
RETRY_SECONDS = 1.0
LAST_SECONDS = 2.0
COUNT_SECONDS = 5.0


class Relay:
    """Tells what is committed. `producer` is open."""

    def __init__(self, database: Database, producer: Producer, life: ReplicaLife):
        self._database = database
        self._producer = producer
        self._life = life
        self._is_behind = False

    async def run(self, stop: asyncio.Event) -> None:
        """Tell until `stop`, and then what is left, unless the broker is away: another replica, or the next start,
        will tell it."""
        while not stop.is_set():
            if not await unless_stopped(stop, self.step()):
                await pause(stop, RETRY_SECONDS if self._is_behind else LOOK_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_SECONDS):
                await self.step()

    async def step(self) -> bool:
        """Tell one batch; whether there may be more. That the database cannot be asked is said once, until it could be
        again."""
        if not self._life.is_first:
            return False
        try:
            async with self._database.reading() as connection:
                ids, events, has_more = await outbox.oldest(connection, ROWS_AT_ONCE, BYTES_AT_ONCE)
            if ids:
                await self._tell(events)
                async with self._database.writing() as connection:
                    await outbox.told(connection, ids)
        except DatabaseError as error:
            if not self._is_behind:
                log.warning("events_wait", error=error.error_code)
            self._is_behind = True
            return False
        self._is_behind = False
        return has_more

    async def _tell(self, events: list[OrderEvent]) -> None:
        """Return once the broker has all of them; each owner's in order."""
        by_owner: dict[str, list[OrderEvent]] = {}
        for event in events:
            by_owner.setdefault(event.user_id, []).append(event)
        async with asyncio.TaskGroup() as group:
            for owner, of_owner in by_owner.items():
                group.create_task(self._producer.deliver_all(ORDERS, owner.encode(), of_owner))


async def watch(database: Database, life: ReplicaLife, stop: asyncio.Event) -> None:
    """Count what waits, until `stop`, whether or not the broker can be reached."""
    while not stop.is_set():
        try:
            await count(database, life)
        except DatabaseError as error:
            log.warning("events_not_counted", error=error.error_code)
        await pause(stop, COUNT_SECONDS)


async def count(database: Database, life: ReplicaLife) -> None:
    """Show how many rows wait: who tells the events shows it, so that they are counted once. Raises DatabaseError."""
    if not life.is_first:
        WAITING_EVENTS.set(0)
        return
    async with database.reading() as connection:
        WAITING_EVENTS.set(await outbox.span(connection))
