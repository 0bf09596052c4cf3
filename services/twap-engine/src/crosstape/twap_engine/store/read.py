"""What the API reads, and the one thing a user changes: an order, cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.errors import Conflict, OrderNotFound
from crosstape.common.identity.usernames import username_key
from crosstape.twap_engine.order import CloseReason, ParentOrder, Progress, Status
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.rows import AnyRow, order_of, progress_of
from crosstape.twap_engine.store.slices import end
from crosstape.twap_engine.store.tables import fills, orders, slices


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks: a user sees their own orders, an admin (`sees_all`) everybody's."""

    user_id: str
    sees_all: bool = False


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is narrowed to. `username` is in any spelling, `symbol` as the user wrote it, upper case, `canonical`
    what it came to."""

    order_id: str | None = None
    username: str | None = None
    status: Status | None = None
    symbol: str | None = None
    canonical: str | None = None
    before: int | None = None
    """The cursor: orders accepted before the one with this number."""


@dataclass(frozen=True, slots=True)
class Detail:
    """An order with everything that came of it. `executions` are the fills' rows, each with its slice's receipt."""

    order: ParentOrder
    progress: Progress
    closed_at: int | None
    warnings: list[str]
    executions: Sequence[AnyRow]


async def list_orders(database: Database, reader: Reader, filters: Filters, limit: int) -> Sequence[AnyRow]:
    """Rows of orders, the newest first."""
    query = select(
        orders.c.id, orders.c.order_id, orders.c.username, orders.c.symbol, orders.c.duration, orders.c.interval,
        orders.c.status,
    )  # fmt: skip
    if not reader.sees_all:
        query = query.where(orders.c.user_id == reader.user_id)
    if filters.order_id is not None:
        query = query.where(orders.c.order_id == filters.order_id)
    if filters.username is not None:
        query = query.where(orders.c.username_key == username_key(filters.username))
    if filters.status is not None:
        query = query.where(orders.c.status == filters.status.value)
    if filters.symbol is not None:
        query = query.where(or_(func.upper(orders.c.symbol) == filters.symbol, orders.c.canonical == filters.canonical))
    if filters.before is not None:
        query = query.where(orders.c.id < filters.before)
    async with database.reading() as connection:
        return (await connection.execute(query.order_by(orders.c.id.desc()).limit(limit))).all()


async def read_order(database: Database, reader: Reader, order_id: str, username: str | None = None) -> Detail:
    """One order, of user `username` if that is said. Raises OrderNotFound, and Conflict when several may be meant."""
    async with database.reading() as connection:
        return await _detail(connection, await _find(connection, reader, order_id, username))


async def read_number(database: Database, number: int) -> Detail:
    """The order with this number, which there is."""
    async with database.reading() as connection:
        return await _detail(connection, (await connection.execute(select(orders).where(orders.c.id == number))).one())


_RECEIPT = ("mid_price", "mid_time", "mid_seconds", "traded_notional", "traded_volume")


async def _detail(connection: AsyncConnection, row: AnyRow) -> Detail:
    executions = await connection.execute(
        select(fills, *(slices.c[name] for name in _RECEIPT))
        .join(slices, (slices.c.parent == fills.c.parent) & (slices.c.number == fills.c.slice))
        .where(fills.c.parent == row.id)
        .order_by(fills.c.slice, fills.c.part)
    )
    return Detail(
        order_of(row),
        progress_of(row),
        row.closed_at,
        msgspec.json.decode(row.warnings, type=list[str]),
        executions.all(),
    )


async def cancel(database: Database, reader: Reader, order_id: str, now: int, username: str | None = None) -> int:
    """Cancel an open order, at once and for good; its number. Raises OrderNotFound, and Conflict when it is not open or
    several may be meant."""
    async with database.writing() as connection:
        number = (await _find(connection, reader, order_id, username)).id
        row = (await connection.execute(select(orders).where(orders.c.id == number).with_for_update())).one()
        if row.status != Status.OPEN.value:
            raise Conflict(f"Order {order_id} is {row.status}: only an open order can be cancelled.")
        order = order_of(row)
        await end(connection, [(order, progress_of(row))], CloseReason.CANCELLED, now)
    return order.id


async def _find(connection: AsyncConnection, reader: Reader, order_id: str, username: str | None) -> AnyRow:
    """An admin's own order goes before others' of the same name. Of a username that several accounts had one after the
    other, the newest order is meant."""
    query = select(orders).where(orders.c.order_id == order_id)
    if not reader.sees_all:
        query = query.where(orders.c.user_id == reader.user_id)
    if username is not None:
        query = query.where(orders.c.username_key == username_key(username))
    own_first = query.order_by((orders.c.user_id != reader.user_id), orders.c.id.desc()).limit(2)
    found = (await connection.execute(own_first)).all()
    if not found:
        raise not_found(order_id)
    if len(found) > 1 and username is None and found[0].user_id != reader.user_id:
        raise Conflict(f"Several users have an order {order_id}: add username= to say whose.", {"order_id": order_id})
    return found[0]


def not_found(order_id: str) -> OrderNotFound:
    """The same for what is not there and what is somebody else's."""
    return OrderNotFound(f"You have no order {order_id}.", {"order_id": order_id})
