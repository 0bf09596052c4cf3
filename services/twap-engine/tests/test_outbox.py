"""Events that wait for the bus are counted, whatever the bus does, by the one replica that tells them."""

from __future__ import annotations

import asyncio
import tracemalloc
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import delete, insert
from structlog.testing import capture_logs
from twap_world import TestClock, make_order

from crosstape.common.bus.producer import Producer
from crosstape.common.errors import DatabaseTimeout
from crosstape.common.market.order import OrderEvent
from crosstape.twap_engine import events, relay
from crosstape.twap_engine.relay import BYTES_AT_ONCE, Relay, watch
from crosstape.twap_engine.replica import ReplicaLife
from crosstape.twap_engine.store import outbox as outbox_store
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.tables import outbox


class Away:
    """A producer whose broker is out of reach."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()

    async def deliver_all(self, *args: Any) -> None:
        self.is_asked.set()
        await asyncio.Event().wait()


async def until_it_shows(count: int) -> None:
    async with asyncio.timeout(30):
        while REGISTRY.get_sample_value("crosstape_twap_events_waiting") != count:
            await asyncio.sleep(0.01)


async def test_all_events_that_wait_are_counted_while_the_bus_is_away(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "COUNT_SECONDS", 0.01)
    database, away, stop = Database(sqlite_url), Away(), asyncio.Event()
    life = SimpleNamespace(is_first=True)
    row = {"events": events.pack(events.accepted(make_order("a", TestClock())))}
    async with database.writing() as connection:
        await connection.execute(insert(outbox), [row] * 6_000)
    async with asyncio.TaskGroup() as group:
        telling = group.create_task(Relay(database, cast(Producer, away), cast(ReplicaLife, life)).step())
        await away.is_asked.wait()
        group.create_task(watch(database, cast(ReplicaLife, life), stop))
        await until_it_shows(6_000)
        life.is_first = False
        await until_it_shows(0)
        telling.cancel()
        stop.set()
    await database.close()


class Told:
    """A producer that is told all at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def deliver_all(self, topic: Any, key: bytes, told: list[OrderEvent]) -> None:
        self.batches.append(len(told))


async def test_rows_of_many_events_are_read_and_told_a_few_at_once(sqlite_url: str) -> None:
    database, producer = Database(sqlite_url), Told()
    row = {"events": events.pack(events.accepted(make_order("a", TestClock())) * 4_000)}
    in_a_batch = -(-BYTES_AT_ONCE // len(row["events"]))
    async with database.writing() as connection:
        await connection.execute(insert(outbox), [row] * 100)
    relay = Relay(database, cast(Producer, producer), cast(ReplicaLife, SimpleNamespace(is_first=True)))
    tracemalloc.start()
    assert await relay.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert producer.batches == [in_a_batch * 4_000]
    assert peak < 60 * len(row["events"]), "the others were not read"
    async with database.writing() as connection:
        await connection.execute(delete(outbox).where(outbox.c.id < 100))
    assert not await relay.step()
    assert producer.batches[1:] == [4_000]
    await database.close()


async def test_that_events_wait_for_the_database_is_said_once(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database, are_away = Database(sqlite_url), iter([True, True, True, False, True])

    async def oldest(*args: Any) -> tuple[list[int], list[OrderEvent], bool]:
        if next(are_away):
            raise DatabaseTimeout("away")
        return [], [], False

    monkeypatch.setattr(outbox_store, "oldest", oldest)
    relay = Relay(database, cast(Producer, Told()), cast(ReplicaLife, SimpleNamespace(is_first=True)))
    with capture_logs() as logged:
        for _ in range(5):
            await relay.step()
    assert [entry["event"] for entry in logged] == ["events_wait"] * 2
    await database.close()
