"""A subscriber that is killed again and again, and its hub with it, against the simulator's truth."""

from __future__ import annotations

import asyncio
import copy
import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets

from crosstape.cli.ports import LOOPBACK, free_port
from tests.e2e.door import Door
from tests.e2e.stack import get, running
from tests.e2e.tape import true_trades
from tests.engines.plugin import Broker, Valkey

pytestmark = pytest.mark.e2e

EXCHANGE, SYMBOL = "kraken", "BTC-USD"
CHANNEL = f"trades:{EXCHANGE}:{SYMBOL}"
KILLS = 200
HUB_KILLS = {70, 140}
MOST_AT_ONCE = 15
FORGOTTEN = 60
RING = {"CROSSTAPE_RING_TRADES": "100000", "CROSSTAPE_RING_SECONDS": "1000"}
"""The hub keeps all that there is until the last kill, however long that takes."""
SMALL_RING = 100
PATIENCE = 60.0


class Subscriber:
    """A client of one channel, as it remembers: the epoch, and offset and id of each trade."""

    def __init__(self, url: str, token: str):
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self.epoch = ""
        self.heard: list[tuple[int, str]] = []

    async def live(self, most: int) -> None:
        """Connect, resume, take up to `most` trades, and be killed."""
        since = self.heard[-1][0] if self.heard else None
        socket, answer = await self._subscribe(since)
        try:
            assert since is None or (answer["recovered"] and answer["epoch"] == self.epoch), answer
            self.epoch = answer["epoch"]
            async with asyncio.timeout(PATIENCE):
                for _ in range(most):
                    self._take(json.loads(await socket.recv()))
        finally:
            socket.transport.abort()

    def moved(self, url: str) -> Subscriber:
        """One that remembers the same, and goes elsewhere."""
        other = copy.copy(self)
        other._url, other.heard = url, [*self.heard]
        return other

    async def can_resume(self, since: int) -> bool:
        """What the hub says of going on behind `since`."""
        socket, answer = await self._subscribe(since)
        socket.transport.abort()
        return bool(answer["recovered"])

    def forget(self, most: int) -> None:
        """Lose up to `most` of the last trades, as one does who was killed before they were stored."""
        del self.heard[max(1, len(self.heard) - most) :]

    @property
    def ids(self) -> list[str]:
        return [trade_id for _, trade_id in self.heard]

    async def _subscribe(self, since: int | None) -> tuple[websockets.ClientConnection, dict[str, Any]]:
        channel = {"channel": CHANNEL} | ({} if since is None else {"since": since, "epoch": self.epoch})
        socket = await websockets.connect(
            self._url, additional_headers=self._headers, compression=None, open_timeout=PATIENCE
        )
        await socket.send(json.dumps({"action": "subscribe", "channels": [channel]}))
        async with asyncio.timeout(PATIENCE):
            answer: dict[str, Any] = json.loads(await socket.recv())
        assert answer["type"] == "subscribed", answer
        return socket, answer

    def _take(self, message: dict[str, Any]) -> None:
        assert message["type"] == "trade", message
        assert not self.heard or message["offset"] > self.heard[-1][0], message
        self.heard.append((message["offset"], str(message["trade_id"])))


@pytest.mark.timeout(400)
async def test_who_is_killed_200_times_and_its_hub_twice_misses_nothing_and_hears_nothing_twice(
    platform_broker: Broker, valkey: Valkey, tmp_path: Path
) -> None:
    chance = random.Random(20)
    async with Door(platform_broker, valkey, tmp_path, RING) as door:
        busy = door.stack.simulator("busy", "--exchanges", EXCHANGE, "--symbols", "1", "--rate", "150")
        ingestor = door.stack.ingestor("busy-ingestor", busy, EXCHANGE, [SYMBOL])
        token = (await door.new_user())[1]["access_token"]
        subscriber = Subscriber(f"ws://{LOOPBACK}:{door.gateway.port}/ws/v1/stream", token)
        async with running(busy), running(ingestor):
            for kill in range(KILLS):
                if kill in HUB_KILLS:
                    await door.hub.kill()
                    await door.hub.start()
                await subscriber.live(chance.randrange(MOST_AT_ONCE))
                if chance.random() < 0.3 and subscriber.heard:
                    subscriber.forget(chance.randrange(FORGOTTEN))
            await everything_heard(subscriber, busy.url)
            await another_replica_says_the_same(door, subscriber)


async def another_replica_says_the_same(door: Door, subscriber: Subscriber) -> None:
    """At one that keeps less: what it has it has under the same offsets, and of the rest it says that it is gone."""
    replica = door.replica("replica", port := free_port(), CROSSTAPE_RING_TRADES=str(SMALL_RING))
    async with running(replica):
        there = subscriber.moved(f"ws://{LOOPBACK}:{port}/ws/v1/stream")
        there.forget(SMALL_RING // 2)
        await there.live(len(subscriber.heard) - len(there.heard))
        assert there.heard == subscriber.heard
        assert not await there.can_resume(subscriber.heard[-2 * SMALL_RING][0])


async def everything_heard(subscriber: Subscriber, simulator: str) -> None:
    """Let the market go quiet, listen to the end, and compare with what happened."""
    async with aiohttp.ClientSession() as session:
        markets = await get(session, f"{simulator}/_truth/markets")
        (market,) = [m for m in markets if f"{m['base']}-{m['quote']}" == SYMBOL and m["kind"] == "spot"]
        await session.post(f"{simulator}/_truth/pause")
        made = [*await true_trades(session, simulator, market)]
    expected = made[made.index(subscriber.ids[0]) :]
    await subscriber.live(len(expected) - len(subscriber.heard))
    assert sorted(subscriber.ids, key=int) == expected  # what an ingestor fetches after a pause comes behind the others
