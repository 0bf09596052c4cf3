"""The schema, brought up to date when a process starts."""

from __future__ import annotations

from crosstape.common.sql import upgrade
from crosstape.twap_engine.store.database import Database


async def migrate(database: Database) -> None:
    """Run what migrations are missing, all or none, by one process at a time. Raises DatabaseError."""
    async with database.preparing() as connection:
        await connection.run_sync(upgrade, "crosstape.twap_engine")
