"""Fixtures: a real broker, Valkey and ClickHouse, those of `make demo`; and the machine's own PostgreSQL.

With CROSSTAPE_TEST_ENGINES=containers they are those of docker-compose.yml.
"""

import asyncio
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from crosstape.cli import engines, ports, probe
from crosstape.cli.process import Process
from tests.engines import containers, postgres
from tests.engines.containers import Container

START_SECONDS = 60.0
STOP_SECONDS = 10.0
QUICK = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"}
"""Of a broker: slower for hours, but it starts in half the time."""


class Engine:
    """A running engine. `kill` and `restart` are for tests of what the platform does without it."""

    def __init__(self, process: Process | Container, port: int) -> None:
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
        """End it if it runs, and start it again on the same port."""
        await self._process.stop(STOP_SECONDS)
        await self.start()

    async def stop(self) -> None:
        await self._process.stop(STOP_SECONDS)

    async def end(self) -> None:
        """End it at once: nobody will ask for what it stored."""
        self.kill()
        await self.stop()

    def forget(self, directory: Path) -> None:
        """Lose what it stored, in `directory` or in its container."""
        if isinstance(self._process, Container):
            self._process.remove()
        else:
            shutil.rmtree(directory, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker for one test session (or one test)."""

    engine: Engine
    directory: Path

    @property
    def bootstrap(self) -> str:
        return f"{ports.LOOPBACK}:{self.engine.port}"

    def kill(self) -> None:
        self.engine.kill()

    async def restart(self) -> None:
        await self.engine.restart()

    async def restart_empty(self) -> None:
        """Come back as a broker does whose disk was lost."""
        await self.engine.stop()
        self.engine.forget(self.directory)
        await self.engine.start()

    async def delete_topics(self) -> None:
        """Delete every topic. Its offsets go too, so that nobody reads, or leaves out, what an earlier test sent."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            async with asyncio.timeout(START_SECONDS):
                while names := [name for name in await admin.list_topics() if not name.startswith("__")]:
                    await admin.delete_topics(names)
                    await asyncio.sleep(0.05)
        finally:
            await admin.close()


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


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL server for one test session (or one test)."""

    engine: Engine

    async def create_database(self) -> str:
        """A new, empty database: a postgresql:// URL."""
        return await postgres.create_database(self.engine.port, f"test_{uuid.uuid4().hex}")

    def kill(self) -> None:
        self.engine.kill()

    async def restart(self) -> None:
        await self.engine.restart()


def _running(engine: Engine) -> Iterator[Engine]:
    try:
        asyncio.run(engine.start())
        yield engine
    finally:
        asyncio.run(engine.end())


def _contained(
    service: str,
    port: int,
    inner_port: int,
    ready: probe.Probe,
    variables: dict[str, str] | None = None,
    command: str = "",
) -> Iterator[Engine]:
    """An engine of the compose file."""
    if reason := containers.missing():
        pytest.skip(reason)
    container = Container(service, port, inner_port, ready, variables or {}, command)
    try:
        yield from _running(Engine(container, port))
    finally:
        container.remove()


def _brokers(directory: Path) -> Iterator[Broker]:
    port = ports.free_port()
    data = directory / "data"
    if containers.are_wanted():
        variables = containers.environment("kafka") | {
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{ports.LOOPBACK}:{port}",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        }
        for engine in _contained("kafka", port, 9092, probe.kafka(ports.LOOPBACK, port), variables):
            yield Broker(engine, data)
        return
    command = replace(engines.kafka(port, ports.free_port(), data), environment=QUICK)
    for engine in _running(Engine(Process(command, directory / "broker.log"), port)):
        yield Broker(engine, data)


def _valkeys(directory: Path) -> Iterator[Valkey]:
    port = ports.free_port()
    if containers.are_wanted():
        command_line = "valkey-server --appendonly yes --appendfsync everysec --save ''"
        for engine in _contained("valkey", port, 6379, probe.redis(ports.LOOPBACK, port), command=command_line):
            yield Valkey(engine)
        return
    command = engines.valkey(port, directory / "data")
    for engine in _running(Engine(Process(command, directory / "valkey.log"), port)):
        yield Valkey(engine)


def _postgreses(logs: Path) -> Iterator[Postgres]:
    if containers.are_wanted():
        port = ports.free_port()
        variables = containers.environment("postgres") | {"POSTGRES_HOST_AUTH_METHOD": "trust"}
        for engine in _contained("postgres", port, 5432, postgres.probe(port), variables):
            yield Postgres(engine)
        return
    if reason := postgres.missing():
        pytest.skip(reason)
    with postgres.data_directory() as directory:
        command = postgres.postgres(directory)
        for engine in _running(Engine(Process(command, logs / "postgres.log"), command.port)):
            yield Postgres(engine)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The session's broker, shared: use topic names of your own, and do not kill it."""
    yield from _brokers(tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="module")
def platform_broker(broker: Broker) -> Broker:
    """The session's broker without a topic when a module begins: for services, whose topics have given names."""
    asyncio.run(broker.delete_topics())
    return broker


@pytest.fixture
def empty_broker(broker: Broker) -> Broker:
    """The session's broker without a topic when a test begins: for tests of topics that have given names.

    Take `own_broker` instead to kill it, or to have it come back without what it stored.
    """
    asyncio.run(broker.delete_topics())
    return broker


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


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """The session's PostgreSQL, shared: create a database of your own, and do not kill it."""
    yield from _postgreses(tmp_path_factory.mktemp("postgres"))


@pytest.fixture
def own_postgres_server(tmp_path: Path) -> Iterator[Postgres]:
    """A PostgreSQL of this test alone: yours to kill and restart."""
    yield from _postgreses(tmp_path)


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty ClickHouse for the session, as CROSSTAPE_CLICKHOUSE_URL has it: chDB, or the compose file's server."""
    if not containers.are_wanted():
        yield f"chdb://{tmp_path_factory.mktemp('history') / 'store'}"
        return
    port = ports.free_port()
    variables = containers.environment("clickhouse") | {"CLICKHOUSE_PASSWORD": "crosstape"}
    for _ in _contained("clickhouse", port, 8123, probe.http(ports.LOOPBACK, port, "/ping"), variables):
        yield f"http://crosstape:crosstape@{ports.LOOPBACK}:{port}/crosstape"


@pytest.fixture
def free_port() -> int:
    """A loopback port nobody listens on; for more, call `crosstape.cli.ports.free_port`."""
    return ports.free_port()
