"""A small platform for tests: the session's broker, one history process, and simulators with their ingestors."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crosstape.cli import probe
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command, Process
from crosstape.common.testing.identity import own_headers
from tests.engines.plugin import Broker

START_SECONDS = 60.0
STOP_SECONDS = 15.0
PATIENCE = 30.0
"""How long what must come soon is waited for: ten times what it takes on a busy machine."""


class Service:
    """One process of ours, restartable on its own port."""

    def __init__(self, name: str, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path):
        self.port = free_port()
        ready = "/livez" if module.endswith("exchange_sim") else "/readyz"
        port_argument = ("--port", str(self.port)) if module.endswith("exchange_sim") else ()
        self.process = Process(
            Command(
                name=name,
                argv=(sys.executable, "-P", "-m", module, *port_argument, *arguments),
                ready=probe.http(LOOPBACK, self.port, ready),
                environment={"CROSSTAPE_PORT": str(self.port), "PYTHONUNBUFFERED": "1", **environment},
            ),
            log / f"{name}.log",
        )

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def start(self) -> None:
        """Start and wait until it can do its work."""
        self.process.start()
        await self.process.wait_ready(START_SECONDS)

    async def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        await self.process.wait_exit()

    async def stop(self) -> None:
        """SIGTERM, and the deadline of the drain."""
        await self.process.stop(STOP_SECONDS)


@asynccontextmanager
async def running(*services: Service) -> AsyncIterator[None]:
    """Start these side by side, and whatever happens stop them in the end."""
    try:
        async with asyncio.TaskGroup() as group:
            for service in services:
                group.create_task(service.start())
        yield
    finally:
        await asyncio.gather(*(service.stop() for service in services))


class Stack:
    """What the services of one test share: where the bus and the store are, and where logs go.

    `listing` is a simulator of which history asks market lists; every simulator lists the same markets. It trades at
    `rate`, by itself hardly ever.
    """

    def __init__(self, broker: Broker, directory: Path, rate: str = "0.1"):
        self._directory = directory
        self._shared = {
            "CROSSTAPE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "CROSSTAPE_CLICKHOUSE_URL": f"chdb://{directory / 'clickhouse'}",
        }
        self.broker = broker
        self.listing = self.simulator("listing", "--symbols", "1", "--rate", rate)
        own = self._shared | {"CROSSTAPE_EXCHANGE_ORIGIN": self.listing.url}
        self.history = Service("history", "crosstape.history", (), own, directory)

    def simulator(self, name: str, *options: str) -> Service:
        """A simulator of exchanges; `options` are those of its command line."""
        return Service(name, "crosstape.exchange_sim", options, {}, self._directory)

    def ingestor(self, name: str, simulator: Service, exchange: str, symbols: Sequence[str]) -> Service:
        """An ingestor that audits and notices silence quickly, as short tests need."""
        environment = self._shared | {
            "CROSSTAPE_EXCHANGE": exchange,
            "CROSSTAPE_SYMBOLS": ",".join(symbols),
            "CROSSTAPE_EXCHANGE_ORIGIN": simulator.url,
            "CROSSTAPE_HISTORY_URL": self.history.url,
            "CROSSTAPE_AUDIT_SECONDS": "2",
            "CROSSTAPE_STALL_SECONDS": "3",
        }
        return Service(name, "crosstape.ingestor", (), environment, self._directory)


async def get(session: aiohttp.ClientSession, url: str, **params: str) -> Any:
    """The JSON answer to a GET, asked as a service asks history; fails the test with the body otherwise."""
    async with session.get(url, params=params, headers=own_headers("history")) as response:
        body = await response.text()
        assert response.status == 200, f"{url} answered {response.status}: {body[:500]}"
        return await response.json()


async def until(
    condition: Callable[[], Awaitable[Any]],
    *,
    describe: Callable[[], Any],
    seconds: float = PATIENCE,
    every: float = 0.25,
) -> None:
    """Return when `await condition()` is true; fails after `seconds` with what `describe` says then."""
    try:
        async with asyncio.timeout(seconds):
            while not await condition():
                await asyncio.sleep(every)
    except TimeoutError:
        pytest.fail(f"not within {seconds:.0f} s: {describe()}")
