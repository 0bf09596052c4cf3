"""Consumer over a client whose broker the test plays: what it does while the group shares its partitions out."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition

from crosstape.common.bus import consumer as consumer_module
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.consumer import Batch, Consumer
from crosstape.common.bus.topics import Topic

TEXTS: Topic[str] = Topic("texts", str, 1)
PLACE = TopicPartition(TEXTS.name, 0)
PATIENCE = 10.0


class Client:
    """aiokafka's consumer. Until `is_shared_out` it waits for partitions, whatever the time; then it has one text."""

    def __init__(self) -> None:
        self.is_shared_out = asyncio.Event()
        self.asked = 0

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def subscribe(self, topics: list[str], listener: object) -> None:
        pass

    async def end_offsets(self, places: list[TopicPartition]) -> None:
        pass

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self.asked += 1
        await self.is_shared_out.wait()
        message = SimpleNamespace(timestamp=1, value=TEXTS.codec.encode("text"), headers=None, offset=0)
        return {PLACE: [message]}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()

    async def reachable(settings: BusSettings) -> None:
        pass

    monkeypatch.setattr(consumer_module, "AIOKafkaConsumer", lambda **options: client)
    monkeypatch.setattr(consumer_module, "wait_for_broker", reachable)
    return client


async def test_batches_come_while_the_group_shares_its_partitions_out_and_nothing_is_lost(client: Client) -> None:
    got: list[Batch] = []
    async with asyncio.timeout(PATIENCE), Consumer(BusSettings("nowhere:1"), [TEXTS], group="g") as consumer:
        async for batch in consumer.batches(max_records=1, max_age=0.01):
            got.append(batch)
            if len(got) == 3:
                client.is_shared_out.set()
            if batch:
                break
    assert len(got) > 3
    assert [record for batch in got for record in batch.records[TEXTS.name]] == ["text"]
    assert client.asked == 1
