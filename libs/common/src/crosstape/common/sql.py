"""SQL databases of services, SQLite or PostgreSQL: engines, and what their failures are to a caller.

Needs the extra `crosstape-common[sql]`.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import AfterValidator
from sqlalchemy import Connection, event, exc, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from crosstape.common.errors import DatabaseConnectionError, DatabaseQueryError, DatabaseTimeout

log = structlog.get_logger(__name__)

DEADLINE_SECONDS = 5.0
"""Of one statement, of waiting for SQLite's one writer, of connecting, and of waiting for a connection."""
TURN_SECONDS = 0.005
CONNECTIONS = 15
KEPT_CONNECTIONS = 5
"""Open while nobody needs them."""


def is_sqlite(url: str) -> bool:
    """Whether `url` is one of SQLite; else it is one of PostgreSQL. Raises ValueError for any other."""
    try:
        backend = make_url(url).get_backend_name()
    except exc.ArgumentError:
        backend = ""
    if backend not in ("sqlite", "postgresql"):
        raise ValueError("must be a sqlite:/// or a postgresql:// URL")
    return backend == "sqlite"


def _checked(url: str) -> str:
    is_sqlite(url)
    return url


DatabaseUrl = Annotated[str, AfterValidator(_checked)]
"""A setting that names a database."""


def open_engine(
    url: str,
    postgresql_settings: Mapping[str, str] | None = None,
    *,
    connections: int = CONNECTIONS,
    for_migrations: bool = False,
) -> AsyncEngine:
    """An engine of at most `connections`, with deadlines on everything; `postgresql_settings` are those of each
    session. A statement of PostgreSQL `for_migrations` has none: it takes as long as there are rows.

    On SQLite a transaction with the execution option `writes` waits for its turn when it begins: a writer that began
    by reading could not wait for another one, it would be refused at once.
    """
    if is_sqlite(url):
        return _sqlite(make_url(url), _pool(connections))
    statement_seconds = None if for_migrations else DEADLINE_SECONDS
    return _postgresql(make_url(url), dict(postgresql_settings or {}), statement_seconds, _pool(connections))


def _pool(connections: int) -> dict[str, Any]:
    kept = min(connections, KEPT_CONNECTIONS)
    return {"pool_size": kept, "max_overflow": connections - kept, "pool_timeout": DEADLINE_SECONDS}


def _sqlite(url: URL, pool: dict[str, Any]) -> AsyncEngine:
    if url.database:
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Secrets may lie in it: it is its owner's alone from the first moment.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_async_engine(
        url.set(drivername="sqlite+aiosqlite"),
        connect_args={"timeout": DEADLINE_SECONDS},
        **pool,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so, below
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            _execute_in_turn(cursor, f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _execute_in_turn(cursor: Any, statement: str) -> None:
    """SQLite refuses to change a new file's journal while another connection does the same, instead of waiting."""
    end = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            cursor.execute(statement)
        except sqlite3.OperationalError as error:
            if not _is_busy(error) or time.monotonic() > end:
                raise
            time.sleep(TURN_SECONDS)
        else:
            return


def _postgresql(
    url: URL, settings: dict[str, str], statement_seconds: float | None, pool: dict[str, Any]
) -> AsyncEngine:
    query = dict(url.query)
    if "sslmode" in query:  # libpq's word, which every PostgreSQL URL may have; asyncpg's own is ssl
        query["ssl"] = query.pop("sslmode")
    return create_async_engine(
        url.set(drivername="postgresql+asyncpg", query=query),
        connect_args={
            "timeout": DEADLINE_SECONDS,
            "command_timeout": statement_seconds,
            "server_settings": settings,
        },
        pool_pre_ping=True,
        **pool,
    )


@asynccontextmanager
async def failures_explained(what: str) -> AsyncIterator[None]:
    """A block whose failures are DatabaseErrors that name `what` ("The orders"); IntegrityError alone is an answer."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except (TimeoutError, exc.TimeoutError) as error:
        raise _late(what) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # what connecting itself raises
        raise _away(what, error) from error
    except exc.DBAPIError as error:
        if _is_busy(error.orig):
            raise _late(what) from error
        if error.connection_invalidated:
            raise _away(what, error.orig) from error
        log.error("database_failed", error=str(error.orig), statement=error.statement)
        raise DatabaseQueryError(f"{what} could not be read or changed.") from error


def _is_busy(error: BaseException | None) -> bool:
    """Whether it is SQLITE_BUSY, which the low byte of all its extended codes says."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _late(what: str) -> DatabaseTimeout:
    return DatabaseTimeout(f"{what} did not answer in time. Try again.")


def _away(what: str, error: BaseException | None) -> DatabaseConnectionError:
    log.warning("database_away", error=type(error).__name__)
    return DatabaseConnectionError(f"{what} are out of reach. Try again in a moment.")


@asynccontextmanager
async def preparing(
    url: str, lock: int, what: str, postgresql_settings: Mapping[str, str] | None = None
) -> AsyncIterator[AsyncConnection]:
    """A transaction by one process at a time, each statement for as long as it takes; it is committed at the end of the
    block. `lock` is the number of PostgreSQL's advisory lock (SQLite has one writer anyway); failures name `what`.
    """
    engine = open_engine(url, postgresql_settings, connections=1, for_migrations=True).execution_options(writes=True)
    try:
        async with failures_explained(what), engine.begin() as connection:
            if not is_sqlite(url):
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
            yield connection
    finally:
        await engine.dispose()


def upgrade(connection: Connection, package: str) -> None:
    """Run what `package`'s Alembic migrations are missing, inside the transaction of `connection`. A schema of a newer
    version is left as it is: migrations only add, so that one may go back, or start again in the middle of an upgrade.
    """
    config = Config()
    config.set_main_option("script_location", str(files(package) / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if newer := set(MigrationContext.configure(connection).get_current_heads()) - known:
        log.warning("schema_is_newer", package=package, revisions=sorted(newer))
        return
    command.upgrade(config, "head")
