"""Who works on which order: replicas that beat, and orders that belong to one of them.

A replica is dead when its beat has stood still for the lease, by the watcher's own steady clock: no two hosts' clocks
are ever compared, and no clock step kills anybody. Whoever finds it dead removes it, and its open orders are claimed by
those that live, with their token raised: what the dead one still tries finds another token and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.twap_engine.order import ParentOrder, Progress, Status
from crosstape.twap_engine.store.rows import order_of, progress_of
from crosstape.twap_engine.store.tables import orders, replicas, sent

CLAIMED_AT_ONCE = 1_000
"""So that the orders of a dead replica are shared by those that live."""

_BEGIN = text("INSERT INTO replicas (id, beat) VALUES (:replica, 0) ON CONFLICT (id) DO NOTHING")

_UNFINISHED = (orders.c.status == Status.OPEN.value, orders.c.id.in_(select(sent.c.parent)))
"""Either of them; asked for one after the other, because no index knows both."""


async def register(connection: AsyncConnection, replica: str) -> None:
    """Begin to live, or go on where that was done and not answered."""
    await connection.execute(_BEGIN, {"replica": replica})


async def beat(connection: AsyncConnection, replica: str) -> dict[str, int] | None:
    """Go on living; the beats of all, or None when we were taken for dead."""
    done = await connection.execute(update(replicas).where(replicas.c.id == replica).values(beat=replicas.c.beat + 1))
    if done.rowcount == 0:
        return None
    return {row.id: row.beat for row in await connection.execute(select(replicas))}


async def remove(connection: AsyncConnection, replica: str, seen: int) -> None:
    """Take a replica for dead, unless it has beaten since."""
    await connection.execute(delete(replicas).where(replicas.c.id == replica, replicas.c.beat == seen))


async def claim(connection: AsyncConnection, replica: str) -> int:
    """Take unfinished orders that belong to nobody who lives; how many."""
    nobody = or_(orders.c.owner.is_(None), orders.c.owner.not_in(select(replicas.c.id)))
    claimed = 0
    for unfinished in _UNFINISHED:
        free = select(orders.c.id).where(unfinished, nobody).limit(CLAIMED_AT_ONCE).with_for_update(skip_locked=True)
        if ids := list(await connection.scalars(free)):
            taken = update(orders).where(orders.c.id.in_(ids)).values(owner=replica, token=orders.c.token + 1)
            await connection.execute(taken)
            claimed += len(ids)
    return claimed


async def owned(connection: AsyncConnection, replica: str) -> Sequence[tuple[ParentOrder, int, Progress]]:
    """The unfinished orders of a replica: each with its token and how far it has come."""
    found: dict[int, tuple[ParentOrder, int, Progress]] = {}
    for unfinished in _UNFINISHED:
        for row in await connection.execute(select(orders).where(unfinished, orders.c.owner == replica)):
            found[row.id] = (order_of(row), row.token, progress_of(row))
    return list(found.values())


async def resign(connection: AsyncConnection, replica: str) -> None:
    """Stop living; the orders are free for the others at once."""
    await connection.execute(delete(replicas).where(replicas.c.id == replica))
