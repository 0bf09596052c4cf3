"""Slices of held orders: locked, checked against the fencing token, and written with all that comes of them.

A slice runs once because everything it does is one transaction that holds the order's row: who lost the order (its
token was raised), finds it cancelled, or comes for a slice that has run, gets nothing and writes nothing. As only who
holds the token changes how far an order has come, that need not be read again each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from crosstape.twap_engine import events
from crosstape.twap_engine.liquidity import Taken
from crosstape.twap_engine.order import CloseReason, Fill, Market, ParentOrder, Progress, Side, SliceResult, Status
from crosstape.twap_engine.store.bulk import Bulk
from crosstape.twap_engine.store.rows import (
    BENCHMARK_COLUMNS,
    PROGRESS_COLUMNS,
    benchmark_values,
    exact_text,
    optional_text,
    progress_values,
)
from crosstape.twap_engine.store.tables import fills, liquidity, orders, outbox, slices

AT_ONCE = 500
"""Orders in one transaction: bounds how long a cancel waits for slices, and slices for many cancels."""
SIDES_AT_ONCE = 100
"""Of markets, in one transaction: what was taken from all of them is read and decoded before its first slice."""

_UPDATED = (*PROGRESS_COLUMNS, "closed_at")
_KEPT = func.coalesce(orders.c.closed_at, bindparam("closed_at"))
"""When an order ended never changes: what became of a slice may be found out after its order was cancelled."""
_UPDATE = Bulk(
    update(orders)
    .where(orders.c.id == bindparam("of"))
    .values({name: bindparam(name) for name in PROGRESS_COLUMNS} | {"closed_at": _KEPT}),
    (*_UPDATED, "of"),
)
_INSERT_SLICE = Bulk(
    insert(slices),
    ("parent", "number", "due", "started", "quantity", "filled", "reason", "mid_price", *BENCHMARK_COLUMNS),
)
_INSERT_FILL = Bulk(
    insert(fills),
    ("parent", "slice", "part", "exchange", "symbol", "price", "quantity", "fee", "time", "book_hash", "cost"),
)
_INSERT_EVENTS = Bulk(insert(outbox), ("events",))
_make_liquidity = text(
    "INSERT INTO liquidity (side_of_market, entries) VALUES (:of, '{}') ON CONFLICT (side_of_market) DO NOTHING"
)
_update_liquidity = (
    update(liquidity).where(liquidity.c.side_of_market == bindparam("of")).values(entries=bindparam("now"))
)
_entries = msgspec.json.Decoder(dict[str, Taken])

MarketSideKey = tuple[Market, Side]


@dataclass(frozen=True, slots=True)
class Proof:
    """What must still be true of an order in the database for a slice of it to run."""

    token: int
    next_slice: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A slice that ran: the order before and after it."""

    order: ParentOrder
    before: Progress
    after: Progress
    result: SliceResult


async def lock(connection: AsyncConnection, proofs: Mapping[int, Proof]) -> set[int]:
    """Lock those of the orders (by id) that are still ours, open and where we left them, until the transaction ends."""
    found = await connection.execute(
        select(orders.c.id, orders.c.token, orders.c.next_slice, orders.c.status)
        .where(orders.c.id.in_(sorted(proofs)))
        .order_by(orders.c.id)
        .with_for_update()
    )
    return {
        number
        for number, token, next_slice, status in found
        if status == Status.OPEN.value and proofs[number] == Proof(token, next_slice)
    }


async def write(connection: AsyncConnection, ran: Sequence[Ran]) -> None:
    """Store slices, their fills, what the orders have come to, and the events, of locked orders."""
    await _INSERT_SLICE.execute(connection, [_slice_row(one.order, one.result) for one in ran])
    await _INSERT_FILL.execute(
        connection,
        [_fill_row(one.order, one.result, part, fill) for one in ran for part, fill in enumerate(one.result.fills)],
    )
    await _UPDATE.execute(connection, [_update_row(one.order, one.after, one.result.started) for one in ran])
    told = [events.of_slice(one.order, one.before, one.after, one.result) for one in ran]
    await _INSERT_EVENTS.execute(connection, [(events.pack(of_it),) for of_it in told])


async def end(
    connection: AsyncConnection, ending: Iterable[tuple[ParentOrder, Progress]], reason: CloseReason, now: int
) -> None:
    """Close or cancel locked orders without another slice."""
    status = Status.CANCELLED if reason is CloseReason.CANCELLED else Status.CLOSED
    for order, before in ending:
        told = events.ended(order, before, reason, now)
        after = msgspec.structs.replace(before, status=status, close_reason=reason, events=before.events + len(told))
        await _UPDATE.execute(connection, [_update_row(order, after, now)])
        await _INSERT_EVENTS.execute(connection, [(events.pack(told),)])


async def lock_liquidity(
    connection: AsyncConnection, keys: Iterable[MarketSideKey]
) -> dict[MarketSideKey, dict[str, Taken]]:
    """What was taken from the levels of each market's side; locked until the transaction ends."""
    by_name = {_name(key): key for key in keys}
    found = await connection.execute(
        select(liquidity)
        .where(liquidity.c.side_of_market.in_(sorted(by_name)))
        .order_by(liquidity.c.side_of_market)
        .with_for_update()
    )
    return {by_name[row.side_of_market]: _entries.decode(row.entries) for row in found}


async def write_liquidity(connection: AsyncConnection, entries: Mapping[MarketSideKey, Mapping[str, Taken]]) -> None:
    """Store what is taken now; the rows are locked."""
    if entries:
        rows = [{"of": _name(key), "now": msgspec.json.encode(taken).decode()} for key, taken in entries.items()]
        await connection.execute(_update_liquidity, rows)


async def make_liquidity(connection: AsyncConnection, keys: Iterable[MarketSideKey]) -> None:
    """See to it that there are rows to lock."""
    await connection.execute(_make_liquidity, [{"of": name} for name in sorted(map(_name, keys))])


def _name(key: MarketSideKey) -> str:
    market, side = key
    return f"{market.exchange}:{market.symbol}:{side.value}"


def _update_row(order: ParentOrder, progress: Progress, now: int) -> tuple[Any, ...]:
    return (*progress_values(progress), None if progress.status is Status.OPEN else now, order.id)


def _slice_row(order: ParentOrder, result: SliceResult) -> tuple[Any, ...]:
    return (
        order.id,
        result.number,
        result.due,
        result.started,
        exact_text(result.quantity),
        exact_text(result.filled),
        result.reason,
        optional_text(result.mid_price),
        *benchmark_values(result.benchmark),
    )


def _fill_row(order: ParentOrder, result: SliceResult, part: int, fill: Fill) -> tuple[Any, ...]:
    return (
        order.id,
        result.number,
        part,
        fill.exchange,
        fill.symbol,
        exact_text(fill.price),
        exact_text(fill.quantity),
        exact_text(fill.fee),
        result.started,
        fill.book_hash,
        optional_text(fill.cost),
    )
