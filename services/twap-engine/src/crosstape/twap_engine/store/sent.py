"""Slices on their way to a real exchange, and what may still be spent on a day."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.twap_engine.order import Progress
from crosstape.twap_engine.schedule import EXACT
from crosstape.twap_engine.store.rows import exact_text, optional_decimal, optional_text, progress_of
from crosstape.twap_engine.store.tables import daily_notional, orders, sent

_make_day = text("INSERT INTO daily_notional (day, notional) VALUES (:day, '0') ON CONFLICT (day) DO NOTHING")


@dataclass(frozen=True, slots=True)
class Sent:
    """A slice that goes, or went, to an exchange. `reserved` is the most notional it may come to."""

    parent: int
    number: int
    started: int
    exchange: str
    symbol: str
    quantity: Decimal
    limit_price: Decimal
    reserved: Decimal
    mid_price: Decimal | None

    @property
    def client_order_id(self) -> str:
        """The same for a slice, whoever sends it: by it the exchange tells a repeat."""
        return f"ctwap{self.parent}x{self.number}"


async def on_its_way(connection: AsyncConnection, parent: int) -> Sent | None:
    """The slice of an order of which it is not known what became."""
    row = (await connection.execute(select(sent).where(sent.c.parent == parent))).first()
    if row is None:
        return None
    return Sent(
        row.parent,
        row.number,
        row.started,
        row.exchange,
        row.symbol,
        Decimal(row.quantity),
        Decimal(row.limit_price),
        Decimal(row.reserved),
        optional_decimal(row.mid_price),
    )


async def note(connection: AsyncConnection, one: Sent) -> None:
    """It goes out once this is committed."""
    await connection.execute(
        insert(sent).values(
            parent=one.parent,
            number=one.number,
            started=one.started,
            exchange=one.exchange,
            symbol=one.symbol,
            quantity=exact_text(one.quantity),
            limit_price=exact_text(one.limit_price),
            reserved=exact_text(one.reserved),
            mid_price=optional_text(one.mid_price),
        )
    )


async def forget(connection: AsyncConnection, one: Sent) -> Progress | None:
    """It is known what became of it: its order, locked, whoever's it is by now; None when that is written already."""
    row = (await connection.execute(select(orders).where(orders.c.id == one.parent).with_for_update())).first()
    gone = await connection.execute(delete(sent).where(sent.c.parent == one.parent, sent.c.number == one.number))
    return None if row is None or gone.rowcount == 0 else progress_of(row)


async def lock_day(connection: AsyncConnection, day: str) -> Decimal:
    """The notional of a UTC day (`2025-07-01`) so far; locked until the transaction ends."""
    await connection.execute(_make_day, {"day": day})
    spent = select(daily_notional.c.notional).where(daily_notional.c.day == day).with_for_update()
    return Decimal(await connection.scalar(spent) or 0)


async def add_to_day(connection: AsyncConnection, day: str, notional: Decimal) -> None:
    """Count `notional`, or take it back when it is negative."""
    with localcontext(EXACT):
        total = await lock_day(connection, day) + notional
    await connection.execute(
        update(daily_notional).where(daily_notional.c.day == day).values(notional=exact_text(total))
    )
