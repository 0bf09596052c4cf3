"""Store: ClickHouse, a server or embedded (chDB), by named queries with bound parameters.

Each worker thread has its own client: a shared chDB session has answered with another thread's parameters. Every
query has a deadline. What fails is logged once here, a server that is away once a second, and reaches the caller
without SQL, host or path.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from importlib.resources import files
from string import Template
from typing import Any, TypeVar
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
import structlog
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from opentelemetry.trace import Span, SpanKind

from crosstape.common import tracing
from crosstape.common.errors import DatabaseConnectionError, DatabaseError, DatabaseQueryError, DatabaseTimeout

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

CONNECT_SECONDS = 5
AWAY_SECONDS = 1.0
"""How often the log tells of a server that does not answer: perhaps a thousand requests a second meet it."""

_TIMEOUT_CODES = {159, 160, 209}
"""ClickHouse's TIMEOUT_EXCEEDED, TOO_SLOW, SOCKET_TIMEOUT."""

_ROWS = "db.response.returned_rows"

_JSON_SETTINGS = {
    "output_format_json_quote_64bit_integers": "0",
    "output_format_json_quote_decimals": "0",
    "output_format_decimal_trailing_zeros": "0",
}
_READ_SETTINGS = {"enable_multiple_prewhere_read_steps": "0"}
"""A page is few rows: reading them condition by condition costs more than it leaves out."""
_INSERT_SETTINGS = {
    "optimize_on_insert": "0",
    "async_insert": "0",
    "insert_deduplicate": "0",
    "input_format_defaults_for_omitted_fields": "0",
}
"""Rows are deduplicated by merges and by FINAL: doing it at the insert as well costs half of the insert's time. No row
leaves a field of a column out, so none is looked through for it; columns that are left out get their default anyhow."""


@functools.cache
def query_text(name: str) -> str:
    """The text of `queries/<name>.sql`; `$fold` and the like stand for what several queries say alike."""
    folder = files("crosstape.history") / "queries"
    parts = {part.name.removesuffix(".sql"): part.read_text() for part in (folder / "parts").iterdir()}
    text = (folder / f"{name}.sql").read_text()
    while "$" in text:
        text = Template(text).substitute(parts)
    return text


