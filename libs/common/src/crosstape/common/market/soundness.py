"""What the tape can hold: plain positive decimals, times that can be, ids that are printable. One rule for the store
and for whoever counts trades beside it, so that all count the same ones. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from crosstape.common.market.decimals import are_positive_decimal_lines, is_positive_decimal
from crosstape.common.market.trade import TakerSide, TradeBatch, TradeColumns, TradeId, batch_columns, unpack

EARLIEST = 1_230_768_000_000_000_000
"""2009-01-01: before the first trade there could be, in ns."""
DAY = 86_400_000_000_000
LARGEST = (1 << 63) - 1
"""The largest id, and the latest moment (ns)."""
LONGEST_TEXT = 128

Flaw = Literal["market", "trade_id", "time", "time_received", "side", "price", "quantity"]
"""Why the tape cannot hold a trade: the field that is wrong."""

_SIGNS = frozenset(TakerSide)
_SIDES = bytes(sign % 256 for sign in _SIGNS)


def is_name(text: str) -> bool:
    """Whether an exchange or a symbol can be called so."""
    return 0 < len(text) <= LONGEST_TEXT and text.isprintable()


def is_id(trade_id: TradeId) -> bool:
    """Whether a trade can have this id."""
    return 0 <= trade_id <= LARGEST if isinstance(trade_id, int) else is_name(trade_id)


def sound_part(batch: TradeBatch, now: int) -> TradeBatch | None:
    """The trades of `batch` that the tape can hold at `now` (ns), None when there are none: judged as a whole, and only
    if that fails row by row."""
    return batch if _is_sound(batch, now) else parts(batch, now).get(None)


def parts(batch: TradeBatch, now: int) -> dict[str | None, TradeBatch]:
    """`batch` by why the tape cannot hold its trades at `now` (ns); under None those that it can."""
    columns = batch.columns()
    by_reason: dict[str | None, list[int]] = {}
    for row in range(len(batch)):
        by_reason.setdefault(_reason(batch, columns, row, now), []).append(row)
    return {
        reason: batch_columns(batch.exchange, batch.symbol, batch.source, _chosen(columns, rows))
        for reason, rows in by_reason.items()
    }


def _is_sound(batch: TradeBatch, now: int) -> bool:
    """Whether no row has a `_reason`."""
    ids, times = batch.trade_id, unpack(batch.time)
    return (
        is_name(batch.exchange)
        and is_name(batch.symbol)
        and (min(unpack(ids)) >= 0 if isinstance(ids, bytes) else all(map(is_name, ids)))
        and min(times) >= EARLIEST
        and max(times) <= now + DAY
        and min(unpack(batch.time_received)) >= 0
        and not batch.side.translate(None, _SIDES)
        and are_positive_decimal_lines(batch.price)
        and are_positive_decimal_lines(batch.quantity)
    )


def _reason(batch: TradeBatch, columns: TradeColumns, row: int, now: int) -> Flaw | None:
    """Why the tape cannot hold a row, None when it can."""
    if not (is_name(batch.exchange) and is_name(batch.symbol)):
        return "market"
    if not is_id(columns.trade_id[row]):
        return "trade_id"
    if not EARLIEST <= columns.time[row] <= now + DAY:
        return "time"
    if columns.time_received[row] < 0:
        return "time_received"
    if columns.side[row] not in _SIGNS:
        return "side"
    if not is_positive_decimal(columns.price[row]):
        return "price"
    if not is_positive_decimal(columns.quantity[row]):
        return "quantity"
    return None


def _chosen(columns: TradeColumns, rows: Sequence[int]) -> TradeColumns:
    return TradeColumns(
        [columns.trade_id[row] for row in rows],
        [columns.time[row] for row in rows],
        [columns.price[row] for row in rows],
        [columns.quantity[row] for row in rows],
        [columns.side[row] for row in rows],
        [columns.time_received[row] for row in rows],
    )
