"""Completeness: the ledger, minute by minute. What could not be repaired stays visible here."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from msgspec import Struct

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.ledger import GapState
from crosstape.history.api import examples
from crosstape.history.api.answers import json_response
from crosstape.history.api.cursor import BarCursor, bar_cursor, encode_cursor
from crosstape.history.api.markets import Market
from crosstape.history.api.missing import MINUTE, Hole, is_numbered, missing_ids
from crosstape.history.api.parameters import PageParameters, check_days, time_range
from crosstape.history.api.resources import Context, Resources
from crosstape.history.api.spans import Spans

router = APIRouter(tags=["completeness"])

MOST_DAYS = 31


class MinuteState(enum.StrEnum):
    """What is known of one minute: `gap` lacks trades or a connection, `repaired` lacked some, `complete` was heard
    all through, `quiet` too but nobody traded, of `unknown` nothing is known."""

    COMPLETE = "complete"
    REPAIRED = "repaired"
    GAP = "gap"
    QUIET = "quiet"
    UNKNOWN = "unknown"


class LedgerGap(Struct, frozen=True):
    """A row of the ledger; times in ns."""

    start: int
    end: int
    cause: str
    state: GapState


class Minute(Struct, frozen=True, omit_defaults=False):
    """One minute of the answer."""

    timestamp: int
    status: MinuteState
    cause: str | None
    trades: int
    first_trade_id: int | str | None
    last_trade_id: int | str | None


class MinuteTrades(Struct, frozen=True):
    """What the tape holds of one minute."""

    trades: int
    first_trade_id: int | str
    last_trade_id: int | str


def judge_minutes(
    minutes: Sequence[int],
    traded: dict[int, MinuteTrades],
    coverage: Spans,
    gaps: Sequence[LedgerGap],
    holes: Sequence[Hole],
) -> list[Minute]:
    """The state of each of `minutes` (Unix s): pure.

    A hole lies between the trades around it; a gap that is open or cannot be filled makes a gap as well, one that was
    repaired (or turned out to lack nothing) leaves its cause.
    """
    lost: dict[int, str] = {}
    mended: dict[int, str] = {}
    for hole in holes:
        lost |= dict.fromkeys(_touched(hole.after, hole.before, minutes), "sequence")
    for gap in gaps:
        if gap.state in (GapState.OPEN, GapState.UNFILLABLE):
            lost |= dict.fromkeys(_touched(gap.start, gap.end, minutes), gap.cause)
        elif gap.state is GapState.REPAIRED:
            mended |= dict.fromkeys(_touched(gap.start, gap.end, minutes), gap.cause)
    judged = []
    for minute in minutes:
        seen = traded.get(minute)
        is_covered = coverage.covers(minute * NANOSECONDS, (minute + MINUTE) * NANOSECONDS)
        if minute in lost:
            status, cause = MinuteState.GAP, lost[minute]
        elif minute in mended:
            status, cause = MinuteState.REPAIRED, mended[minute]
        elif is_covered:
            status, cause = (MinuteState.COMPLETE if seen else MinuteState.QUIET), None
        else:
            status, cause = MinuteState.UNKNOWN, None
        first, last = (seen.first_trade_id, seen.last_trade_id) if seen else (None, None)
        judged.append(Minute(minute, status, cause, seen.trades if seen else 0, first, last))
    return judged


def _touched(start: int, end: int, minutes: Sequence[int]) -> Iterable[int]:
    """Those of the page's minutes that [start, end] ns reaches into."""
    first = max(start // NANOSECONDS // MINUTE * MINUTE, minutes[0]) if minutes else 0
    last = min(end // NANOSECONDS, minutes[-1]) if minutes else -1
    return range(first, last + 1, MINUTE)


@router.get(
    "/api/v1/completeness/{exchange}/{symbol:path}",
    summary="What is known of each minute, and what lacks",
    responses=examples.COMPLETENESS,
)
async def completeness(
    context: Context, response: Response, exchange: str, symbol: str, asked: Annotated[PageParameters, Query()]
) -> Response:
    span = time_range(asked.start, asked.end, response, unix=True)
    if span.start is None:
        raise ValidationFailed("start is required.", {"parameter": "start"})
    check_days(span, MOST_DAYS)
    market = await context.markets.resolve(exchange, symbol)
    start, end = span.seconds
    if asked.cursor is not None:
        start = bar_cursor(asked.cursor).open_time
    start -= start % MINUTE
    end = min(end, int(time.time()) + 1)
    minutes = range(start, end, MINUTE)[: asked.limit]
    until = min(end, minutes[-1] + MINUTE) if minutes else start
    place = {"exchange": market.exchange, "symbol": market.symbol}
    nanoseconds = {"start": start * NANOSECONDS, "end": until * NANOSECONDS}
    rows = await context.reads.rows("minutes", base=MINUTE, start=start, end=until, **place)
    traded = {
        minute: MinuteTrades(count, uid or seq, last or last_seq) for minute, count, seq, uid, last_seq, last in rows
    }
    coverage = Spans(await context.reads.rows("coverage", **place, **nanoseconds))
    gaps = [
        LedgerGap(start, end, cause, GapState(state))
        for *_, start, end, cause, state in await context.reads.rows("gaps", **place, **nanoseconds)
    ]
    holes = await _holes(context, market, start, until) if is_numbered(market) and minutes else []
    following = until if until < end else None
    body = {
        "exchange": market.exchange,
        "symbol": symbol,
        "canonical": market.symbol,
        **({"quote_alias": market.quote_alias} if market.quote_alias else {}),
        "minutes": judge_minutes(minutes, traded, coverage, gaps, holes),
        "missing_ids": [(hole.first, hole.last) for hole in holes],
        "next_cursor": None if following is None else encode_cursor(BarCursor(following)),
    }
    return json_response(body, response.headers)


async def _holes(context: Resources, market: Market, start: int, end: int) -> list[Hole]:
    """Holes that reach into [start, end), those between a trade before it and one after it included."""
    place = {"exchange": market.exchange, "symbol": market.symbol}
    [(earlier, later)] = await context.reads.rows("neighbours", start=start, end=end, **place)
    found = await missing_ids(context.reads, market.exchange, [market.symbol], earlier, later)
    return [
        hole
        for hole in found.get(market.symbol, [])
        if hole.before >= start * NANOSECONDS and hole.after < end * NANOSECONDS
    ]
