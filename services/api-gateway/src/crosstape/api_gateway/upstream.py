"""A service behind the gateway: its pool of kept-alive connections and its breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

import msgspec
from yarl import URL

from crosstape.api_gateway.breaker import Breaker
from crosstape.api_gateway.connection import Broken, Busy, Connection
from crosstape.api_gateway.headers import Header, request_head
from crosstape.api_gateway.metrics import BREAKER_STATE
from crosstape.api_gateway.pool import Pool
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
        self._pool = Pool(url, settings.upstream_connections, connect, wait)
        self._own = Pool(url, _OWN_CONNECTIONS, connect, wait)
        self._sockets = Pool(URL(sockets or origin), settings.connections, connect, wait)
        BREAKER_STATE.labels(name).set_function(lambda: float(self.breaker.state))

    def close(self) -> None:
        """Close the pools."""
        self._pool.close()
        self._own.close()

    def ask(
        self, method: str, target: bytes, headers: list[Header], caller: Caller, *, has_body: bool
    ) -> Awaitable[Connection]:
        """A connection on which the request has been sent, but for its body; `release` it. Raises Broken and Busy.

        Without a body its `head` is there. A GET is sent once more over a new connection when it found none, or when
        the service closed a kept-alive one before any of the answer came.
        """
        return self._ask(self._pool, method, self._head(method, target, headers, caller), has_body=has_body)

    def release(self, connection: Connection) -> None:
        """Done with what `ask` gave; what is unread of the answer ends the connection."""
        self._pool.release(connection)

    async def switch(self, target: bytes, headers: Iterable[Header], caller: Caller) -> Connection:
        """A connection of its own that has been asked to become a WebSocket; its `head` is there. Raises Broken."""
        connection = await self._sockets.connect(lambda lost: None)
        upgrade = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        try:
            connection.begin(self._head("GET", target, [*upgrade, *headers], caller), is_sent=True)
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
                connection = await self._ask(self._own, "GET", head, has_body=False)
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

    async def _ask(self, pool: Pool, method: str, head: bytes, *, has_body: bool) -> Connection:
        may_repeat = method == "GET" and not has_body
        while True:
            try:
                connection = await pool.acquire()
            except Broken:
                if not may_repeat:
                    raise
                may_repeat = False
                continue
            try:
                connection.begin(head, is_sent=not has_body)
                if not has_body:
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


async def read_body(connection: Connection, limit: int) -> bytes | None:
    """The rest of an answer, None when it has more than `limit` bytes. Raises Broken."""
    body = b""
    while part := await connection.part():
        body += part
        if len(body) > limit:
            return None
    return body
