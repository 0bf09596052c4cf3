"""The schema: the migrations come to what the tables say, on both engines, and several processes may start at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from old_schema import make_at
from sqlalchemy import text

from crosstape.common.errors import DatabaseTimeout
from crosstape.common.runtime.preparing import prepared
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.migrate import migrate
from crosstape.twap_engine.store.sent import Spending, lock_day
from crosstape.twap_engine.store.tables import metadata
from libs.common.tests.statements import shorten
from tests.engines.plugin import Postgres


async def _differences(url: str) -> list[object]:
    database = Database(url)
    async with database.reading() as connection:
        found = await connection.run_sync(lambda sync: compare_metadata(MigrationContext.configure(sync), metadata))
    await database.close()
    return found


async def _migrate_at_once(url: str) -> None:
    databases, stop = [Database(url) for _ in range(8)], asyncio.Event()
    await asyncio.gather(*(prepared(stop, partial(migrate, database)) for database in databases))
    for database in databases:
        await database.close()


async def test_migrations_amount_to_the_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'orders.db'}"
    await _migrate_at_once(url)
    assert await _differences(url) == []


@pytest.mark.integration
async def test_migrations_amount_to_the_tables_on_postgresql(postgres_server: Postgres) -> None:
    url = await postgres_server.create_database()
    await _migrate_at_once(url)
    assert await _differences(url) == []


@pytest.mark.integration
def test_a_reader_sees_one_moment_on_postgresql(new_postgres_url: Callable[[], str]) -> None:
    async def isolation() -> str:
        database = Database(new_postgres_url_text)
        async with database.reading() as connection:
            level = str((await connection.exec_driver_sql("SHOW transaction_isolation")).scalar())
        await database.close()
        return level

    new_postgres_url_text = new_postgres_url()
    assert asyncio.run(isolation()) == "repeatable read"


async def test_what_a_day_has_spent_stays_spent_when_quotes_are_told_apart(tmp_path: Path) -> None:
    database = await make_at(f"sqlite:///{tmp_path / 'old.db'}", "0002")
    async with database.writing() as connection:
        await connection.exec_driver_sql("INSERT INTO daily_notional (day, notional) VALUES ('2025-07-01', '12.5')")
    await migrate(database)
    async with database.writing() as connection:
        spent = [await lock_day(connection, Spending("2025-07-01", quote)) for quote in ("USDT", "BTC")]
    await database.close()
    assert spent == [(Decimal(), Decimal("12.5"))] * 2


async def test_an_order_is_found_by_its_name_without_a_look_at_all_others(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    query = "SELECT * FROM orders WHERE order_id = 'x' ORDER BY id DESC LIMIT 2"
    async with database.reading() as connection:
        plan = str((await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")).all())
    await database.close()
    assert "USING INDEX ix_orders_order_id_id" in plan


@pytest.mark.integration
def test_a_migration_may_take_longer_than_a_statement_of_the_service(
    new_postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, 0.2)
    url = new_postgres_url()

    async def sleep(begin: Callable[[Database], Any]) -> None:
        database = Database(url)
        try:
            async with begin(database) as connection:
                await connection.execute(text("SELECT pg_sleep(0.4)"))
        finally:
            await database.close()

    asyncio.run(sleep(Database.preparing))
    with pytest.raises(DatabaseTimeout):
        asyncio.run(sleep(Database.writing))
