"""A service behind the gateway: its pool of kept-alive connections and its breaker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from crosstape.api_gateway.breaker import Breaker
from crosstape.api_gateway.metrics import BREAKER_STATE
from crosstape.api_gateway.settings import GatewaySettings

T = TypeVar("T")

_IDLE_SECONDS = 20
"""Idle connections go before the services' own 30 s, so that no request meets a closing one."""


class Upstream:
    """One service, by name and origin. Redirects are not followed and cookies not kept."""

    def __init__(self, name: str, origin: str, settings: GatewaySettings):
        self.name = name
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_open_seconds)
        self._origin = URL(origin).origin()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.upstream_connections, keepalive_timeout=_IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            auto_decompress=False,
            trust_env=False,
        )
        BREAKER_STATE.labels(name).set_function(lambda: float(self.breaker.state))

    async def close(self) -> None:
        """Close the pool."""
        await self._session.close()

    async def ask(
        self, method: str, path: str, query: str, headers: list[tuple[str, str]], body: AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """The service's answer, its body unread. `path` and `query` are percent-encoded and sent as they are.

        A refused connection is tried once more where that is harmless. Raises aiohttp.ClientError.
        """
        url = URL.build(
            scheme=self._origin.scheme,
            authority=self._origin.authority,
            path=path,
            query_string=query,
            encoded=True,
        )
        may_repeat = method == "GET" and body is None
        while True:
            try:
                return await self._session.request(method, url, headers=headers, data=body, allow_redirects=False)
            except aiohttp.ClientConnectorError:
                if not may_repeat:
                    raise
                may_repeat = False

    async def get(self, path: str, kind: type[T], seconds: float) -> T:
        """The gateway's own question to the service, past the breaker; the JSON answer as a `kind`.

        Raises aiohttp.ClientError, TimeoutError, and ValueError for another answer.
        """
        async with asyncio.timeout(seconds), self._session.get(self._origin.with_path(path)) as response:
            response.raise_for_status()
            try:
                return msgspec.json.decode(await response.read(), type=kind)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ValueError(f"{self.name} answered {path} with something else") from error
