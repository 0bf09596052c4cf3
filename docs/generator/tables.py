"""The reference of tables: ClickHouse's from the migrations, the SQL databases' from what the services declare."""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql

from crosstape.auth.tables import Base
from crosstape.twap_engine.store.tables import metadata as orders
from docs.generator.schemas import cell

PATH = "reference/tables.md"

_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]

_HEAD = """# Tables

This page shows every table that the platform keeps: the market's in ClickHouse, accounts and orders in SQL.

A service owns its data, and nobody else opens its database: read it through the API. The services make and change
their own tables when they start; nothing is to be run by hand.
"""

_CLICKHOUSE = """## ClickHouse: history

These are the migrations themselves, in the order in which they are applied. A file that has been applied is never
edited: its checksum is kept in `schema_migrations`, and history refuses to start on another one. On a cluster
(`CROSSTAPE_CLICKHOUSE_CLUSTER`) `$on_cluster` is `ON CLUSTER` and `${replicated}` is `Replicated`; on a single server
both are empty. Every table is read with `FINAL`: of rows with one key the newest version counts.
"""


def page() -> str:
    """The whole page."""
    lines = [_HEAD, _CLICKHOUSE]
    folder = files("crosstape.history").joinpath("migrations")
    for file in sorted(folder.iterdir(), key=lambda one: one.name):
        if file.name.endswith(".sql"):
            lines += _migration(file.name, file.read_text("utf-8"))
    lines += ["## SQL: auth", "", "Accounts, logins, keys. Times are Unix seconds.", ""]
    docs = {mapper.local_table: mapper.class_.__doc__ or "" for mapper in Base.registry.mappers}
    lines += _database(Base.metadata, {table.name: text for table, text in docs.items() if isinstance(table, Table)})
    lines += ["## SQL: twap-engine", "", "Orders. Prices and quantities are decimal text, times nanoseconds.", ""]
    lines += _database(orders, {})
    return "\n".join(lines).rstrip() + "\n"


def _migration(name: str, sql: str) -> list[str]:
    table = name.removesuffix(".sql").partition("_")[2]
    return [f"### {table}", "", f"`{name}`", "", "```sql", sql.strip(), "```", ""]


def _database(metadata: MetaData, described: dict[str, str]) -> list[str]:
    lines: list[str] = []
    for table in metadata.sorted_tables:
        lines += [f"### {table.name}", "", described.get(table.name, ""), ""]
        lines += ["| column | type | |", "|---|---|---|"]
        for column in table.columns:
            words = [
                "key" if column.primary_key else "",
                "unique" if column.unique else "",
                "" if column.nullable or column.primary_key else "not null",
                *(f"→ `{key.target_fullname}`" for key in column.foreign_keys),
            ]
            kind = column.type.compile(dialect=_POSTGRESQL)
            lines.append(f"| `{column.name}` | {cell(kind)} | {', '.join(filter(None, words))} |")
        lines.append("")
    return lines
