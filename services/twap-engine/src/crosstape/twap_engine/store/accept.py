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
from crosstape.twap_engine.store.rows import PROGRESS_COLUMNS, order_values, progress_values
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
    answers: dict[str, Accepted] = {}
    async with database.writing() as connection:
        known = await _known(connection, new)
        for one in sorted(new, key=lambda new: new.order.order_id):  # in one order, so that none waits in a circle
            name = one.order.order_id
            if (found := known.get(name)) is not None:
                if found.request != one.request:
                    raise Conflict(
                        f"order_id {name} is taken by another order of yours: choose a new one, or repeat the same "
                        "request.",
                        {"order_id": name},
                    )
                warnings = msgspec.json.decode(found.warnings, type=list[str])
                answers[name] = Accepted(one.order, one.progress, warnings, None)
            else:
                answers[name] = await _insert(connection, one, owner)
    return [answers[one.order.order_id] for one in new]


async def _known(connection: AsyncConnection, new: Sequence[NewOrder]) -> dict[str, Any]:
    rows = await connection.execute(
        select(orders.c.order_id, orders.c.request, orders.c.warnings).where(
            orders.c.user_id == new[0].order.user_id,
            orders.c.order_id.in_([one.order.order_id for one in new]),
        )
    )
    return {row.order_id: row for row in rows}


async def _insert(connection: AsyncConnection, new: NewOrder, owner: str) -> Accepted:
    told = events.accepted(new.order)
    progress = msgspec.structs.replace(new.progress, events=len(told))
    values = {
        **order_values(new.order),
        **dict(zip(PROGRESS_COLUMNS, progress_values(progress), strict=True)),
        "request": new.request,
        "canonical": new.canonical,
        "warnings": msgspec.json.encode(new.warnings).decode(),
        "owner": owner,
        "token": FIRST_TOKEN,
    }
    number = await connection.scalar(insert(orders).values(values).returning(orders.c.id))
    order = msgspec.structs.replace(new.order, id=number)
    await make_liquidity(connection, [(market, order.side) for market in order.markets])
    await connection.execute(insert(outbox), {"events": events.pack(told)})
    return Accepted(order, progress, new.warnings, FIRST_TOKEN)
