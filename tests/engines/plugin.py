"""Fixtures: a real broker and a real Valkey. `CROSSTAPE_TEST_BROKER=kafka` gives Apache Kafka instead of Tansu."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crosstape.cli import engines, ports
from crosstape.cli.process import Process
from tests.engines import apache_kafka

START_SECONDS = 60.0
STOP_SECONDS = 10.0


class Engine:
    """A running engine. `kill` and `restart` are for tests of what the platform does without it."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self.port = port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> Path:
        return self._process.log

    async def start(self) -> None:
        self._process.start()
        await self._process.wait_ready(START_SECONDS)

    def kill(self) -> None:
        """kill -9, as a crash would; returns at once."""
        self._process.kill()

    async def restart(self) -> None:
        """End it if it runs, and start it again on the same port. Tansu comes back empty."""
        await self._process.stop(STOP_SECONDS)
        await self.start()

    async def stop(self) -> None:
        await self._process.stop(STOP_SECONDS)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker for one test session (or one test): where it listens, and what kind it is."""

    engine: Engine
    profile: str
    """`embedded` (Tansu) or `kafka`: the value of CROSSTAPE_BUS_PROFILE."""

    @property
    def bootstrap(self) -> str:
        return f"{ports.LOOPBACK}:{self.engine.port}"

    def kill(self) -> None:
        self.engine.kill()

    async def restart(self) -> None:
        await self.engine.restart()


@dataclass(frozen=True, slots=True)
class Valkey:
    """A Valkey with an append-only file, for one test session (or one test)."""

    engine: Engine

    @property
    def url(self) -> str:
        """The value of CROSSTAPE_REDIS_URL."""
        return f"redis://{ports.LOOPBACK}:{self.engine.port}/0"

    def kill(self) -> None:
        self.engine.kill()

    async def restart(self) -> None:
        await self.engine.restart()


def _running(engine: Engine) -> Iterator[Engine]:
    asyncio.run(engine.start())
    try:
        yield engine
    finally:
        asyncio.run(engine.stop())


def _brokers(directory: Path) -> Iterator[Broker]:
    port = ports.free_port()
    if os.environ.get("CROSSTAPE_TEST_BROKER", "tansu") == "kafka":
        command, profile = apache_kafka.kafka(port, directory), "kafka"
    else:
        command, profile = engines.tansu(port), "embedded"
    for engine in _running(Engine(Process(command, directory / "broker.log"), port)):
        yield Broker(engine, profile)


def _valkeys(directory: Path) -> Iterator[Valkey]:
    port = ports.free_port()
    command = engines.valkey(port, directory / "data")
    for engine in _running(Engine(Process(command, directory / "valkey.log"), port)):
        yield Valkey(engine)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The session's broker, shared: use topic names of your own, and do not kill it."""
    yield from _brokers(tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="module")
def module_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker of this module alone: yours to kill and restart."""
    yield from _brokers(tmp_path_factory.mktemp("module-broker"))


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker of this test alone: yours to kill and restart."""
    yield from _brokers(tmp_path / "broker")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The session's Valkey, shared: use keys of your own, and do not kill it."""
    yield from _valkeys(tmp_path_factory.mktemp("valkey"))


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of this test alone: yours to kill and restart."""
    yield from _valkeys(tmp_path / "valkey")


@pytest.fixture
def free_port() -> int:
    """A loopback port nobody listens on; for more, call `crosstape.cli.ports.free_port`."""
    return ports.free_port()
