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

_make_day = text(
    "INSERT INTO daily_notional (day, quote, notional) VALUES (:day, :quote, '0') ON CONFLICT (day, quote) DO NOTHING"
)


UNKNOWN_QUOTE = ""
"""What was spent before quotes were told apart, which counts against each of them."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A slice that goes, or went, to an exchange. `reserved` is the most notional it may come to. By its
    `client_order_id` the exchange knows it, whoever asks: no other slice of any database ever has the same."""

    parent: int
    number: int
    started: int
    exchange: str
    symbol: str
    quantity: Decimal
    limit_price: Decimal
    reserved: Decimal
    mid_price: Decimal | None
    client_order_id: str


@dataclass(frozen=True, slots=True)
class Spending:
    """What counts together: a UTC day (`2025-07-01`) and a quote currency."""

    day: str
    quote: str


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
        row.client_order_id or f"ctwap{row.parent}x{row.number}",  # as replicas of before name it
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
            client_order_id=one.client_order_id,
        )
    )


async def forget(connection: AsyncConnection, one: Sent) -> Progress | None:
    """It is known what became of it: its order, locked, whoever's it is by now; None when that is written already."""
    row = (await connection.execute(select(orders).where(orders.c.id == one.parent).with_for_update())).first()
    gone = await connection.execute(delete(sent).where(sent.c.parent == one.parent, sent.c.number == one.number))
    return None if row is None or gone.rowcount == 0 else progress_of(row)


async def lock_day(connection: AsyncConnection, of: Spending) -> tuple[Decimal, Decimal]:
    """Its notional so far: what `write_day` wrote, and that with what counts against every quote. It is locked until
    the transaction ends."""
    await connection.execute(_make_day, {"day": of.day, "quote": of.quote})
    rows = await connection.execute(
        select(daily_notional.c.quote, daily_notional.c.notional)
        .where(daily_notional.c.day == of.day, daily_notional.c.quote.in_((of.quote, UNKNOWN_QUOTE)))
        .order_by(daily_notional.c.quote)
        .with_for_update()
    )
    spent = {row.quote: Decimal(row.notional) for row in rows}
    with localcontext(EXACT):
        return spent[of.quote], sum(spent.values(), Decimal())


async def write_day(connection: AsyncConnection, of: Spending, notional: Decimal) -> None:
    """A day that is locked has come to `notional`."""
    row = (daily_notional.c.day == of.day) & (daily_notional.c.quote == of.quote)
    await connection.execute(update(daily_notional).where(row).values(notional=exact_text(notional)))
