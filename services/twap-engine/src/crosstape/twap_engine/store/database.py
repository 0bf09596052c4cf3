"""The SQL database, SQLite or PostgreSQL: transactions, and what its failures are to a caller."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from sqlalchemy import Connection, event, exc, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from crosstape.common.errors import DatabaseConnectionError, DatabaseQueryError, DatabaseTimeout

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 5.0
"""Of one statement, of waiting for SQLite's one writer, of connecting, and of waiting for a connection."""

IDLE_MS = 2_000
"""PostgreSQL ends a transaction whose process stands still for so long: its locks would hold up a takeover."""

_PREPARATION = 0x7477_6170
"""PostgreSQL's advisory lock of whoever prepares the database."""


class Database:
    """Transactions on one database. What fails in them is a DatabaseError; IntegrityError alone is an answer."""

    def __init__(self, url: str):
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._engine = _sqlite(parsed) if self.is_sqlite else _postgresql(parsed)
        self._writer = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that changes nothing and sees one moment."""
        async with _failures_explained(), self._engine.connect() as connection:
            if self.is_sqlite:  # where every transaction sees one moment
                yield connection
            else:
                yield await connection.execution_options(isolation_level="REPEATABLE READ")

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed at the end of the block, and not at all when the block fails."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(_failures_explained())
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


def _sqlite(url: URL) -> AsyncEngine:
    if url.database:
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
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
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
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
        connect_args={
            "timeout": DEADLINE_SECONDS,
            "command_timeout": DEADLINE_SECONDS,
            "server_settings": {"idle_in_transaction_session_timeout": str(IDLE_MS)},
        },
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
        raise DatabaseTimeout("The orders did not answer in time. Try again.") from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # what connecting itself raises
        log.warning("database_away", error=type(error).__name__)
        raise DatabaseConnectionError("The orders are out of reach. Try again in a moment.") from error
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            log.warning("database_away", error=type(error.orig).__name__)
            raise DatabaseConnectionError("The orders are out of reach. Try again in a moment.") from error
        log.error("database_failed", error=str(error.orig), statement=error.statement)
        raise DatabaseQueryError("The orders could not be read or changed.") from error
