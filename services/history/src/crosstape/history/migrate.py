"""Migrations: numbered .sql files, forward only, each applied once, an edited one refused.

Every file is one statement that is harmless when repeated, so processes that start together may all apply it.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from string import Template

import structlog
from msgspec import Struct

from crosstape.history.store import Store

log = structlog.get_logger(__name__)


class EditedMigration(Exception):
    """A file that has been applied is not the file that was applied: restore it, and write a new one instead."""


class Migration(Struct, frozen=True):
    """One file: its name orders it, its checksum pins it."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def statement(self, cluster: str) -> str:
        """The statement for a single server, or for `cluster`."""
        return Template(self.sql).substitute(
            on_cluster=f"ON CLUSTER '{cluster}'" if cluster else "", replicated="Replicated" if cluster else ""
        )


def migrations() -> list[Migration]:
    """All files, in order."""
    folder = files("crosstape.history") / "migrations"
    found = [Migration(entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.name)


async def migrate(store: Store, cluster: str = "", known: list[Migration] | None = None) -> list[str]:
    """Apply what is missing; the names applied. Raises EditedMigration, DatabaseError.

    Where nothing is missing nothing is executed: a statement for a cluster waits for a replica that is down.
    """
    applied: dict[str, set[str]] = {}
    if await store.rows("kept_tables", name="schema_migrations"):
        for name, checksum in await store.rows("applied_migrations"):
            applied.setdefault(name, set()).add(checksum)
    new = []
    for migration in known or migrations():
        checksums = applied.get(migration.name, set())
        if checksums - {migration.checksum}:
            raise EditedMigration(f"{migration.name} was edited after it was applied")
        if not checksums:
            await store.execute(migration.statement(cluster))
            await store.command("record_migration", name=migration.name, checksum=migration.checksum)
            new.append(migration.name)
    if new:
        log.info("migrated", applied=new)
    return new
