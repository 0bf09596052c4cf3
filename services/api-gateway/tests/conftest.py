"""A real gateway in front of a real, scripted service, over sockets, served exactly as in production."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from crosstape.api_gateway import limiter
from crosstape.api_gateway.main import Resources, create_app, open_resources, protocol
from crosstape.api_gateway.routes import ROUTES, Route, RouteTable
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.upstream import Upstream
from crosstape.cli.ports import free_port
from crosstape.common.identity.access import Claims, JwkSet, public_jwk, sign_access_token
from crosstape.common.identity.principal import ROLE_SCOPES, Principal, Role, Scope
from crosstape.common.identity.revocations import COUNT_KEY
from crosstape.common.identity.services import HISTORY
from crosstape.common.runtime.lifecycle import HTTP, Work, listen, run_until_stopped
from crosstape.common.runtime.settings import ServiceSettings

wires = import_module("services.api-gateway.tests.wires")

OTHER = "other"
TABLE = RouteTable(
    [
        Route(method="POST", pattern="/echo", upstream=HISTORY, summary="Takes a body", is_open=True),
        Route(pattern="/other", upstream=OTHER, summary="Elsewhere", is_open=True),
        *ROUTES,
    ]
)
PLENTY = "1000000/s burst 1000000"


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

    def __init__(self, app: Any, work: Sequence[Work] = (), http: Any = HTTP):
        self._app = app
        self._work = work
        self._http = http
        self.port = free_port()  # nobody else's while it is down

    async def start(self) -> None:
        settings = ServiceSettings(port=self.port, shutdown_seconds=2)
        listener = listen(settings.host, settings.port)
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(
            run_until_stopped(settings, self._app, self._work, self._stop, listener, self._http)
        )

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
        if scope["path"] in ("/internal/status", "/readyz"):
            self.probes += scope["path"] == "/internal/status"
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
class Auth:
    """The auth service's part in identity: signing keys, API keys and what it is asked about them."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    api_keys: dict[str, Principal] = field(default_factory=dict)
    questions: int = 0

    def token(self, role: Role = Role.USER, **changes: Any) -> str:
        """An access token; `changes` are claims, or `key` and `key_id` to sign with."""
        now = int(time.time())
        signed_by = changes.pop("key", self.key), changes.pop("key_id", "k1")
        scopes = " ".join(sorted(ROLE_SCOPES[role]))
        usual = {"jti": "j", "iat": now, "exp": now + 900, "sid": f"s-{random.random()}", "ver": 1}
        usual["sub"] = f"u-{random.random()}"  # limits count by it
        claims = {**usual, "name": "alice", "role": role, "scope": scopes, **changes}
        return sign_access_token(Claims(**claims), *signed_by)

    def api_key(self, *scopes: Scope, name: str = "aaaaaaaa", user_id: str = "u2") -> str:
        """A key of that account with these scopes."""
        key = f"ctk_{name}_{random.getrandbits(256):064x}"
        self.api_keys[key] = Principal(
            user_id=user_id, username="bob", role=Role.QUANT, scopes=frozenset(scopes), api_key_id=name,
            credentials_version=1, expires_at=0,
        )  # fmt: skip
        return key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/.well-known/jwks.json":
            answer = answering(200, msgspec.json.encode(JwkSet([public_jwk("k1", self.key.public_key())])))
        elif scope["path"] == "/internal/api-key":
            self.questions += 1
            principal = self.api_keys.get(json.loads((await receive())["body"])["api_key"])
            answer = answering(200, msgspec.json.encode(principal)) if principal else answering(401, {})
        else:
            answer = answering(200, {"path": scope["path"]})
        await answer(scope, receive, send)


@dataclass
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """A running gateway and a client of it."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, resources: Resources, stopping: asyncio.Event):
        self.server = server
        self.session = session
        self.resources = resources
        self.stopping = stopping

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def ask(self, path: str, method: str = "GET", **options: Any) -> Reply:
        async with self.session.request(method, self.url + path, **options) as response:
            return Reply(response.status, response.headers, await response.read())

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


def pytest_asyncio_loop_factories(config: Any, item: Any) -> Any:
    """The loop of production: it differs from asyncio's in what a closing transport does."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def patient_limiters() -> Iterator[None]:
    """While this machine is busy Redis is not away: else limits would be counted anew, from full buckets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limiter, "ANSWER_SECONDS", 10.0)
        yield


@pytest.fixture(scope="session")
def scripted() -> Callable[[int, Any], Any]:
    return answering


@dataclass
class Platform:
    """A gateway with all there is behind it: one service plays every part but the auth service's."""

    gateway: Gateway
    service: Service
    auth: Auth
    valkey: Any

    async def settled(self) -> Platform:
        """Returns when signing keys and revocations are known and limits are shared."""
        resources = self.gateway.resources
        async with asyncio.timeout(30):
            while not (resources.revocations.is_fresh and resources.limiter.is_shared):
                await asyncio.sleep(0.005)
            while (await self.gateway.ask("/info", headers=bearer(self.auth.token()))).status != 200:
                await asyncio.sleep(0.005)
        self.service.seen.clear()
        return self


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


