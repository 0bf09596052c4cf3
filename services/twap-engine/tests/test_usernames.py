"""Usernames in orders: found in every spelling that is one account's, as auth tells accounts apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from old_schema import copy_orders, make_at
from sqlalchemy import select, update
from twap_api import ADMIN, Orders, serving, user

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


async def test_orders_of_before_are_found_by_name_too(orders: Orders, tmp_path: Path) -> None:
    for name in ("Alice", "bob"):
        await orders.ask("POST", "/orders/twap", ORDER, by=user(name))
    database = await make_at(f"sqlite:///{tmp_path / 'old.db'}", "0001")
    await copy_orders(orders.replica.database, database)
    await migrate(database)
    async with database.reading() as connection:
        keys = list(await connection.scalars(select(table.c.username_key).order_by(table.c.id)))
    await database.close()
    assert keys == ["alice", "bob"]


async def test_orders_that_a_replica_of_before_accepts_after_the_migration_are_found_by_name(orders: Orders) -> None:
    for name in ("alice", "bob"):
        await orders.ask("POST", "/orders/twap", ORDER, by=user(name))
    async with orders.replica.database.writing() as connection:
        await connection.execute(update(table).values(username_key=""))
    query = "username=alice"
    assert [one["username"] for one in (await orders.ask("GET", "/orders", query=query)).json()] == ["alice"]
    assert (await orders.ask("DELETE", "/orders/twap_001", by=ADMIN, query=query)).json()["username"] == "alice"


@pytest.mark.integration
def test_a_name_that_the_database_could_not_hold_is_nobodys(new_postgres_url: Callable[[], str]) -> None:
    async def ask(url: str) -> None:
        async with serving(url) as orders:
            assert (await orders.ask("GET", "/orders", by=ADMIN, query="username=a%00b")).json() == []
            for method in ("GET", "DELETE"):
                answer = await orders.ask(method, "/orders/twap_001", by=ADMIN, query="username=a%00b")
                assert answer.json()["error_code"] == "ORDER_NOT_FOUND"

    asyncio.run(ask(new_postgres_url()))
