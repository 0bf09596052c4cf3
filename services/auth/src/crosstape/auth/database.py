"""The SQL database, SQLite or PostgreSQL: transactions, and what its failures are to a caller."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from sqlalchemy import Connection, event, exc, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from crosstape.common.errors import DatabaseConnectionError, DatabaseQueryError, DatabaseTimeout

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 5.0
"""Of one statement, of waiting for SQLite's one writer, of connecting, and of waiting for a connection."""

_PREPARATION = 0x6372_6F73_7374
"""PostgreSQL's advisory lock of whoever prepares the database."""


class Database:
    """Transactions on one database. Their failures are DatabaseErrors, but for IntegrityError: that is an answer."""

    def __init__(self, url: str):
        self._is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self._engine = _sqlite(make_url(url)) if self._is_sqlite else _postgresql(make_url(url))
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A transaction that changes nothing."""
        async with _failures_explained(), self._sessions() as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed at the end of the block, and not at all when the block fails."""
        async with _failures_explained(), self._sessions() as session:
            _ = await session.connection(execution_options={"writes": True})
            yield session
            await session.commit()

    @asynccontextmanager
    async def preparing(self) -> AsyncIterator[AsyncSession]:
        """The same, by one process at a time."""
        async with self.writing() as session:
            if not self._is_sqlite:  # SQLite has only one writer anyway
                await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PREPARATION})
            yield session

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()


def _sqlite(url: URL) -> AsyncEngine:
    if url.database:
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Signing keys lie in it: it is its owner's alone from the first moment.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        connect_args={"timeout": DEADLINE_SECONDS},
        pool_timeout=DEADLINE_SECONDS,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so, below
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A writer that began by reading could not wait for another one: it would be refused at once.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: URL) -> AsyncEngine:
    query = dict(url.query)
    if "sslmode" in query:  # libpq's word, which every PostgreSQL URL may have; asyncpg's own is ssl
        query["ssl"] = query.pop("sslmode")
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        connect_args={"timeout": DEADLINE_SECONDS, "command_timeout": DEADLINE_SECONDS},
        pool_timeout=DEADLINE_SECONDS,
        pool_pre_ping=True,
    )


@asynccontextmanager
async def _failures_explained() -> AsyncIterator[None]:
    try:
        yield
    except exc.IntegrityError:
        raise
    except (TimeoutError, exc.TimeoutError) as error:
        raise _late() from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # what connecting itself raises
        log.warning("database_away", error=type(error).__name__)
        raise _away() from error
    except exc.DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
            raise _late() from error
        if error.connection_invalidated:
            log.warning("database_away", error=type(error.orig).__name__)
            raise _away() from error
        log.error("database_failed", error=str(error.orig), statement=error.statement)
        raise DatabaseQueryError("The accounts could not be read or changed.") from error


def _late() -> DatabaseTimeout:
    return DatabaseTimeout("The accounts did not answer in time. Try again.")


def _away() -> DatabaseConnectionError:
    return DatabaseConnectionError("The accounts are out of reach. Try again in a moment.")
