"""For tests: a client of a simulator inside the test's own loop, which waits on what arrives, never on the clock."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from crosstape.exchange_sim.server import running_sim
from crosstape.exchange_sim.settings import SimConfig

PATIENCE_S = 10.0
POLL_S = 0.01
"""Between two looks at something that only polling shows: without it a core is busy beside the simulator."""

SMALL = SimConfig(symbols=1, rate=1500.0, seed=7)


class Client:
    """Requests and sockets to a simulator; JSON fractions come back as their exact text."""

    def __init__(self, address: str, http: aiohttp.ClientSession) -> None:
        self.address = address
        self.http = http

    async def get(self, path: str) -> Any:
        async with self.http.get(self.address + path) as response:
            if response.status != 200:
                raise AssertionError(f"{path}: {response.status} {await response.text()}")
            return json.loads(await response.read(), parse_float=str)

    async def post(self, path: str, body: Any = None) -> Any:
        async with self.http.post(self.address + path, json=body) as response:
            if response.status != 200:
                raise AssertionError(f"{path}: {response.status} {await response.text()}")
            return await response.json()

    async def truth(self, exchange: str, symbol: str, kind: str = "spot") -> list[dict[str, Any]]:
        trades: list[dict[str, Any]] = await self.get(f"/_truth/{exchange}/{symbol}/trades?kind={kind}&limit=100000")
        return trades

    @asynccontextmanager
    async def socket(self, path: str, *messages: Any) -> AsyncIterator["Socket"]:
        url = self.address.replace("http", "ws") + path
        async with self.http.ws_connect(url, max_msg_size=0) as raw:
            for message in messages:
                await raw.send_json(message)
            yield Socket(raw)


class Socket:
    """One WebSocket, read frame by frame."""

    def __init__(self, raw: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = raw

    async def next(self) -> Any:
        message = await self.raw.receive(timeout=PATIENCE_S)
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise AssertionError(f"not a text frame: {message}")
        return json.loads(message.data, parse_float=str)

    async def take(self, wanted: Callable[[Any], bool], count: int) -> list[Any]:
        """The next `count` frames that are wanted."""
        found: list[Any] = []
        while len(found) < count:
            frame = await self.next()
            if wanted(frame):
                found.append(frame)
        return found


@asynccontextmanager
async def client_of(config: SimConfig) -> AsyncIterator[Client]:
    async with running_sim(config) as sim, aiohttp.ClientSession() as http:
        yield Client(sim.address, http)
