"""Usernames in orders: found in every spelling that is one account's, as auth tells accounts apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from sqlalchemy import select
from twap_api import ADMIN, Orders, serving, user

from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.migrate import migrate
from crosstape.twap_engine.store.tables import orders as table

ORDER = {
    "order_id": "twap_001", "symbol": "BTC-USD", "side": "buy", "total_quantity": 1, "limit_price": 30_000,
    "duration": 5, "interval": 1,
}  # fmt: skip


@pytest.fixture
async def orders(sqlite_url: str) -> AsyncIterator[Orders]:
    async with serving(sqlite_url) as one:
        yield one


@pytest.mark.parametrize(
    ("name", "asked"), [("alice", "Alice"), ("Alice", "alice"), ("Ärger", "äRGER"), ("ΣΊΣΥΦΟΣ", "σίσυφος")]
)
async def test_an_admin_finds_a_users_orders_by_every_spelling_of_the_name(
    orders: Orders, name: str, asked: str
) -> None:
    for one in (user(name), user("bob")):
        await orders.ask("POST", "/orders/twap", ORDER, by=one)
    query = f"username={quote(asked)}"
    assert [one["username"] for one in (await orders.ask("GET", "/orders", by=ADMIN, query=query)).json()] == [name]
    assert (await orders.ask("GET", "/orders/twap_001", by=ADMIN, query=query)).json()["username"] == name
    assert (await orders.ask("DELETE", "/orders/twap_001", by=ADMIN, query=query)).json()["status"] == "cancelled"


async def test_orders_of_before_are_found_by_name_too(orders: Orders, sqlite_url: str) -> None:
    for name in ("Alice", "bob"):
        await orders.ask("POST", "/orders/twap", ORDER, by=user(name))
    database = Database(sqlite_url)
    async with database.writing() as connection:  # as the first migration left it
        await connection.exec_driver_sql("DROP INDEX ix_orders_username_key_id")
        await connection.exec_driver_sql("ALTER TABLE orders DROP COLUMN username_key")
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    await migrate(database)
    async with database.reading() as connection:
        keys = list(await connection.scalars(select(table.c.username_key).order_by(table.c.id)))
    await database.close()
    assert keys == ["alice", "bob"]
