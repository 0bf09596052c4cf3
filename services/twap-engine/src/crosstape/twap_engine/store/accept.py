"""Acceptance: a list of new orders into the database, all or none, and the same answer to the same request again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.errors import Conflict, DatabaseError
from crosstape.twap_engine import events
from crosstape.twap_engine.order import ParentOrder, Progress, Status
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.rows import (
    PROGRESS_COLUMNS,
    AnyRow,
    markets_of,
    order_of,
    order_values,
    progress_of,
    progress_values,
)
from crosstape.twap_engine.store.slices import make_liquidity
from crosstape.twap_engine.store.tables import orders, outbox

FIRST_TOKEN = 1
MOST_OPEN_ORDERS = 1_000
"""Of one account: with a slice of each every second, a fifth of what an engine was measured to be on time with."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to be accepted (its `id` is not known yet). `request` is what the user asked, in one canonical form:
    by it a repeat is told from another order under the same name."""

    order: ParentOrder
    progress: Progress
    request: str
    canonical: str
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that is in the database. `token` is ours when it was accepted just now, None for a repeat."""

    order: ParentOrder
    progress: Progress
    warnings: list[str]
    token: int | None


async def accept(database: Database, new: Sequence[NewOrder], owner: str, doubt: Callable[[], None]) -> list[Accepted]:
    """Store `new`, which are all of one user, owned by replica `owner`. Raises Conflict when a name is taken by another
    order or too many would be open, and DatabaseError; then none is stored, unless `doubt` was called: then that is not
    known."""
    is_to_be_committed = False
    try:
        async with database.writing_for(new[0].order.user_id) as connection:  # so that the next one can count these
            known = await _known(connection, new)
            missing = [one for one in new if one.order.order_id not in known]
            if missing:
                await _refuse_too_many(connection, missing)
                await _insert(connection, missing, owner)
            rows = {row.order_id: row for row in await _rows(connection, new)}
            is_to_be_committed = bool(missing)
    except (DatabaseError, asyncio.CancelledError):
        if is_to_be_committed:
            doubt()
        raise
    return [_accepted(one, rows[one.order.order_id], is_new=one.order.order_id not in known) for one in new]


async def repeats(database: Database, user_id: str, requests: Mapping[str, str]) -> dict[str, Accepted]:
    """Those of `requests` (each in its canonical form, by order_id) that were accepted before. Raises DatabaseError."""
    named = select(orders).where(orders.c.user_id == user_id, orders.c.order_id.in_(list(requests)))
    async with database.reading() as connection:
        rows = (await connection.execute(named)).all()
    return {
        row.order_id: Accepted(order_of(row), progress_of(row), _warnings(row), None)
        for row in rows
        if row.request == requests[row.order_id]
    }


async def _known(connection: AsyncConnection, new: Sequence[NewOrder]) -> dict[str, AnyRow]:
    """Those of `new` that are there already. Raises Conflict."""
    known = {row.order_id: row for row in await _rows(connection, new)}
    for one in new:
        if (row := known.get(one.order.order_id)) is not None and row.request != one.request:
            raise Conflict(
                f"order_id {row.order_id} is taken by another order of yours: choose a new one, or repeat the same "
                "request.",
                {"order_id": row.order_id},
            )
    return known


async def _refuse_too_many(connection: AsyncConnection, missing: Sequence[NewOrder]) -> None:
    is_open = (orders.c.user_id == missing[0].order.user_id, orders.c.status == Status.OPEN.value)
    count = await connection.scalar(select(func.count()).select_from(orders).where(*is_open)) or 0
    if count + len(missing) > MOST_OPEN_ORDERS:
        raise Conflict(
            f"You have {count} open orders, and at most {MOST_OPEN_ORDERS} may be open at once: wait until some have "
            "ended, or cancel some.",
            {"open_orders": count, "max_open_orders": MOST_OPEN_ORDERS},
        )


async def _rows(connection: AsyncConnection, new: Sequence[NewOrder]) -> Sequence[AnyRow]:
    rows = await connection.execute(
        select(orders.c.id, orders.c.order_id, orders.c.request, orders.c.markets, orders.c.warnings).where(
            orders.c.user_id == new[0].order.user_id,
            orders.c.order_id.in_([one.order.order_id for one in new]),
        )
    )
    return rows.all()


async def _insert(connection: AsyncConnection, missing: Sequence[NewOrder], owner: str) -> None:
    await connection.execute(insert(orders), [_values(one, owner) for one in missing])
    await make_liquidity(connection, {(market, one.order.side) for one in missing for market in one.order.markets})
    await connection.execute(insert(outbox), [{"events": events.pack(events.accepted(one.order))} for one in missing])


def _values(one: NewOrder, owner: str) -> dict[str, Any]:
    return {
        **order_values(one.order),
        **dict(zip(PROGRESS_COLUMNS, progress_values(_begun(one)), strict=True)),
        "request": one.request,
        "canonical": one.canonical,
        "warnings": msgspec.json.encode(one.warnings).decode(),
        "owner": owner,
        "token": FIRST_TOKEN,
    }


def _begun(one: NewOrder) -> Progress:
    """It was told that the order is accepted."""
    return msgspec.structs.replace(one.progress, events=1)


def _accepted(one: NewOrder, row: AnyRow, *, is_new: bool) -> Accepted:
    markets, quote_aliases = markets_of(row)
    order = msgspec.structs.replace(one.order, id=row.id, markets=markets, quote_aliases=quote_aliases)
    return Accepted(order, _begun(one), _warnings(row), FIRST_TOKEN if is_new else None)


def _warnings(row: AnyRow) -> list[str]:
    return msgspec.json.decode(row.warnings, type=list[str])
