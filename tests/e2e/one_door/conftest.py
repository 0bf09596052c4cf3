"""The whole platform, once for this folder: to start it and to end it takes longer than most of its tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import websockets

from tests.e2e.door import Door
from tests.engines.plugin import Broker, Valkey


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def door(broker: Broker, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    await broker.delete_topics()
    async with Door(broker, valkey, tmp_path_factory.mktemp("door")) as door:
        yield door


@pytest_asyncio.fixture(scope="module", loop_scope="package", autouse=True)
async def forgiven(door: Door) -> None:
    """What one file's strangers did is none of the next one's."""
    await door.forgive()


@pytest_asyncio.fixture(scope="package", loop_scope="package", autouse=True)
async def nameless(door: Door) -> AsyncIterator[asyncio.Task[int | None]]:
    """The code that a socket without a credential is closed with: the door waits for one while other tests run."""
    waiting = asyncio.create_task(_closing_code(door))
    yield waiting
    waiting.cancel()


async def _closing_code(door: Door) -> int | None:
    async with websockets.connect(f"ws://127.0.0.1:{door.gateway.port}/ws/v1/stream") as socket:
        await socket.send('{"action":"subscribe","channels":["trades:binance:BTC-USDT"]}')
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                await socket.recv()
    return closed.value.rcvd.code if closed.value.rcvd else None
