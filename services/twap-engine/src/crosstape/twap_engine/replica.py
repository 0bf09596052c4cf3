"""This replica's life: it beats, watches whether the others do, and claims what belongs to nobody.

The lease is what the others wait before they take us for dead; in that time we beat six times. Who finds that it was
taken for dead (it was suspended, or cut off from the database) holds nothing any more and starts a new life.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid

import structlog

from crosstape.common.errors import DatabaseError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.runtime.health import Check
from crosstape.common.waiting import pause
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.engine import Engine
from crosstape.twap_engine.metrics import TAKEN_OVER
from crosstape.twap_engine.store import replicas
from crosstape.twap_engine.store.database import Database

log = structlog.get_logger(__name__)

BEATS_IN_A_LEASE = 6


def new_name() -> str:
    """A replica's name, never used before."""
    return uuid.uuid4().hex


class ReplicaLife:
    """Beats for `engine`. `is_first`: of those that live, this one has the first name, and so it tells the events."""

    def __init__(self, database: Database, engine: Engine, clock: Clock, lease_seconds: float):
        self._database = database
        self._engine = engine
        self._clock = clock
        self._lease = int(lease_seconds * NANOSECONDS)
        self._beat_seconds = lease_seconds / BEATS_IN_A_LEASE
        self._seen: dict[str, tuple[int, int]] = {}
        self._looked = 0
        self._lives = False
        self._failure = "starting"
        self.is_first = False

    def check(self) -> Check:
        """Up when the last beat was written to the database."""
        detail = {"reason": self._failure} if self._failure else {"is_first": self.is_first}
        return Check(is_up=not self._failure, detail=detail)

    async def run(self, stop: asyncio.Event) -> None:
        """Live until `stop`; then leave the orders to the others. Why beats are missed is said once."""
        while not stop.is_set():
            try:
                await self.step()
            except DatabaseError as error:
                if self._failure != error.error_code:
                    log.warning("beat_missed", error=error.error_code)
                self._failure = error.error_code
            else:
                self._failure = ""
            await pause(stop, self._beat_seconds)

    async def resign(self) -> None:
        """Leave: called once the engine has stopped."""
        with contextlib.suppress(DatabaseError):  # the others will notice in a lease's time
            async with self._database.writing() as connection:
                await replicas.resign(connection, self._engine.replica)

    async def step(self) -> None:
        """One beat. Raises DatabaseError."""
        async with self._database.writing() as connection:
            if not self._lives:
                await replicas.register(connection, self._engine.replica)
            beats = await replicas.beat(connection, self._engine.replica)
            claimed = 0
            if beats is not None:
                for name in self._silent(beats):
                    log.warning("replica_gone", replica=name)
                    await replicas.remove(connection, name, beats.pop(name))
                claimed = await replicas.claim(connection, self._engine.replica)
        self._lives = beats is not None
        self.is_first = beats is not None and min(beats) == self._engine.replica
        if beats is None:
            log.warning("taken_for_dead", replica=self._engine.replica)
            self._engine.replica = new_name()
            self._engine.load()
        elif claimed:
            TAKEN_OVER.inc(claimed)
            log.info("orders_claimed", orders=claimed)
            self._engine.load()

    def _silent(self, beats: dict[str, int]) -> list[str]:
        """Whose beat has stood still for a lease while we were looking."""
        now = self._clock.steady()
        if now - self._looked > self._lease // 2:
            self._seen = {}
        self._looked = now
        self._seen = {
            name: (beat, now if name not in self._seen or self._seen[name][0] != beat else self._seen[name][1])
            for name, beat in beats.items()
        }
        return [name for name, (_, since) in self._seen.items() if now - since > self._lease]
