"""Events that are in the database and not yet on the bus."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.common.market.order import OrderEvent
from crosstape.twap_engine import events
from crosstape.twap_engine.store.tables import outbox


async def oldest(
    connection: AsyncConnection, most_rows: int, most_bytes: int
) -> tuple[list[int], list[OrderEvent], bool]:
    """The oldest rows, as many as it takes to have `most_bytes`: their ids, and their events in order. Whether there
    may be more. No other row is fetched: one may be large."""
    sizes = select(outbox.c.id, func.length(outbox.c.events)).order_by(outbox.c.id).limit(most_rows)
    ids: list[int] = []
    total = 0
    for number, size in await connection.execute(sizes):
        ids.append(number)
        total += size
        if total >= most_bytes:
            break
    if not ids:
        return [], [], False
    rows = await connection.execute(select(outbox.c.events).where(outbox.c.id <= ids[-1]).order_by(outbox.c.id))
    told = [event for row in rows for event in events.unpack(row.events)]
    return ids, told, total >= most_bytes or len(ids) == most_rows


async def span(connection: AsyncConnection) -> int:
    """How many rows wait, from the oldest to the newest number: two looks into the index, however many there are."""
    ends = [select(end(outbox.c.id)).scalar_subquery() for end in (func.min, func.max)]
    first, last = (await connection.execute(select(*ends))).one()
    return 0 if first is None else int(last - first) + 1


async def told(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """These are on the bus."""
    await connection.execute(delete(outbox).where(outbox.c.id.in_(ids)))
