"""What topic `orders` is told of an order: pure functions from what happened to OrderEvents, numbered without a gap."""

from __future__ import annotations

from decimal import Decimal, localcontext

import msgspec

from crosstape.common.market.decimals import decimal_text
from crosstape.common.market.order import OrderEvent, OrderEventKind
from crosstape.twap_engine.order import CloseReason, ParentOrder, Progress, SliceResult
from crosstape.twap_engine.schedule import EXACT


def accepted(order: ParentOrder) -> list[OrderEvent]:
    """The order is in the database."""
    quantity = decimal_text(order.total_quantity)
    return [_event(order, 0, OrderEventKind.ACCEPTED, order.start, quantity=quantity, filled_quantity="0")]


def of_slice(order: ParentOrder, before: Progress, after: Progress, result: SliceResult) -> list[OrderEvent]:
    """A slice ran: itself, each of its fills, and the order's end if it was the last."""
    filled, time = before.filled, result.started
    events = [
        _event(
            order,
            before.events,
            OrderEventKind.SLICE,
            time,
            price=decimal_text(order.limit_price),
            quantity=decimal_text(result.quantity),
            filled_quantity=decimal_text(filled),
            reason=result.reason,
        )
    ]
    for number, fill in enumerate(result.fills, before.events + 1):
        with localcontext(EXACT):
            filled += fill.quantity
        events.append(
            _event(
                order,
                number,
                OrderEventKind.FILL,
                time,
                exchange=fill.exchange,
                price=decimal_text(fill.price),
                quantity=decimal_text(fill.quantity),
                filled_quantity=decimal_text(filled),
            )
        )
    if after.status is not before.status and after.close_reason is not None:
        events.append(_end(order, before.events + len(events), time, filled, after.close_reason))
    return events


def ended(order: ParentOrder, progress: Progress, reason: CloseReason, time: int) -> list[OrderEvent]:
    """The order was cancelled, or its time passed without another slice."""
    return [_end(order, progress.events, time, progress.filled, reason)]


def _end(order: ParentOrder, number: int, time: int, filled: Decimal, reason: CloseReason) -> OrderEvent:
    kind = OrderEventKind.CANCELLED if reason is CloseReason.CANCELLED else OrderEventKind.CLOSED
    quantity = decimal_text(order.total_quantity)
    return _event(
        order, number, kind, time, quantity=quantity, filled_quantity=decimal_text(filled), reason=reason.value
    )


def _event(order: ParentOrder, number: int, kind: OrderEventKind, time: int, **said: str) -> OrderEvent:
    """An event of the order; what is `said` of it are texts of OrderEvent's."""
    return OrderEvent(
        user_id=order.user_id,
        username=order.username,
        order_id=order.order_id,
        number=number,
        kind=kind,
        time=time,
        symbol=order.symbol,
        side=order.side.value,
        **({"exchange": order.exchange} | said),
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[OrderEvent])


def pack(events: list[OrderEvent]) -> bytes:
    """A row of the outbox."""
    return _encoder.encode(events)


def unpack(row: bytes) -> list[OrderEvent]:
    """The events of a row of the outbox."""
    return _decoder.decode(row)
