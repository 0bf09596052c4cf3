"""Acceptance: a list of new orders into the database, all or none, and the same answer to the same request again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.errors import Conflict
from crosstape.twap_engine import events
from crosstape.twap_engine.order import ParentOrder, Progress
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.rows import PROGRESS_COLUMNS, AnyRow, markets_of, order_values, progress_values
from crosstape.twap_engine.store.slices import make_liquidity
from crosstape.twap_engine.store.tables import orders, outbox


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


FIRST_TOKEN = 1


async def accept(database: Database, new: Sequence[NewOrder], owner: str) -> list[Accepted]:
    """Store `new`, which are all of one user, owned by replica `owner`. Raises Conflict when a name is taken by another
    order, and DatabaseError; then none is stored."""
    try:
        return await _accept(database, new, owner)
    except IntegrityError:  # the same request at the same time: it is there now
        return await _accept(database, new, owner)


async def _accept(database: Database, new: Sequence[NewOrder], owner: str) -> list[Accepted]:
    async with database.writing() as connection:
        known = {row.order_id: row for row in await _rows(connection, new)}
        for one in new:
            if (row := known.get(one.order.order_id)) is not None and row.request != one.request:
                raise Conflict(
                    f"order_id {row.order_id} is taken by another order of yours: choose a new one, or repeat the same "
                    "request.",
                    {"order_id": row.order_id},
                )
        missing = [one for one in new if one.order.order_id not in known]
        if missing:
            await _insert(connection, missing, owner)
        rows = {row.order_id: row for row in await _rows(connection, new)}
    return [_accepted(one, rows[one.order.order_id], is_new=one.order.order_id not in known) for one in new]


async def _rows(connection: AsyncConnection, new: Sequence[NewOrder]) -> Sequence[AnyRow]:
    rows = await connection.execute(
        select(orders.c.id, orders.c.order_id, orders.c.request, orders.c.markets, orders.c.warnings).where(
            orders.c.user_id == new[0].order.user_id,
            orders.c.order_id.in_([one.order.order_id for one in new]),
        )
    )
    return rows.all()


async def _insert(connection: AsyncConnection, missing: Sequence[NewOrder], owner: str) -> None:
    # In one order for everybody, so that two lists with the same names do not wait for each other.
    ordered = sorted(missing, key=lambda one: one.order.order_id)
    await connection.execute(insert(orders), [_values(one, owner) for one in ordered])
    await make_liquidity(connection, {(market, one.order.side) for one in ordered for market in one.order.markets})
    await connection.execute(insert(outbox), [{"events": events.pack(events.accepted(one.order))} for one in ordered])


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
    warnings = msgspec.json.decode(row.warnings, type=list[str])
    return Accepted(order, _begun(one), warnings, FIRST_TOKEN if is_new else None)