class Store:
    """A few threads, each with its own client of the database at `url`. Close it when done.

    `url` is `chdb:///absolute/path` or `http[s]://user:password@host:port/database`. Raises (from every method that
    asks the database) DatabaseTimeout after `deadline` seconds, DatabaseConnectionError, DatabaseQueryError. One query
    uses `cores` of the database's cores, 0 for all, and waits for those of a smaller `priority` above 0.
    """

    def __init__(self, url: str, *, threads: int, deadline: float, cores: int = 0, priority: int = 0):
        self._url = url
        self._deadline = deadline
        self._settings = _READ_SETTINGS | {
            "max_execution_time": f"{deadline}",
            "max_threads": f"{cores}",
            "priority": f"{priority}",
        }
        self._insert_settings = _INSERT_SETTINGS | {"priority": f"{priority}"}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._own = threading.local()
        self._clients: list[Client] = []
        self._told_away = -math.inf
        self._is_closed = False

    async def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a named query."""
        with _span(query) as span:
            rows = await self._run(
                lambda client: [tuple(row) for row in client.query(self._sql(query), parameters).result_rows]
            )
            span.set_attribute(_ROWS, len(rows))
        return rows

    async def json_lines(self, query: str, *, quote_decimals: bool = False, **parameters: Any) -> list[bytes]:
        """One JSON object a row, decimals with their exact text (as JSON strings if `quote_decimals`)."""
        settings = _JSON_SETTINGS | {"output_format_json_quote_decimals": str(int(quote_decimals))}
        sql = self._sql(query, settings)
        with _span(query) as span:
            body = await self._run(lambda client: client.raw_query(sql, parameters, fmt="JSONEachRow"))
            lines = body.splitlines()
            span.set_attribute(_ROWS, len(lines))
        return lines

    async def text(self, query: str, layout: str, **parameters: Any) -> bytes:
        """The answer in one of ClickHouse's text formats, such as CSV."""
        sql = self._sql(query, _JSON_SETTINGS)
        with _span(query):
            return await self._run(lambda client: client.raw_query(sql, parameters, fmt=layout))

    async def arrow(self, query: str, **parameters: Any) -> pa.Table:
        """The answer as an Arrow table."""
        sql = self._sql(query, {"output_format_arrow_string_as_string": "1"})
        with _span(query) as span:
            body = await self._run(lambda client: client.raw_query(sql, parameters, fmt="Arrow"))
            table = pa.ipc.open_file(body).read_all()
            span.set_attribute(_ROWS, table.num_rows)
        return table

    async def command(self, query: str, **parameters: Any) -> None:
        """Run a named statement that answers nothing."""
        with _span(query):
            await self._run(lambda client: client.command(self._sql(query), parameters))

    async def execute(self, statement: str) -> None:
        """Run a statement of a migration."""
        await self._run(lambda client: client.command(statement))

    async def insert(self, table: str, rows: pa.Table) -> None:
        """Insert `rows`; they are stored when this returns."""
        with _span(f"insert {table}") as span:
            span.set_attribute("db.operation.batch.size", rows.num_rows)
            await self._run(lambda client: client.insert_arrow(table, rows, settings=self._insert_settings))

    async def ping(self) -> float:
        """How long the database took for the shortest query, in ms."""
        started = time.perf_counter()
        await self.rows("ping")
        return (time.perf_counter() - started) * 1000

    async def close(self) -> None:
        """Wait for what runs, then close the clients; what is asked from now on is a DatabaseConnectionError."""
        self._is_closed = True
        await asyncio.to_thread(self._pool.shutdown)
        for client in self._clients:
            client.close()

    def _sql(self, query: str, settings: Mapping[str, str] | None = None) -> str:
        """Settings ride on the statement: over chDB, settings beside it would cost five round trips."""
        text = query_text(query)
        if text.lstrip().upper().startswith("INSERT"):
            return text
        both = {**self._settings, **(settings or {})}
        return f"{text}\nSETTINGS {', '.join(f'{name} = {value}' for name, value in both.items())}"

    async def _run(self, work: Callable[[Client], Result]) -> Result:
        if self._is_closed:
            raise DatabaseConnectionError("The service is stopping. Try again in a moment.")
        here = contextvars.copy_context()  # what is logged in the thread names the request too
        return await asyncio.get_running_loop().run_in_executor(self._pool, here.run, self._guarded, work)

    def _guarded(self, work: Callable[[Client], Result]) -> Result:
        try:
            return work(self._client())
        except ClickHouseError as error:
            code = getattr(error, "code", None)
            self._tell(error, code)
            raise _database_error(error, code) from error

    def _tell(self, error: ClickHouseError, code: int | None) -> None:
        now = time.monotonic()
        if code is None:
            if now - self._told_away < AWAY_SECONDS:
                return
            self._told_away = now
        log.warning("database_error", code=code, error=str(error))

    def _client(self) -> Client:
        client: Client | None = getattr(self._own, "client", None)
        if client is None:
            client = connect(self._url, self._deadline)
            self._own.client = client
            self._clients.append(client)
        return client


def _span(summary: str) -> AbstractContextManager[Span]:
    attributes = {"db.system.name": "clickhouse", "db.query.summary": summary}
    return tracing.step(summary, kind=SpanKind.CLIENT, attributes=attributes)


def connect(url: str, deadline: float) -> Client:
    """A client of the database at `url`. Raises ClickHouseError when it is out of reach."""
    parts = urlsplit(url)
    if parts.scheme == "chdb":
        return clickhouse_connect.get_client(interface="chdb", path=parts.path)
    return clickhouse_connect.get_client(
        dsn=url,
        interface=parts.scheme,
        autogenerate_session_id=False,
        connect_timeout=CONNECT_SECONDS,
        send_receive_timeout=int(deadline) + CONNECT_SECONDS,
    )


def _database_error(error: ClickHouseError, code: int | None) -> DatabaseError:
    if code in _TIMEOUT_CODES or "timed out" in str(error).lower():
        return DatabaseTimeout("The database did not answer in time. Ask for a shorter range, or try again.")
    if code is None:
        return DatabaseConnectionError("The database cannot be reached. Try again shortly.")
    return DatabaseQueryError("The database could not answer this query. It has been logged.")
