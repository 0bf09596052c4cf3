"""What the tape can hold: plain positive decimals, times that can be, ids that are printable. The rest is put aside
row by row, so that one bad trade takes no other with it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from crosstape.common.market.decimals import is_positive_decimal
from crosstape.common.market.ledger import Gap, LedgerEvent
from crosstape.common.market.trade import TradeBatch, TradeColumns, TradeId, batch_columns

EARLIEST = 1_230_768_000_000_000_000
"""2009-01-01: before the first trade there could be, in ns."""
DAY = 86_400_000_000_000
LATEST_RECEIVED = (1 << 63) - 1
LARGEST_ID = (1 << 63) - 1
LONGEST_TEXT = 128


class Unsound(ValueError):
    """Something among these batches is not for the tape."""


class Rejected(Struct, frozen=True):
    """Trades that the tape cannot hold, and why."""

    reason: str
    batch: TradeBatch


def accept(batches: Iterable[TradeBatch], now: int) -> tuple[list[TradeBatch], list[Rejected]]:
    """The batches as the tape can hold them at `now` (ns), and what has to be left out, row by row."""
    accepted: list[TradeBatch] = []
    rejected: list[Rejected] = []
    for batch in batches:
        columns = batch.columns()
        by_reason: dict[str | None, list[int]] = {}
        for row in range(len(batch)):
            by_reason.setdefault(_reason(batch, columns, row, now), []).append(row)
        for reason, rows in by_reason.items():
            part = batch_columns(batch.exchange, batch.symbol, batch.source, _chosen(columns, rows))
            if reason is None:
                accepted.append(part)
            else:
                rejected.append(Rejected(reason, part))
    return accepted, rejected


def _chosen(columns: TradeColumns, rows: Sequence[int]) -> TradeColumns:
    return TradeColumns(
        [columns.trade_id[row] for row in rows],
        [columns.time[row] for row in rows],
        [columns.price[row] for row in rows],
        [columns.quantity[row] for row in rows],
        [columns.side[row] for row in rows],
        [columns.time_received[row] for row in rows],
    )


def is_name(text: str) -> bool:
    """Whether an exchange or a symbol can be called so."""
    return 0 < len(text) <= LONGEST_TEXT and text.isprintable()


def is_id(trade_id: TradeId) -> bool:
    """Whether a trade can have this id."""
    return 0 <= trade_id <= LARGEST_ID if isinstance(trade_id, int) else is_name(trade_id)


def _reason(batch: TradeBatch, columns: TradeColumns, row: int, now: int) -> str | None:
    """Why the tape cannot hold a row, None when it can."""
    if not (is_name(batch.exchange) and is_name(batch.symbol)):
        return "market"
    if not is_id(columns.trade_id[row]):
        return "trade_id"
    if not EARLIEST <= columns.time[row] <= now + DAY:
        return "time"
    if not 0 <= columns.time_received[row] <= LATEST_RECEIVED:
        return "time_received"
    if columns.side[row] not in (-1, 0, 1):
        return "side"
    if not is_positive_decimal(columns.price[row]):
        return "price"
    if not is_positive_decimal(columns.quantity[row]):
        return "quantity"
    return None


def is_sound_event(event: LedgerEvent) -> bool:
    """Whether the ledger can hold `event`."""
    numbers = [event.start, event.end]
    if isinstance(event, Gap):
        numbers += [event.time, event.first_id or 0, event.last_id or 0]
    return all(0 <= number <= LATEST_RECEIVED for number in numbers) and event.start <= event.end
