"""Databases as earlier versions left them."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, select, text

from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.tables import orders


async def make_at(url: str, revision: str) -> Database:
    """A new database with the schema of `revision`."""

    def upgrade(connection: Connection) -> None:
        config = Config()
        config.set_main_option("script_location", str(files("crosstape.twap_engine") / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    database = Database(url)
    async with database.preparing() as connection:
        await connection.run_sync(upgrade)
    return database


async def copy_orders(source: Database, target: Database) -> None:
    """What `target` has columns for."""
    async with source.reading() as connection:
        rows = [row._asdict() for row in await connection.execute(select(orders))]
    async with target.writing() as connection:
        found: Any = await connection.run_sync(lambda sync: inspect(sync).get_columns("orders"))
        names = [one["name"] for one in found]
        columns, places = ", ".join(f'"{name}"' for name in names), ", ".join(f":{name}" for name in names)
        statement = text(f"INSERT INTO orders ({columns}) VALUES ({places})")
        for row in rows:
            await connection.execute(statement, {name: row[name] for name in names})
