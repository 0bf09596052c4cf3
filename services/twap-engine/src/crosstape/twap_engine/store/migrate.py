"""The schema, brought up to date when a process starts."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from crosstape.twap_engine.store.database import Database


async def migrate(database: Database) -> None:
    """Run what migrations are missing, all or none, by one process at a time. Raises DatabaseError."""
    async with database.preparing() as connection:
        await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(files("crosstape.twap_engine") / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
