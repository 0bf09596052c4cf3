"""The platform's front for tests: the gateway over HTTP, with every service behind it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy
from redis.asyncio import Redis

from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.common.testing.identity import SIGNING_KEY_SECRET
from tests.e2e.stack import Service, Stack, running, until
from tests.engines.plugin import Broker, Valkey

ADMIN_PASSWORD = "the operator chose this one"
PASSWORD = "correct horse battery staple"

WIDE = {
    f"CROSSTAPE_LIMIT_{name}": "1000/s burst 1000"
    for name in ("ANONYMOUS", "USER", "QUANT", "ADMIN", "LOGIN", "FAILURES")
}
"""Limits that no test reaches."""

_numbers = itertools.count(1)
_databases = itertools.cycle(range(1, 16))
"""Of Redis, in turn: what one platform counted against this machine's address is none of the next one's."""


class Answer:
    """An answer of the gateway."""

    def __init__(self, status: int, headers: CIMultiDictProxy[str], body: bytes, json: Any):
        self.status = status
        self.headers = headers
        self.body = body
        self.json = json


class Door:
    """Every service as a process, with one market of one exchange, on a broker and a Valkey. A context manager.

    Limits are wide unless `settings` (for gateway, auth and hub) say otherwise; `rate` is the simulator's.
    """

    def __init__(
        self,
        broker: Broker,
        valkey: Valkey,
        directory: Path,
        settings: Mapping[str, str] | None = None,
        rate: str = "0.1",
    ):
        self.stack = Stack(broker, directory, rate)
        self._redis_url = f"{valkey.url.removesuffix('/0')}/{next(_databases)}"
        shared = {"CROSSTAPE_REDIS_URL": self._redis_url, **WIDE, **(settings or {})}
        self._directory, self._shared = directory, shared
        self.auth = Service(
            "auth",
            "crosstape.auth",
            (),
            {
                "CROSSTAPE_AUTH_DATABASE_URL": f"sqlite:///{directory / 'auth.db'}",
                "CROSSTAPE_SIGNING_KEY_SECRET": SIGNING_KEY_SECRET,
                "CROSSTAPE_ADMIN_PASSWORD": ADMIN_PASSWORD,
                **shared,
            },
            directory,
        )
        stream_port = free_port()
        self.hub = self.replica("stream-hub", stream_port)
        self.twap = Service(
            "twap-engine",
            "crosstape.twap_engine",
            (),
            {
                "CROSSTAPE_KAFKA_BOOTSTRAP": broker.bootstrap,
                "CROSSTAPE_HISTORY_URL": self.stack.history.url,
                "CROSSTAPE_AUTH_URL": self.auth.url,
                "CROSSTAPE_ORDERS_DATABASE_URL": f"sqlite:///{directory / 'orders.db'}",
            },
            directory,
        )
        self.gateway = Service(
            "gateway",
            "crosstape.api_gateway",
            (),
            {
                "CROSSTAPE_HISTORY_URL": self.stack.history.url,
                "CROSSTAPE_AUTH_URL": self.auth.url,
                "CROSSTAPE_STREAM_HUB_URL": self.hub.url,
                "CROSSTAPE_STREAM_HUB_SOCKETS_URL": f"http://{LOOPBACK}:{stream_port}",
                "CROSSTAPE_TWAP_URL": self.twap.url,
                "CROSSTAPE_KAFKA_BOOTSTRAP": broker.bootstrap,
                **shared,
            },
            directory,
        )
        self.ingestor = self.stack.ingestor("ingestor", self.stack.listing, "binance", ["BTC-USDT"])
        self._services = (self.stack.history, self.auth, self.hub, self.twap, self.ingestor, self.gateway)

    def replica(self, name: str, stream_port: int, **settings: str) -> Service:
        """A stream hub with its WebSockets on `stream_port`; the gateway knows only the first."""
        environment = {
            "CROSSTAPE_KAFKA_BOOTSTRAP": self.stack.broker.bootstrap,
            "CROSSTAPE_HISTORY_URL": self.stack.history.url,
            "CROSSTAPE_AUTH_URL": self.auth.url,
            "CROSSTAPE_STREAM_PORT": str(stream_port),
            **self._shared,
            **settings,
        }
        return Service(name, "crosstape.stream_hub", (), environment, self._directory)

    async def __aenter__(self) -> Door:
        async with AsyncExitStack() as entered:
            await entered.enter_async_context(running(self.stack.listing))  # the ingestor reads its markets once
            await entered.enter_async_context(running(*self._services))
            self._session = await entered.enter_async_context(aiohttp.ClientSession())
            await until(self._lets_in, describe=lambda: "the gateway does not know what is revoked")
            self._entered = entered.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered.aclose()

    async def _lets_in(self) -> bool:
        """Whether the gateway knows what is revoked, which auth writes at its first start: before, nobody is let in."""
        return (await self.ask("GET", "/info")).status == 401

    async def forgive(self) -> None:
        """Forget who failed to log in, and who registered: everybody here comes from one address."""
        async with Redis.from_url(self._redis_url) as redis:
            if counts := [key async for key in redis.scan_iter("crosstape:throttle:*")]:
                await redis.delete(*counts)

    async def ask(
        self, method: str, path: str, *, token: str = "", json: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a request, whatever its status."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        async with self._session.request(
            method, self.gateway.url + path, json=json, headers=sent, allow_redirects=False
        ) as response:
            body = await response.read()
            is_json = response.content_type == "application/json" and body
            return Answer(response.status, response.headers, body, await response.json() if is_json else None)

    async def login(self, username: str, password: str = PASSWORD) -> dict[str, Any]:
        """The body of a login that succeeds."""
        answer = await self.ask("POST", "/login", json={"username": username, "password": password})
        assert answer.status == 200, answer.body
        body: dict[str, Any] = answer.json
        return body

    async def order(self, token: str, body: Any) -> dict[str, Any]:
        """The receipt of an order that is accepted. The engine may be ready before it has a market list."""
        answers: list[Answer] = []

        async def is_answered() -> bool:
            answers.append(await self.ask("POST", "/orders/twap", token=token, json=body))
            return answers[-1].status != 503

        await until(is_answered, describe=lambda: answers[-1].body)
        assert answers[-1].status == 200, answers[-1].body
        receipt: dict[str, Any] = answers[-1].json
        return receipt

    async def new_user(self) -> tuple[str, dict[str, Any]]:
        """The name of a new account, and its login."""
        name = f"alice{next(_numbers)}"
        answer = await self.ask("POST", "/register", json={"username": name, "password": PASSWORD})
        assert answer.status == 200, answer.body
        return name, await self.login(name)

    async def admin(self) -> str:
        """An access token of the operator's account."""
        token: str = (await self.login("admin", ADMIN_PASSWORD))["access_token"]
        return token


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """The contract's error body, with nothing of ours in it."""
    assert (answer.status, answer.json["error_code"]) == (status, code), answer.body
    assert list(answer.json) == ["success", "error_code", "message", "details", "timestamp", "detail"]
    assert answer.json["success"] is False
    assert answer.json["detail"] == answer.json["message"] != ""
    for ours in (b"Traceback", b".py", b"127.0.0.1", b"sqlite", b"SELECT", b"site-packages"):
        assert ours not in answer.body
