"""Open orders, cancelled: one that its owner names, or all of an account that is gone. The time of it is told once an
order is locked: a slice that was being written ran before that."""

from __future__ import annotations

from sqlalchemy import select

from crosstape.common.errors import Conflict
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.order import CloseReason, Status
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.read import Reader, find_order
from crosstape.twap_engine.store.rows import order_of, progress_of
from crosstape.twap_engine.store.slices import AT_ONCE, end
from crosstape.twap_engine.store.tables import orders


async def cancel(database: Database, reader: Reader, order_id: str, clock: Clock, username: str | None = None) -> int:
    """Cancel an open order, at once and for good; its number. Raises OrderNotFound, and Conflict when it is not open or
    several may be meant."""
    async with database.writing() as connection:
        number = (await find_order(connection, reader, order_id, username)).id
        row = (await connection.execute(select(orders).where(orders.c.id == number).with_for_update())).one()
        if row.status != Status.OPEN.value:
            raise Conflict(f"Order {order_id} is {row.status}: only an open order can be cancelled.")
        order = order_of(row)
        await end(connection, [(order, progress_of(row))], CloseReason.CANCELLED, clock.utc())
    return order.id


async def with_open_orders(database: Database) -> list[str]:
    """The ids of all users who have an open order, each once."""
    users = select(orders.c.user_id).where(orders.c.status == Status.OPEN.value).distinct()
    async with database.reading() as connection:
        return list(await connection.scalars(users))


async def cancel_some(database: Database, user_id: str, clock: Clock) -> list[int]:
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
        await end(connection, ending, CloseReason.CANCELLED, clock.utc())
    return [order.id for order, _ in ending]
