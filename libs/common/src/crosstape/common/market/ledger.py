"""Ledger: what is known about the completeness of the tape, as events on topic `ledger`."""

from __future__ import annotations

import enum

from msgspec import Struct


class GapState(enum.StrEnum):
    """What became of a hole.

    `open`: seen, not yet repaired. `repaired`: the exchange's history gave the trades, and they were published.
    `absent`: the exchange's history covers the range and has no such trades. `unfillable`: the history does not reach
    that far, or stayed out of reach: the hole stays visible.
    """

    OPEN = "open"
    REPAIRED = "repaired"
    ABSENT = "absent"
    UNFILLABLE = "unfillable"


class Gap(Struct, frozen=True, array_like=True, tag="gap", gc=False):
    """A hole in one market's tape: missing ids [first_id, last_id], or (ids None) an interval without a connection.

    `start`/`end` bound it in exchange time (ns). `cause` is what made it: `disconnect`, `malformed` (unreadable frame,
    or a trade that no tape can hold), `sequence` (left out on a living connection), `unverified` (trades without
    numbers came on a living connection, but more of them than the exchange's history reaches back to compare),
    `restart`, `bus`, `backfill` (asked of a backfill, but before all that the exchange's history reaches back to).
    `trades` is how many trades the repair published. A gap is its (exchange, symbol, first_id, last_id, start): the
    newest `time` (ns, when the state was reached) of it wins, so repeats are harmless.
    """

    exchange: str
    symbol: str
    first_id: int | None
    last_id: int | None
    start: int
    end: int
    cause: str
    state: GapState
    trades: int
    time: int


class Coverage(Struct, frozen=True, array_like=True, tag="coverage", gc=False):
    """A feed of this market was connected and subscribed over [start, end) (ns, our clock). Repeats are harmless."""

    exchange: str
    symbol: str
    start: int
    end: int


LedgerEvent = Gap | Coverage
"""What topic `ledger` carries."""
