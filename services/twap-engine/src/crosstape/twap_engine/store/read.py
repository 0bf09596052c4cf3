"""What the API reads: orders as lists show them, and one with what came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
from sqlalchemy import ColumnElement, false, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.errors import Conflict, OrderNotFound
from crosstape.common.identity.usernames import username_key
from crosstape.twap_engine.analytics import Sums, add_fills
from crosstape.twap_engine.order import ParentOrder, Progress, Status
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.rows import BENCHMARK_COLUMNS, AnyRow, order_of, progress_of
from crosstape.twap_engine.store.tables import fills, orders, slices

MOST_EXECUTIONS = 5_000
"""Of one order in one answer; a body of 1.7 MB."""
PAGE = 500
"""Fills that are read at once: a few milliseconds of the event loop, which also starts the slices."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who asks: a user sees their own orders, an admin (`sees_all`) everybody's."""

    user_id: str
    sees_all: bool = False


@dataclass(frozen=True, slots=True)
class Meant:
    """What is meant by a symbol: its `text` in upper case, and as far as that is known what that comes to in an order
    of all exchanges (`canonical`), and in one of a single exchange."""

    text: str
    canonical: str
    on_one: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is narrowed to. `username` is in any spelling."""

    order_id: str | None = None
    username: str | None = None
    status: Status | None = None
    symbol: Meant | None = None
    before: int | None = None
    """The cursor: orders accepted before the one with this number."""


@dataclass(frozen=True, slots=True)
class Detail:
    """An order with everything that came of it. `executions` are the rows of its newest MOST_EXECUTIONS fills, each
    with its slice's receipt; `left_out` says how many older ones there are, and `exchanges` sum up all of them. `short`
    counts the slices that got less than they asked for, by reason."""

    order: ParentOrder
    progress: Progress
    closed_at: int | None
    warnings: list[str]
    executions: Sequence[AnyRow]
    left_out: int
    exchanges: Sums
    short: dict[str, int]


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
        query = query.where(_is_named(filters.username))
    if filters.status is not None:
        query = query.where(orders.c.status == filters.status.value)
    if filters.symbol is not None:
        query = query.where(_is_of(filters.symbol))
    if filters.before is not None:
        query = query.where(orders.c.id < filters.before)
    async with database.reading() as connection:
        return (await connection.execute(query.order_by(orders.c.id.desc()).limit(limit))).all()


async def read_order(database: Database, reader: Reader, order_id: str, username: str | None = None) -> Detail:
    """One order, of user `username` if that is said. Raises OrderNotFound, and Conflict when several may be meant."""
    async with database.reading() as connection:
        return await _detail(connection, await find_order(connection, reader, order_id, username))


async def read_number(database: Database, number: int) -> Detail:
    """The order with this number, which there is."""
    async with database.reading() as connection:
        return await _detail(connection, (await connection.execute(select(orders).where(orders.c.id == number))).one())


_RECEIPT = ("mid_price", *BENCHMARK_COLUMNS)


async def _detail(connection: AsyncConnection, row: AnyRow) -> Detail:
    kept: deque[AnyRow] = deque(maxlen=MOST_EXECUTIONS)
    count, exchanges = 0, Sums()
    async for page in _pages(connection, row.id):
        kept.extend(page)
        count += len(page)
        add_fills(exchanges, map(_counted, page))
    return Detail(
        order_of(row),
        progress_of(row),
        row.closed_at,
        msgspec.json.decode(row.warnings, type=list[str]),
        kept,
        count - len(kept),
        exchanges,
        await _short(connection, row.id),
    )


async def _short(connection: AsyncConnection, parent: int) -> dict[str, int]:
    is_short = (slices.c.parent == parent, slices.c.reason != "")
    counted = select(slices.c.reason, func.count()).where(*is_short).group_by(slices.c.reason)
    return {row[0]: row[1] for row in await connection.execute(counted.order_by(slices.c.reason))}


async def _pages(connection: AsyncConnection, parent: int) -> AsyncIterator[Sequence[AnyRow]]:
    """The order's fills, the oldest first, so many at once that the slices of other orders go on meanwhile."""
    query = (
        select(fills, *(slices.c[name] for name in _RECEIPT))
        .join(slices, (slices.c.parent == fills.c.parent) & (slices.c.number == fills.c.slice))
        .where(fills.c.parent == parent)
        .order_by(fills.c.slice, fills.c.part)
        .limit(PAGE)
    )
    after = query
    while page := (await connection.execute(after)).all():
        yield page
        if len(page) < PAGE:
            return
        after = query.where(tuple_(fills.c.slice, fills.c.part) > (page[-1].slice, page[-1].part))


def _counted(row: AnyRow) -> tuple[str, Decimal, Decimal, Decimal]:
    """Exchange, quantity, notional and fee of a fill."""
    price, quantity = Decimal(row.price), Decimal(row.quantity)
    return row.exchange, quantity, price * quantity if row.cost is None else Decimal(row.cost), Decimal(row.fee)


def _is_of(meant: Meant) -> ColumnElement[bool]:
    """Whether an order is of a symbol. Where one of a single exchange asked for a quote that is not traded there,
    another one stands in (`BTC-USD`, and it is BTC-USDT): it is found by both."""
    is_of_one_exchange = or_(orders.c.exchange != "", orders.c.symbol.contains(":"))
    return or_(
        func.upper(orders.c.symbol) == meant.text,
        orders.c.canonical == meant.canonical,
        is_of_one_exchange & orders.c.canonical.in_(meant.on_one),
    )


def _is_named(username: str) -> ColumnElement[bool]:
    """Whether an order is of the user with this name. A replica of before the key, which may still accept orders while
    the others are replaced, writes none."""
    if "\0" in username:  # which is nobody's, and no text to PostgreSQL
        return false()
    return or_(
        orders.c.username_key == username_key(username),
        (orders.c.username_key == "") & (orders.c.username == username),
    )


async def find_order(connection: AsyncConnection, reader: Reader, order_id: str, username: str | None) -> AnyRow:
    """The order that is meant. An admin's own order goes before others' of the same name. Of a username that several
    accounts had one after the other, the newest order is meant. Raises OrderNotFound and Conflict."""
    query = select(orders).where(orders.c.order_id == order_id)
    if not reader.sees_all:
        query = query.where(orders.c.user_id == reader.user_id)
    if username is not None:
        query = query.where(_is_named(username))
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
