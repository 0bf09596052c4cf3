"""Connections to one service: kept alive, bounded in number, handed out and taken back."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from random import uniform

from yarl import URL

from crosstape.api_gateway.connection import Broken, Busy, Connection

IDLE_SECONDS = 20.0
"""Idle connections are not used again after this, before the services' own 30 s end them."""
LIFE_SECONDS = (30.0, 60.0)
"""A connection is used for a time between these: it leads to one replica, and new ones are to get their share soon."""


class Pool:
    """`limit` is the most connections there are; who finds none free waits in line for `wait_seconds` at most."""

    def __init__(self, origin: URL, limit: int, connect_seconds: float, wait_seconds: float):
        self._host, self._port = str(origin.host), int(origin.port or 0)
        self._tls = ssl.create_default_context() if origin.scheme == "https" else None
        self._limit = limit
        self._connect_seconds = connect_seconds
        self._wait_seconds = wait_seconds
        self._loop = asyncio.get_running_loop()
        self._idle: list[tuple[Connection, float]] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._line: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> Connection:
        """A connection for one request; give it back with `release`. Raises Broken when the service cannot be reached,
        and Busy.

        Its `requests` are 0 when it is new: one that is not may have been closed by the service this very moment.
        """
        patience = None
        while True:
            while self._idle:
                connection, until = self._idle.pop()
                if connection.is_reusable and self._loop.time() < until:
                    return connection
                connection.abort()
            if len(self._all) + self._opening < self._limit:
                self._opening += 1
                try:
                    connection = await self.connect(self._lost)
                    if not connection.is_lost:
                        self._all.add(connection)
                    return connection
                finally:
                    self._opening -= 1
                    if self._idle or len(self._all) + self._opening < self._limit:
                        self._next()
            patience = patience or self._loop.time() + self._wait_seconds
            await self._stand_in_line(patience)

    def release(self, connection: Connection) -> None:
        """Keep it for the next request if it can serve one, else end it."""
        if connection.is_reusable:
            self._idle.append((connection, min(self._loop.time() + IDLE_SECONDS, connection.retires_at)))
            self._next()
        else:
            connection.abort()

    def drop_idle(self) -> None:
        """End every idle connection: one of them proved to be dead, so the service may have been restarted."""
        while self._idle:
            self._idle.pop()[0].abort()

    async def connect(self, on_lost: Callable[[Connection], None]) -> Connection:
        """A new connection that the pool does not count. Raises Broken."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await self._loop.create_connection(
                    lambda: Connection(on_lost), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            raise Broken("refused") from error
        connection.retires_at = self._loop.time() + uniform(*LIFE_SECONDS)
        return connection

    def close(self) -> None:
        """End all of them."""
        for connection in tuple(self._all):
            connection.abort()

    async def _stand_in_line(self, until: float) -> None:
        turn = self._loop.create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout_at(until):
                await turn
        except (asyncio.CancelledError, TimeoutError) as error:
            if not turn.cancelled():
                self._next()
            elif turn in self._line:
                self._line.remove(turn)
            if isinstance(error, TimeoutError):
                raise Busy("no connection is free") from error
            raise

    def _next(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _lost(self, connection: Connection) -> None:
        self._all.discard(connection)
        self._idle = [entry for entry in self._idle if entry[0] is not connection]
        self._next()
