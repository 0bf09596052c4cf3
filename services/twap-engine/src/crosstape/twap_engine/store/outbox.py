"""Events that are in the database and not yet on the bus."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.market.order import OrderEvent
from crosstape.twap_engine import events
from crosstape.twap_engine.store.tables import outbox


async def oldest(connection: AsyncConnection, limit: int) -> tuple[list[int], list[OrderEvent]]:
    """The oldest rows: their ids, and their events in order."""
    rows = (await connection.execute(select(outbox).order_by(outbox.c.id).limit(limit))).all()
    return [row.id for row in rows], [event for row in rows for event in events.unpack(row.events)]


async def told(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """These are on the bus."""
    await connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))
