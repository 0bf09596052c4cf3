"""Connections to one service: kept alive, bounded in number, handed out and taken back."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from random import uniform

from yarl import URL

from crosstape.api_gateway.service_connection import Broken, Busy, ServiceConnection

IDLE_SECONDS = 20.0
"""Idle connections are not used again after this, before the services' own 30 s end them."""
LIFE_SECONDS = (30.0, 60.0)
"""A connection is used for a time between these: it leads to one replica, and new ones are to get their share soon."""


class Connector:
    """Opens connections to an origin, each within `seconds`."""

    def __init__(self, origin: URL, seconds: float):
        self._host, self._port = str(origin.host), int(origin.port or 0)
        self._tls = ssl.create_default_context() if origin.scheme == "https" else None
        self._seconds = seconds

    async def connect(self, on_lost: Callable[[ServiceConnection], None]) -> ServiceConnection:
        """A new connection. Raises Broken."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                _, connection = await loop.create_connection(
                    lambda: ServiceConnection(on_lost), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            raise Broken("refused") from error
        connection.retires_at = loop.time() + uniform(*LIFE_SECONDS)
        return connection


class Pool:
    """`limit` is the most connections there are; who finds none free waits in line for `wait_seconds` at most. What
    comes free goes to whoever has waited longest."""

    def __init__(self, connector: Connector, limit: int, wait_seconds: float):
        self._connector = connector
        self._limit = limit
        self._wait_seconds = wait_seconds
        self._loop = asyncio.get_running_loop()
        self._idle: list[tuple[ServiceConnection, float]] = []
        self._all: set[ServiceConnection] = set()
        self._opening = 0
        self._line: deque[asyncio.Future[ServiceConnection | None]] = deque()

    async def acquire(self) -> ServiceConnection:
        """A connection for one request; give it back with `release`. Raises Broken when the service cannot be reached,
        and Busy.

        Its `requests` are 0 when it is new. The service may have closed any other this very moment: a GET that finds it
        so is asked again.
        """
        until = 0.0
        while True:
            if idle := self._idle_one():
                return idle
            if not self._is_full:
                self._opening += 1
                return await self._open()
            is_next = until > 0  # they had one, and it was lost on its way
            until = until or self._loop.time() + self._wait_seconds
            connection = await self._stand_in_line(until, is_next=is_next)
            if connection is None:
                return await self._open()
            if connection.is_reusable:
                return connection

    def release(self, connection: ServiceConnection) -> None:
        """Keep it for the next request if it can serve one, else end it."""
        now = self._loop.time()
        if not connection.is_reusable or connection.retires_at <= now:
            connection.abort()
        elif not self._hand_over(connection):
            self._idle.append((connection, min(now + IDLE_SECONDS, connection.retires_at)))

    def drop_idle(self) -> None:
        """End every idle connection: one of them proved to be dead, so the service may have been restarted."""
        while self._idle:
            self._idle.pop()[0].abort()

    def close(self) -> None:
        """End all of them."""
        for connection in tuple(self._all):
            connection.abort()

    @property
    def _is_full(self) -> bool:
        return len(self._all) + self._opening >= self._limit

    def _idle_one(self) -> ServiceConnection | None:
        while self._idle:
            connection, until = self._idle.pop()
            if connection.is_reusable and self._loop.time() < until:
                return connection
            connection.abort()
        return None

    async def _open(self) -> ServiceConnection:
        """Into a place that is kept for it."""
        try:
            connection = await self._connector.connect(self._lost)
            if not connection.is_lost:
                self._all.add(connection)
            return connection
        finally:
            self._opening -= 1
            self._give_places()

    async def _stand_in_line(self, until: float, *, is_next: bool) -> ServiceConnection | None:
        """A connection, or None: a place for a new one, which is kept. `is_next` is who stands before all others."""
        waiter: asyncio.Future[ServiceConnection | None] = self._loop.create_future()
        self._line.appendleft(waiter) if is_next else self._line.append(waiter)
        try:
            async with asyncio.timeout_at(until):
                return await waiter
        except (asyncio.CancelledError, TimeoutError) as error:
            if waiter.cancelled():
                if waiter in self._line:
                    self._line.remove(waiter)
            elif connection := waiter.result():
                self.release(connection)
            else:
                self._opening -= 1
                self._give_places()
            if isinstance(error, TimeoutError):
                raise Busy("no connection is free") from error
            raise

    def _hand_over(self, connection: ServiceConnection | None) -> bool:
        """To whoever has waited longest; whether anybody has."""
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _give_places(self) -> None:
        while not self._is_full and self._hand_over(None):
            self._opening += 1

    def _lost(self, connection: ServiceConnection) -> None:
        self._all.discard(connection)
        self._idle = [entry for entry in self._idle if entry[0] is not connection]
        self._give_places()
