"""What the API reads, and the one thing a user changes: an order, cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Select, func, or_, select

from crosstape.common.errors import Conflict, OrderNotFound
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
    """What a list is narrowed to. `symbol` is as the user wrote it, upper case, `canonical` what it came to."""

    order_id: str | None = None
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
    if filters.status is not None:
        query = query.where(orders.c.status == filters.status.value)
    if filters.symbol is not None:
        query = query.where(or_(func.upper(orders.c.symbol) == filters.symbol, orders.c.canonical == filters.canonical))
    if filters.before is not None:
        query = query.where(orders.c.id < filters.before)
    async with database.reading() as connection:
        return (await connection.execute(query.order_by(orders.c.id.desc()).limit(limit))).all()


async def read_order(database: Database, reader: Reader, order_id: str) -> Detail:
    """One order. Raises OrderNotFound."""
    async with database.reading() as connection:
        found = await connection.execute(_find(reader, order_id))
        row = found.first()
        if row is None:
            raise not_found(order_id)
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


_RECEIPT = ("mid_price", "mid_time", "mid_seconds", "traded_notional", "traded_volume")


async def cancel(database: Database, reader: Reader, order_id: str, now: int) -> int:
    """Cancel an open order, at once and for good; its number. Raises OrderNotFound, Conflict when it is not open."""
    async with database.writing() as connection:
        row = (await connection.execute(_find(reader, order_id).with_for_update())).first()
        if row is None:
            raise not_found(order_id)
        if row.status != Status.OPEN.value:
            raise Conflict(f"Order {order_id} is {row.status}: only an open order can be cancelled.")
        order = order_of(row)
        await end(connection, [(order, progress_of(row))], CloseReason.CANCELLED, now)
    return order.id


def _find(reader: Reader, order_id: str) -> Select[Any]:
    """An admin's own order goes before somebody else's of the same name, then the newest does."""
    query = select(orders).where(orders.c.order_id == order_id)
    if not reader.sees_all:
        query = query.where(orders.c.user_id == reader.user_id)
    return query.order_by((orders.c.user_id != reader.user_id), orders.c.id.desc()).limit(1)


def not_found(order_id: str) -> OrderNotFound:
    """The same for what is not there and what is somebody else's."""
    return OrderNotFound(f"You have no order {order_id}.", {"order_id": order_id})
