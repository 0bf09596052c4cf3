"""What is put aside of records that the store cannot hold: row by row, so that one bad trade takes no other with it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from crosstape.common.market.ledger import Gap, LedgerEvent
from crosstape.common.market.soundness import LARGEST, parts
from crosstape.common.market.trade import TradeBatch


class Unsound(ValueError):
    """Something among these batches is not for the tape."""


class Rejected(Struct, frozen=True):
    """Trades that the tape cannot hold, and why."""

    reason: str
    batch: TradeBatch


def accept(batches: Iterable[TradeBatch], now: int) -> tuple[list[TradeBatch], list[Rejected]]:
    """The batches as the tape can hold them at `now` (ns), and what has to be left out. Pure."""
    accepted: list[TradeBatch] = []
    rejected: list[Rejected] = []
    for batch in batches:
        for reason, part in parts(batch, now).items():
            if reason is None:
                accepted.append(part)
            else:
                rejected.append(Rejected(reason, part))
    return accepted, rejected


def is_sound_event(event: LedgerEvent) -> bool:
    """Whether the ledger can hold `event`."""
    numbers = [event.start, event.end]
    if isinstance(event, Gap):
        numbers += [event.time, event.first_id or 0, event.last_id or 0]
    return all(0 <= number <= LARGEST for number in numbers) and event.start <= event.end
