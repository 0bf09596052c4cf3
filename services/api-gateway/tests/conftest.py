"""A real gateway in front of a real, scripted service, over sockets, served exactly as in production."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from crosstape.api_gateway.main import Resources, create_app, open_resources
from crosstape.api_gateway.routes import HISTORY, ROUTES, Route, RouteTable
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.runtime.lifecycle import Work, listen, run_until_stopped
from crosstape.common.runtime.settings import ServiceSettings

OTHER = "other"
TABLE = RouteTable(
    [Route("POST", "/echo", HISTORY, "Takes a body"), Route("GET", "/other", OTHER, "Elsewhere"), *ROUTES]
)


@dataclass
class Seen:
    """A request as the service got it."""

    method: str
    raw_path: bytes
    query: bytes
    headers: list[tuple[bytes, bytes]]

    def header(self, name: bytes) -> list[bytes]:
        return [value for given, value in self.headers if given == name]


class Server:
    """An ASGI app on a port of its own; stops and starts again on the same one."""

    def __init__(self, app: Any, work: tuple[Work, ...] = ()):
        self._app = app
        self._work = work
        self.port = 0

    async def start(self) -> None:
        settings = ServiceSettings(port=self.port, shutdown_seconds=2)
        listener = listen(settings)
        listener.listen()
        self.port = listener.getsockname()[1]
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(run_until_stopped(settings, self._app, self._work, self._stop, listener))

    async def stop(self) -> None:
        self._stop.set()
        await self._task


@dataclass
class Service:
    """Answers by script: `answers[path]` is an ASGI app; anything else echoes what came.

    `seen` is what came from clients, `probes` how often the gateway itself asked for the status.
    """

    answers: dict[str, Any] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    probes: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/internal/status":
            self.probes += 1
        else:
            self.seen.append(Seen(scope["method"], scope["raw_path"], scope["query_string"], scope["headers"]))
        answer = self.answers.get(scope["path"], answering(200, {"path": scope["path"]}))
        await answer(scope, receive, send)


def answering(status: int, body: Any, headers: Mapping[str, str] | None = None) -> Any:
    """An ASGI app that gives one answer: `body` is JSON, or bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pairs = [(name.encode(), value.encode()) for name, value in given.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": content})

    return app


@dataclass
class Reply:
    """An answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """A running gateway and a client of it."""

    def __init__(self, server: Server, session: aiohttp.ClientSession):
        self.server = server
        self.session = session

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def ask(self, path: str, method: str = "GET", **options: Any) -> Reply:
        async with self.session.request(method, self.url + path, **options) as response:
            return Reply(response.status, dict(response.headers), await response.read())

    async def raw(self, request: bytes) -> Reply:
        """Send bytes as they are; read until the connection ends or, with a length, the answer does."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            return Reply(int(status.split()[1]), headers, body)
        finally:
            writer.close()

    async def raw_path(self, path: bytes, headers: bytes = b"") -> Reply:
        return await self.raw(b"GET " + path + b" HTTP/1.1\r\nHost: gateway\r\n" + headers + b"\r\n")


@pytest.fixture(scope="session")
def scripted() -> Callable[[int, Any], Any]:
    return answering


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def open_service() -> AsyncIterator[Callable[[], Awaitable[tuple[Service, Server]]]]:
    servers = []

    async def start() -> tuple[Service, Server]:
        service = Service()
        server = Server(service)
        await server.start()
        servers.append(server)
        return service, server

    yield start
    await asyncio.gather(*(server.stop() for server in servers))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def open_gateway() -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Starts gateways in front of a service's port; `other_port` puts a second service behind it."""
    gateways: list[Gateway] = []

    async def start(service_port: int, other_port: int | None = None, **changes: Any) -> Gateway:
        fast = {"kafka_bootstrap": "", "health_interval_seconds": 0.02, "document_seconds": 0, "port": 0}
        origin = f"http://127.0.0.1:{service_port}"
        settings = GatewaySettings(**{"history_url": origin, **fast, **changes})
        resources = open_resources(settings)
        other = Upstream(OTHER, f"http://127.0.0.1:{other_port or service_port}", settings)
        resources = Resources({**resources.upstreams, OTHER: other}, resources.cache, resources.monitor)
        server = Server(create_app(settings, resources, TABLE), (resources.monitor.run,))
        await server.start()
        patience = aiohttp.ClientTimeout(total=10)
        gateways.append(Gateway(server, aiohttp.ClientSession(auto_decompress=False, timeout=patience)))
        return gateways[-1]

    yield start
    await asyncio.gather(*(gateway.session.close() for gateway in gateways))
    await asyncio.gather(*(gateway.server.stop() for gateway in gateways))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(open_service: Any, open_gateway: Any) -> tuple[Gateway, Service]:
    service, server = await open_service()
    return await open_gateway(server.port), service


@pytest.fixture
def gateway(running: tuple[Gateway, Service]) -> Gateway:
    return running[0]


@pytest.fixture
def service(running: tuple[Gateway, Service]) -> Service:
    running[1].seen.clear()
    return running[1]


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Asks until the answer is true, for at most five seconds, and returns it."""

    async def until(question: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(5):
            while not (answer := await question()):
                await asyncio.sleep(0.005)
            return answer

    return until
