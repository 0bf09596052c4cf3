"""Transactions on the accounts' database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from crosstape.common.sql import failures_explained, is_sqlite, open_engine, preparing

_WHAT = "The accounts"
_PREPARATION = 0x6372_6F73_7374
"""PostgreSQL's advisory lock of whoever prepares the database."""


class Database:
    """Transactions on one database. Their failures are DatabaseErrors, but for IntegrityError: that is an answer."""

    def __init__(self, url: str):
        self._url = url
        self._is_sqlite = is_sqlite(url)
        self._engine = open_engine(url)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A transaction that changes nothing."""
        async with failures_explained(_WHAT), self._sessions() as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed at the end of the block, and not at all when the block fails."""
        async with failures_explained(_WHAT), self._sessions() as session:
            _ = await session.connection(execution_options={"writes": True})
            yield session
            await session.commit()

    @asynccontextmanager
    async def preparing(self) -> AsyncIterator[AsyncSession]:
        """The same, by one process at a time, each statement for as long as it takes."""
        async with preparing(self._url, _PREPARATION, _WHAT) as connection:
            if self._is_sqlite:
                await connection.execute(text("PRAGMA secure_delete = ON"))  # of what is overwritten, as plain keys are
            async with AsyncSession(connection, expire_on_commit=False) as session:
                yield session
                await session.flush()

    async def erase_overwritten(self) -> bool:
        """Leave nothing in SQLite's files of what was overwritten while `preparing`: until then its log holds that.
        Whether it could: another process that reads keeps the log.

        PostgreSQL has no such way: dead rows stay until a vacuum, and its log as long as it is archived.
        """
        if not self._is_sqlite:
            return True
        async with failures_explained(_WHAT), self._engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            answer = await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # not allowed within a transaction
            is_busy, _, _ = await answer.fetchone()
            return not is_busy

    async def ping(self) -> float:
        """Milliseconds that a trivial question takes. Raises DatabaseError."""
        started = time.perf_counter()
        async with self.reading() as session:
            await session.execute(text("SELECT 1"))
        return (time.perf_counter() - started) * 1000

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
