"""Transactions on the orders' database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.sql import CONNECTIONS, DEADLINE_SECONDS, failures_explained, is_sqlite, open_engine, preparing

_WHAT = "The orders"

IDLE_MS = 2_000
"""PostgreSQL ends a transaction whose process stands still for so long: its locks would hold up a takeover."""

_SESSION = {"idle_in_transaction_session_timeout": str(IDLE_MS)}

_PREPARATION = 0x7477_6170
"""PostgreSQL's advisory lock of whoever prepares the database."""

_one_request_of_a_user = text("SELECT pg_advisory_xact_lock(hashtextextended(:user_id, 0))")


class Database:
    """Transactions on one database, at most `connections` at once. What fails in them is a DatabaseError."""

    def __init__(self, url: str, connections: int = CONNECTIONS):
        self.is_sqlite = is_sqlite(url)
        self._url = url
        self._engine = open_engine(url, _SESSION, connections=connections)
        self._turn, self._writer = asyncio.Lock(), asyncio.Lock()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def beside(self, connections: int) -> Database:
        """The same database for others, who never wait for a connection of ours. `close` it, too."""
        other = Database(self._url, connections)
        other._writer = self._writer
        return other

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes nothing and sees one moment."""
        async with failures_explained(_WHAT), self._engine.connect() as connection:
            if self.is_sqlite:  # where every transaction sees one moment
                yield connection
            else:
                yield await connection.execution_options(isolation_level="REPEATABLE READ")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end of the block, and not at all when the block fails."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(failures_explained(_WHAT))
            if self.is_sqlite:  # one of ours at a time, so that our connections are left to who reads
                await stack.enter_async_context(self._turn)
            connection = await stack.enter_async_context(self._engine.connect())
            connection = await connection.execution_options(writes=True)
            if self.is_sqlite:  # it has one writer, and lets the others look again now and then instead of queueing
                await stack.enter_async_context(self._writer)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def writing_for(self, user_id: str) -> AsyncIterator[AsyncConnection]:
        """`writing` for one request of a user at a time, in this process and in all others. Who waits for those of
        before has no connection, as far as they are in this process: other users need it."""
        if (turn := self._turns.get(user_id)) is None:
            turn = self._turns[user_id] = asyncio.Lock()
        async with failures_explained(_WHAT), asyncio.timeout(DEADLINE_SECONDS):
            await turn.acquire()
        try:
            async with self.writing() as connection:
                if not self.is_sqlite:  # which has one writer
                    await connection.execute(_one_request_of_a_user, {"user_id": user_id})
                yield connection
        finally:
            turn.release()

    def preparing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """The same, by one process at a time, each statement for as long as it takes."""
        return preparing(self._url, _PREPARATION, _WHAT, _SESSION)

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
