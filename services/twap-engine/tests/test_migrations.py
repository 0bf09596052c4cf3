"""The schema: the migrations come to what the tables say, on both engines, and several processes may start at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.migrate import migrate
from crosstape.twap_engine.store.tables import metadata
from tests.engines.plugin import Postgres


async def _differences(url: str) -> list[object]:
    database = Database(url)
    async with database.reading() as connection:
        found = await connection.run_sync(lambda sync: compare_metadata(MigrationContext.configure(sync), metadata))
    await database.close()
    return found


async def _migrate_at_once(url: str) -> None:
    databases = [Database(url) for _ in range(8)]
    await asyncio.gather(*map(migrate, databases))
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
