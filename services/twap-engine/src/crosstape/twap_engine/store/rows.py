"""Rows of table `orders` to values and back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Row

from crosstape.common.identity.usernames import username_key
from crosstape.twap_engine.order import Benchmark, CloseReason, Market, ParentOrder, Progress, Side, Status

AnyRow = Row[*tuple[Any, ...]]


class _Place(Struct, frozen=True, array_like=True):
    """A market as column `markets` has it. Rows of before have no `quote_alias`."""

    exchange: str
    symbol: str
    quote_alias: str | None = None


_places = msgspec.json.Decoder(tuple[_Place, ...])


def markets_of(row: AnyRow) -> tuple[tuple[Market, ...], dict[str, str]]:
    """Where the order may be filled, and its quote aliases by exchange."""
    places = _places.decode(row.markets)
    markets = tuple(Market(place.exchange, place.symbol) for place in places)
    return markets, {place.exchange: place.quote_alias for place in places if place.quote_alias}


def order_of(row: AnyRow) -> ParentOrder:
    """The order."""
    markets, quote_aliases = markets_of(row)
    return ParentOrder(
        id=row.id,
        user_id=row.user_id,
        username=row.username,
        order_id=row.order_id,
        symbol=row.symbol,
        exchange=row.exchange,
        markets=markets,
        quote_aliases=quote_aliases,
        side=Side(row.side),
        total_quantity=Decimal(row.total_quantity),
        limit_price=Decimal(row.limit_price),
        duration=row.duration,
        interval=row.interval,
        lot=Decimal(row.lot),
        start=row.start,
    )


def order_values(order: ParentOrder) -> dict[str, Any]:
    """Its columns, but for `id`, which the database gives."""
    places = [_Place(one.exchange, one.symbol, order.quote_aliases.get(one.exchange)) for one in order.markets]
    return {
        "user_id": order.user_id,
        "username": order.username,
        "username_key": username_key(order.username),
        "order_id": order.order_id,
        "symbol": order.symbol,
        "exchange": order.exchange,
        "markets": msgspec.json.encode(places).decode(),
        "side": order.side.value,
        "total_quantity": exact_text(order.total_quantity),
        "limit_price": exact_text(order.limit_price),
        "duration": order.duration,
        "interval": order.interval,
        "lot": exact_text(order.lot),
        "start": order.start,
    }


def benchmark_of(row: AnyRow) -> Benchmark:
    """The benchmark of an order or a slice."""
    return Benchmark(
        Decimal(row.mid_time), Decimal(row.mid_seconds), Decimal(row.traded_notional), Decimal(row.traded_volume)
    )


BENCHMARK_COLUMNS = ("mid_time", "mid_seconds", "traded_notional", "traded_volume")


def benchmark_values(benchmark: Benchmark) -> tuple[str, str, str, str]:
    """Its columns, in both tables."""
    return (
        exact_text(benchmark.mid_time),
        exact_text(benchmark.seconds),
        exact_text(benchmark.notional),
        exact_text(benchmark.volume),
    )


def progress_of(row: AnyRow) -> Progress:
    """How far the order has come."""
    return Progress(
        status=Status(row.status),
        close_reason=CloseReason(row.close_reason) if row.close_reason else None,
        next_slice=row.next_slice,
        slices_run=row.slices_run,
        filled=Decimal(row.filled),
        notional=Decimal(row.notional),
        fees=Decimal(row.fees),
        arrival_price=optional_decimal(row.arrival_price),
        benchmark=benchmark_of(row),
        events=row.events,
    )


PROGRESS_COLUMNS = (
    "status", "close_reason", "next_slice", "slices_run", "filled", "notional", "fees", "arrival_price", "events",
    *BENCHMARK_COLUMNS,
)  # fmt: skip


def progress_values(progress: Progress) -> tuple[Any, ...]:
    """Its columns."""
    return (
        progress.status.value,
        progress.close_reason.value if progress.close_reason else None,
        progress.next_slice,
        progress.slices_run,
        exact_text(progress.filled),
        exact_text(progress.notional),
        exact_text(progress.fees),
        optional_text(progress.arrival_price),
        progress.events,
        *benchmark_values(progress.benchmark),
    )


def exact_text(value: Decimal) -> str:
    """The column of a decimal: every digit, no exponent."""
    return format(value, "f")


def optional_decimal(text: str | None) -> Decimal | None:
    """A decimal that may be unknown."""
    return None if text is None else Decimal(text)


def optional_text(value: Decimal | None) -> str | None:
    """Its column."""
    return None if value is None else exact_text(value)