class Opener:
    """Starts services and gateways, and stops them all: each gateway asks after its services many times a second."""

    def __init__(self, valkey: Any, auth: tuple[Auth, Server]):
        self._valkey = valkey
        self._auth, self._auth_server = auth
        self._services: list[Server] = []
        self._gateways: list[Gateway] = []

    async def close(self) -> None:
        await asyncio.gather(*(gateway.session.close() for gateway in self._gateways))
        await asyncio.gather(*(gateway.server.stop() for gateway in self._gateways))
        await asyncio.gather(*(server.stop() for server in self._services))

    async def service(self, around: Callable[[Any], Any] = lambda app: app) -> tuple[Service, Server]:
        """A scripted service with `around` it, an ASGI middleware."""
        service = Service()
        server = Server(around(service))
        await server.start()
        self._services.append(server)
        return service, server

    async def gateway(self, service_port: int, other_port: int | None = None, **changes: Any) -> Gateway:
        """A gateway in front of a service's port; `other_port` puts a second service behind it."""
        usual = {
            "history_url": f"http://127.0.0.1:{service_port}",
            "auth_url": "http://127.0.0.1:1",
            "redis_url": self._valkey.url,
            "kafka_bootstrap": "",
            "health_interval_seconds": 0.02,
            "document_seconds": 0,
            "port": 0,
            **{f"limit_{name}": PLENTY for name in ("anonymous", "user", "quant", "admin", "login", "failures")},
        }
        settings = GatewaySettings(**{**usual, **changes})
        resources = open_resources(settings)
        tokens = settings.internal_tokens("api-gateway")
        other = Upstream(OTHER, f"http://127.0.0.1:{other_port or service_port}", settings, tokens)
        resources = msgspec.structs.replace(resources, upstreams={**resources.upstreams, OTHER: other})
        stopping = asyncio.Event()
        app = create_app(settings, resources, TABLE, stopping=stopping)
        server = Server(app, resources.work(), protocol(settings))
        await server.start()
        patience = aiohttp.ClientTimeout(total=60)
        session = aiohttp.ClientSession(auto_decompress=False, timeout=patience)
        self._gateways.append(Gateway(server, session, resources, stopping))
        return self._gateways[-1]

    async def platform(self, own: Any = None, **changes: Any) -> Platform:
        """A gateway with identity and limits; `own` is a Valkey of the test's own."""
        service, server = await self.service()
        async with Redis.from_url((own or self._valkey).url) as redis:
            await redis.setnx(COUNT_KEY, 0)
        origin = f"http://127.0.0.1:{server.port}"
        usual = {
            "auth_url": f"http://127.0.0.1:{self._auth_server.port}",
            "stream_hub_url": origin,
            "twap_url": origin,
        }
        if own:
            usual["redis_url"] = own.url
        gateway = await self.gateway(server.port, **{**usual, **changes})
        return await Platform(gateway, service, self._auth, own or self._valkey).settled()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def auth_server() -> AsyncIterator[tuple[Auth, Server]]:
    auth = Auth()
    server = Server(auth)
    await server.start()
    yield auth, server
    await server.stop()


@pytest.fixture
def auth(auth_server: tuple[Auth, Server]) -> Auth:
    auth_server[0].questions = 0
    return auth_server[0]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def for_all(valkey: Any, auth_server: tuple[Auth, Server]) -> AsyncIterator[Opener]:
    opener = Opener(valkey, auth_server)
    yield opener
    await opener.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def closing() -> AsyncIterator[asyncio.TaskGroup]:
    """What drains while the next tests run."""
    async with asyncio.TaskGroup() as group:
        yield group


@pytest_asyncio.fixture(loop_scope="session")
async def for_one(valkey: Any, auth_server: tuple[Auth, Server], closing: asyncio.TaskGroup) -> AsyncIterator[Opener]:
    opener = Opener(valkey, auth_server)
    yield opener
    closing.create_task(opener.close())


@pytest.fixture
def open_service(for_one: Opener) -> Callable[[], Awaitable[tuple[Service, Server]]]:
    return for_one.service


@pytest.fixture
def open_gateway(for_one: Opener) -> Callable[..., Awaitable[Gateway]]:
    return for_one.gateway


@pytest.fixture
def open_platform(for_one: Opener) -> Callable[..., Awaitable[Platform]]:
    return for_one.platform


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def common_platform(for_all: Opener) -> Platform:
    return await for_all.platform()


@pytest_asyncio.fixture(loop_scope="session")
async def platform(common_platform: Platform) -> Platform:
    common_platform.service.answers.clear()
    await common_platform.settled()  # its loop stood still while tests with loops of their own ran
    common_platform.auth.questions = 0
    return common_platform


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(for_all: Opener) -> tuple[Gateway, Service]:
    service, server = await for_all.service()
    return await for_all.gateway(server.port), service


@pytest.fixture
def gateway(running: tuple[Gateway, Service]) -> Gateway:
    return running[0]


@pytest.fixture
def service(running: tuple[Gateway, Service]) -> Service:
    running[1].seen.clear()
    return running[1]


@pytest_asyncio.fixture(loop_scope="session")
async def misbehaving() -> AsyncIterator[tuple[Any, int]]:
    """A service that speaks bytes, see `Misbehaving`, and its port."""
    service = wires.Misbehaving()
    async with await asyncio.start_server(service.serve, "127.0.0.1", 0) as server:
        yield service, server.sockets[0].getsockname()[1]


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Asks until the answer is true, and returns it."""

    async def until(question: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(30):
            while not (answer := await question()):
                await asyncio.sleep(0.005)
            return answer

    return until
