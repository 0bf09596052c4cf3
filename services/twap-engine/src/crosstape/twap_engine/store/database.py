"""Transactions on the orders' database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.sql import failures_explained, is_sqlite, open_engine

_WHAT = "The orders"

IDLE_MS = 2_000
"""PostgreSQL ends a transaction whose process stands still for so long: its locks would hold up a takeover."""

_PREPARATION = 0x7477_6170
"""PostgreSQL's advisory lock of whoever prepares the database."""


class Database:
    """Transactions on one database. What fails in them is a DatabaseError; IntegrityError alone is an answer."""

    def __init__(self, url: str):
        self.is_sqlite = is_sqlite(url)
        self._engine = open_engine(url, {"idle_in_transaction_session_timeout": str(IDLE_MS)})
        self._writer = asyncio.Lock()

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
            if self.is_sqlite:  # it has one writer, and lets the others look again now and then instead of queueing
                await stack.enter_async_context(self._writer)
            connection = await stack.enter_async_context(self._engine.connect())
            connection = await connection.execution_options(writes=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def preparing(self) -> AsyncIterator[AsyncConnection]:
        """The same, by one process at a time."""
        async with self.writing() as connection:
            if not self.is_sqlite:
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PREPARATION})
            yield connection

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
