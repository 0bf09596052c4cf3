"""Back-pressure: what is fetched waits for the bus as the sockets do, and how much waits, which the metric says."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from crosstape.common.market.book import BookUpdate
from crosstape.common.market.ledger import Coverage, Gap, GapState, LedgerEvent
from crosstape.common.testing.builders import make_trade
from crosstape.ingestor import publish
from crosstape.ingestor.publish import Publisher


class Producer:
    """Takes what it is sent while `is_open`; `is_asked` once it was sent anything."""

    def __init__(self) -> None:
        self.delivered: list[object] = []
        self.is_asked = asyncio.Event()
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def send(self, topic: object, key: bytes, record: object) -> None:
        self.is_asked.set()
        await self.is_open.wait()

    async def deliver(self, topic: object, key: bytes, record: object) -> None:
        await self.is_open.wait()
        self.delivered.append(record)

    async def flush(self) -> None:
        self.is_asked.set()
        await self.is_open.wait()


def values_waiting() -> float | None:
    return REGISTRY.get_sample_value("crosstape_ingestor_values_waiting", {"exchange": "x"})


async def test_who_fetches_trades_waits_while_the_bus_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "HIGH_WATER", 2)
    pressure: list[bool] = []
    publisher = Publisher("x", cast(Any, Producer()), pressure.append)
    await publisher.room()
    for number in range(3):
        publisher.trade(make_trade(number, exchange="x", symbol="A-B"))
    waiting = asyncio.create_task(publisher.room())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    running = asyncio.create_task(publisher.run())
    async with asyncio.timeout(10):
        await waiting
    running.cancel()
    assert pressure == [True, False]


async def test_the_metric_counts_what_waits_while_the_bus_takes_nothing() -> None:
    producer = Producer()
    producer.is_open.clear()
    publisher = Publisher("x", cast(Any, producer), lambda is_full: None)
    running = asyncio.create_task(publisher.run())
    for number in range(4):
        if number == 1:
            await asyncio.wait_for(producer.is_asked.wait(), 10)
        publisher.trade(make_trade(number, exchange="x", symbol="A-B"))
    assert values_waiting() == 4
    producer.is_open.set()
    async with asyncio.timeout(10):
        await publisher.drain()
    assert values_waiting() == 0
    running.cancel()


def test_a_book_weighs_as_many_trades_as_it_has_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "HIGH_WATER", 1_000)
    pressure: list[bool] = []
    publisher = Publisher("x", cast(Any, Producer()), pressure.append)
    for number in range(900):
        publisher.trade(make_trade(number, exchange="x", symbol="A-B"))
    assert publisher.has_room
    publisher.book(BookUpdate("x", "A-B", True, [("1", "1")] * 100, [], 0, 1))
    assert pressure == [True] and values_waiting() == 1_001


async def test_of_what_the_ledger_is_told_while_the_broker_is_away_the_newest_of_each_row_is_kept() -> None:
    def gap(first_id: int | None, state: GapState) -> Gap:
        return Gap("x", "A-B", first_id, first_id, 5, 6, "sequence", state, 0, 0)

    producer = Producer()
    producer.is_open.clear()
    publisher = Publisher("x", cast(Any, producer), lambda is_full: None)
    running = asyncio.create_task(publisher.run_ledger())
    first = Coverage("x", "A-B", 0, 1)
    publisher.ledger(first)
    await asyncio.wait_for(producer.is_asked.wait(), 10)
    for end in range(2, 1_000):
        publisher.ledger(Coverage("x", "A-B", 0, end))
    told: list[LedgerEvent] = [
        gap(7, GapState.OPEN), Coverage("x", "A-B", 5, 6), Coverage("x", "C-D", 0, 1), gap(None, GapState.OPEN),
        gap(7, GapState.REPAIRED), Coverage("x", "A-B", 0, 2_000),
    ]  # fmt: skip
    for event in told:
        publisher.ledger(event)
    producer.is_open.set()
    async with asyncio.timeout(10):
        await publisher.drain()
    assert producer.delivered == [first, *told[1:]], "the first was on its way"
    running.cancel()
