"""A service behind the gateway: its pool of kept-alive connections and its breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

import msgspec
from yarl import URL

from crosstape.api_gateway.breaker import Breaker
from crosstape.api_gateway.headers import Header, request_head
from crosstape.api_gateway.metrics import BREAKER_STATE, begin_upstream
from crosstape.api_gateway.pool import Connector, Pool
from crosstape.api_gateway.service_connection import Broken, Busy, ServiceConnection
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.streams import Streams
from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller

T = TypeVar("T")

_IDENTITY = HEADER.lower().encode()
_LARGEST_ANSWER = 16 * 1024 * 1024
_OWN_CONNECTIONS = 2
"""The monitor's and the document's, which clients cannot take."""


class Upstream:
    """One service, by name (also the audience of the tokens it is shown) and origin; `sockets` is that of its
    WebSockets where it is another one."""

    def __init__(
        self, name: str, origin: str, settings: GatewaySettings, tokens: InternalTokens, *, sockets: str | None = None
    ):
        url = URL(origin)
        self.name = name
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_open_seconds)
        self._host = url.authority.encode()
        self._tokens = tokens
        self.streams = Streams(settings.upstream_connections)
        connect = settings.connect_seconds
        # Who waits in vain for a connection hears so before the deadline, which would blame the service.
        wait = min(connect, settings.request_deadline_seconds / 2)
        connector = Connector(url, connect)
        self._pool = Pool(connector, settings.upstream_connections, wait)
        self._own = Pool(connector, _OWN_CONNECTIONS, wait)
        self._sockets = Connector(URL(sockets or origin), connect)
        begin_upstream(name)
        BREAKER_STATE.labels(name).set_function(lambda: float(self.breaker.state))

    def close(self) -> None:
        """Close the pools."""
        self._pool.close()
        self._own.close()

    def ask(
        self, method: str, target: bytes, headers: list[Header], caller: Caller, body: bytes
    ) -> Awaitable[ServiceConnection]:
        """A connection on which the request has been sent and the answer's `head` is there; `release` it. Raises Broken
        and Busy.

        A GET is sent once more over a new connection when it found none, or when the service closed a kept-alive one
        before any of the answer came.
        """
        return self._ask(self._pool, method, self._head(method, target, headers, caller), body)

    def release(self, connection: ServiceConnection) -> None:
        """Done with what `ask` gave; what is unread of the answer ends the connection."""
        self._pool.release(connection)

    async def switch(self, target: bytes, headers: Iterable[Header], caller: Caller) -> ServiceConnection:
        """A connection of its own that has been asked to become a WebSocket; its `head` is there. Raises Broken."""
        connection = await self._sockets.connect(lambda lost: None)
        upgrade = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        try:
            connection.begin(self._head("GET", target, [*upgrade, *headers], caller))
            await connection.head()
        except BaseException:
            connection.abort()
            raise
        return connection

    async def get(self, path: str, kind: type[T], seconds: float) -> T:
        """The gateway's own question to the service, past breaker and clients; the JSON answer as a `kind`.

        Raises Broken, TimeoutError, and ValueError for another answer.
        """
        async with asyncio.timeout(seconds):
            head = self._head("GET", path.encode(), [], Caller(self._tokens.service))
            try:
                connection = await self._ask(self._own, "GET", head)
            except Busy as error:
                raise TimeoutError("its own connections are all in use") from error
            try:
                body = await read_body(connection, _LARGEST_ANSWER)
            finally:
                self._own.release(connection)
        try:
            if connection.status != 200 or body is None:
                raise ValueError(f"{self.name} answered {path} with {connection.status}")
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ValueError(f"{self.name} answered {path} with something else") from error

    async def _ask(self, pool: Pool, method: str, head: bytes, body: bytes = b"") -> ServiceConnection:
        may_repeat = method == "GET"
        while True:
            try:
                connection = await pool.acquire()
            except Broken:
                if not may_repeat:
                    raise
                may_repeat = False
                continue
            try:
                connection.begin(head, body)
                await connection.head()
            except Broken:
                pool.release(connection)
                if not may_repeat or connection.requests == 1 or connection.status:
                    raise
                may_repeat = False
                pool.drop_idle()
            except BaseException:
                pool.release(connection)
                raise
            else:
                return connection

    def _head(self, method: str, target: bytes, headers: Iterable[Header], caller: Caller) -> bytes:
        identity = (_IDENTITY, self._tokens.mint(self.name, caller).encode())
        return request_head(method.encode(), target, self._host, [*headers, identity])


async def read_body(connection: ServiceConnection, limit: int) -> bytes | None:
    """The rest of an answer, None when it has more than `limit` bytes. Raises Broken."""
    body = b""
    while part := await connection.part():
        body += part
        if len(body) > limit:
            return None
    return body
