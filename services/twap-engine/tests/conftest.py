"""Fixtures: databases with the schema."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.migrate import migrate
from tests.engines.plugin import Postgres

sys.path.append(str(Path(__file__).parent))  # what tests share: this folder's name is no package's


async def _make(url: str) -> None:
    database = Database(url)
    await migrate(database)
    await database.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database with the schema: copy it."""
    path = tmp_path_factory.mktemp("template") / "orders.db"
    asyncio.run(_make(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A database of this test alone."""
    path = tmp_path / "orders.db"
    path.write_bytes(sqlite_template.read_bytes())
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def new_postgres_url(postgres_server: Postgres) -> Callable[[], str]:
    """Makes a PostgreSQL database with the schema. (Call it outside of an event loop.)"""

    async def make() -> str:
        url = await postgres_server.create_database()
        await _make(url)
        return url

    return lambda: asyncio.run(make())
