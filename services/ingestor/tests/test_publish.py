"""Back-pressure: what is fetched waits for the bus as the sockets do."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from crosstape.common.testing.builders import make_trade
from crosstape.ingestor import publish
from crosstape.ingestor.publish import Publisher


class Producer:
    async def send(self, topic: object, key: bytes, record: object) -> None:
        pass


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
