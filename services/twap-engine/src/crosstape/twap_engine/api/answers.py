"""Bodies: seed 1's, with what the contract adds. Every decimal has its exact text."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import msgspec
from msgspec import Struct
from starlette.responses import Response

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.decimals import decimal_text, plain_text
from crosstape.twap_engine import analytics
from crosstape.twap_engine.order import Market, ParentOrder, Status
from crosstape.twap_engine.schedule import EXACT
from crosstape.twap_engine.store.accept import Accepted
from crosstape.twap_engine.store.read import Detail
from crosstape.twap_engine.store.rows import AnyRow, benchmark_of

Number = Callable[[Decimal | None], msgspec.Raw | str | None]
"""`Notation.number`."""

_encoder = msgspec.json.Encoder()
ACCEPTED = "TWAP order accepted"
MOST_IN_LOOP = 200
"""Executions whose bodies are written in a few milliseconds."""


def json_response(body: Any, headers: dict[str, str] | None = None) -> Response:
    """`body` as JSON."""
    return Response(_encoder.encode(body), headers=headers, media_type="application/json")


class Notation(Struct, frozen=True):
    """How decimals are answered: `write` takes their text."""

    write: Callable[[str], msgspec.Raw | str]

    def number(self, value: Decimal | None) -> msgspec.Raw | str | None:
        """The canonical text of a decimal."""
        return None if value is None else self.write(decimal_text(value))

    def as_written(self, value: Decimal) -> msgspec.Raw | str:
        """A decimal as the user wrote it: 1.0 stays 1.0."""
        return self.write(plain_text(value))


NOTATIONS = {"number": Notation(lambda text: msgspec.Raw(text.encode())), "string": Notation(str)}
"""What `?numbers=` may say."""


def time_text(nanoseconds: int) -> str:
    """`2025-02-11T21:22:55.756847`, UTC: the seed's form, always with microseconds."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000:06d}"


def receipt_body(accepted: list[Accepted], *, is_list: bool) -> dict[str, Any]:
    """What POST answers: of one order, or of the first one and each."""
    receipts = [_receipt(one) for one in accepted]
    return receipts[0] | ({"orders": receipts} if is_list and len(receipts) > 1 else {})


def _receipt(accepted: Accepted) -> dict[str, Any]:
    optional = {"quote_aliases": accepted.order.quote_aliases, "warnings": accepted.warnings}
    told = {name: value for name, value in optional.items() if value}
    return {"message": ACCEPTED, "order_id": accepted.order.order_id, **told}


def summary_body(row: AnyRow) -> dict[str, Any]:
    """An order in the list."""
    return {
        "order_id": row.order_id,
        "username": row.username,
        "symbol": row.symbol,
        "duration": row.duration,
        "interval": row.interval,
        "order_status": row.status,
        "status": row.status,
    }


async def detail_response(detail: Detail, now: int, notation: Notation) -> Response:
    """An order with everything that came of it; `now` is UTC in ns. A long one is written aside of the event loop."""
    if len(detail.executions) <= MOST_IN_LOOP:
        return json_response(_detail_body(detail, now, notation))
    return await asyncio.to_thread(lambda: json_response(_detail_body(detail, now, notation)))


def _detail_body(detail: Detail, now: int, notation: Notation) -> dict[str, Any]:
    order, progress, number = detail.order, detail.progress, notation.number
    twap, vwap = analytics.market_twap(progress.benchmark), analytics.market_vwap(progress.benchmark)
    is_open = progress.status is Status.OPEN
    with localcontext(EXACT):
        left = order.total_quantity - progress.filled
    passed = analytics.slices_passed(order, progress, now if detail.closed_at is None else detail.closed_at)
    return {
        "order_id": order.order_id,
        "username": order.username,
        "symbol": order.symbol,
        "side": order.side.value,
        "duration": order.duration,
        "interval": order.interval,
        "total_quantity": notation.as_written(order.total_quantity),
        "limit_price": notation.as_written(order.limit_price),
        "status": progress.status.value,
        "close_reason": progress.close_reason.value if progress.close_reason else None,
        "executions": [_execution(row, progress.arrival_price, number) for row in detail.executions],
        "exchange": order.exchange or None,
        "markets": [_market(order, market) for market in order.markets],
        "filled_quantity": number(progress.filled),
        "unfilled_quantity": number(left),
        "average_price": number(analytics.average_price(progress)),
        "notional": number(progress.notional),
        "fees": number(progress.fees),
        "arrival_price": number(progress.arrival_price),
        "benchmark": {"twap": number(twap), "vwap": number(vwap), "seconds": number(progress.benchmark.seconds)},
        "slippage_bps": {
            name: number(analytics.slippage_bps(order, progress, price))
            for name, price in (("arrival", progress.arrival_price), ("twap", twap), ("vwap", vwap))
        },
        "participation_rate": number(analytics.share_of(progress.filled, progress.benchmark.volume)),
        "exchanges": [
            {
                "exchange": share.exchange,
                "quantity": number(share.quantity),
                "notional": number(share.notional),
                "fees": number(share.fees),
                "share": number(share.share),
            }
            for share in analytics.venue_split(detail.exchanges)
        ],
        "progress": {
            "filled": number(analytics.share_of(progress.filled, order.total_quantity)),
            "slices": order.slices,
            "slices_run": progress.slices_run,
            "slices_missed": passed - progress.slices_run,
            "slices_short": detail.short,
        },
        "created_at": time_text(order.start),
        "closed_at": None if detail.closed_at is None else time_text(detail.closed_at),
        "estimated_completion": time_text(order.end) if is_open else None,
        "warnings": detail.warnings,
        **({"executions_left_out": detail.left_out} if detail.left_out else {}),
    }


def _market(order: ParentOrder, market: Market) -> dict[str, str]:
    alias = order.quote_aliases.get(market.exchange)
    return {"exchange": market.exchange, "symbol": market.symbol} | ({"quote_alias": alias} if alias else {})


def _execution(row: AnyRow, arrival_price: Decimal | None, number: Number) -> dict[str, Any]:
    benchmark = benchmark_of(row)
    return {
        "price": number(Decimal(row.price)),
        "quantity": number(Decimal(row.quantity)),
        "timestamp": time_text(row.time),
        "exchange": row.exchange,
        "symbol": row.symbol,
        "fee": number(Decimal(row.fee)),
        "slice": row.slice,
        "receipt": {
            "book_hash": row.book_hash or None,
            "arrival_price": number(arrival_price),
            "mid_price": None if row.mid_price is None else number(Decimal(row.mid_price)),
            "interval_twap": number(analytics.market_twap(benchmark)),
            "interval_vwap": number(analytics.market_vwap(benchmark)),
        },
    }
