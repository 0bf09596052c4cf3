"""Open orders by account: whose there are, and one account's cancelled."""

from __future__ import annotations

from sqlalchemy import select

from crosstape.twap_engine.order import CloseReason, Status
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.rows import order_of, progress_of
from crosstape.twap_engine.store.slices import end
from crosstape.twap_engine.store.tables import orders

AT_ONCE = 500
"""Orders cancelled in one transaction: bounds how long slices wait for it."""


async def with_open_orders(database: Database) -> list[str]:
    """The ids of all users who have an open order, each once."""
    users = select(orders.c.user_id).where(orders.c.status == Status.OPEN.value).distinct()
    async with database.reading() as connection:
        return list(await connection.scalars(users))


async def cancel_some(database: Database, user_id: str, now: int) -> list[int]:
    """Cancel up to AT_ONCE open orders of a user, at once and for good; their numbers, none once no order is open."""
    is_open = (
        select(orders)
        .where(orders.c.user_id == user_id, orders.c.status == Status.OPEN.value)
        .order_by(orders.c.id)  # as everybody locks them
        .limit(AT_ONCE)
        .with_for_update()
    )
    async with database.writing() as connection:
        ending = [(order_of(row), progress_of(row)) for row in await connection.execute(is_open)]
        await end(connection, ending, CloseReason.CANCELLED, now)
    return [order.id for order, _ in ending]
