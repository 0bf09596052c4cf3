"""Completeness: the ledger, minute by minute. What could not be repaired stays visible here."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.ledger import GapState
from crosstape.history.api import examples
from crosstape.history.api.answers import json_response
from crosstape.history.api.cursor import BarCursor, bar_cursor, encode_cursor
from crosstape.history.api.markets import Market
from crosstape.history.api.missing import MINUTE, Hole, is_numbered, missing_ids
from crosstape.history.api.parameters import PageParameters, Range, check_days, time_range
from crosstape.history.api.resources import Context, Resources
from crosstape.history.api.spans import Spans

router = APIRouter(tags=["completeness"])

MOST_DAYS = 31
DEFAULT_SPAN = 3_600 * NANOSECONDS
"""Without a start: the last hour."""


class MinuteState(enum.StrEnum):
    """What is known of one minute: `gap` lacks trades or a connection, `repaired` lacked some, `complete` was heard
    all through, `quiet` too but nobody traded, of `unknown` nothing is known yet or ever."""

    COMPLETE = "complete"
    REPAIRED = "repaired"
    GAP = "gap"
    QUIET = "quiet"
    UNKNOWN = "unknown"


class LedgerGap(Struct, frozen=True):
    """A row of the ledger; times in ns, ids -1 where the gap is an interval without a connection."""

    first_id: int
    last_id: int
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
    stored_until: int,
) -> list[Minute]:
    """The state of each of `minutes` (Unix s): pure.

    What was heard in a minute that ends after `stored_until` (Unix s) may not be stored yet. A hole lies between the
    trades around it; a gap that lasts makes a gap as well, one that was repaired leaves its cause.
    """
    lost: dict[int, str] = {}
    mended: dict[int, str] = {}
    for hole in holes:
        lost |= dict.fromkeys(_touched(hole.after, hole.before, minutes), "sequence")
    for gap in gaps:
        if _lasts(gap, coverage, holes, minutes):
            lost |= dict.fromkeys(_touched(gap.start, gap.end, minutes), gap.cause)
        elif gap.state is not GapState.ABSENT:
            mended |= dict.fromkeys(_touched(gap.start, gap.end, minutes), gap.cause)
    judged = []
    for minute in minutes:
        seen = traded.get(minute)
        end = minute + MINUTE
        is_known = end <= stored_until and coverage.covers(minute * NANOSECONDS, end * NANOSECONDS)
        if minute in lost:
            status, cause = MinuteState.GAP, lost[minute]
        elif minute in mended:
            status, cause = MinuteState.REPAIRED, mended[minute]
        elif is_known:
            status, cause = (MinuteState.COMPLETE if seen else MinuteState.QUIET), None
        else:
            status, cause = MinuteState.UNKNOWN, None
        first, last = (seen.first_trade_id, seen.last_trade_id) if seen else (None, None)
        judged.append(Minute(minute, status, cause, seen.trades if seen else 0, first, last))
    return judged


def _lasts(gap: LedgerGap, coverage: Spans, holes: Sequence[Hole], minutes: Sequence[int]) -> bool:
    """Whether trades of `gap` may still be missing.

    Whoever reported it may have been killed before it could report the repair, and another ingestor may have what this
    one could not get: so the tape itself decides, by its ids where they are numbered. Where they are not, an open gap
    ends by what was heard or vouched for since, and one that cannot be filled stays.
    """
    if gap.state not in (GapState.OPEN, GapState.UNFILLABLE):
        return False
    if gap.first_id >= 0:
        return any(hole.first <= gap.last_id and gap.first_id <= hole.last for hole in holes)
    if gap.state is GapState.UNFILLABLE:
        return True
    page = (minutes[0] * NANOSECONDS, (minutes[-1] + MINUTE) * NANOSECONDS)
    return not coverage.covers(max(gap.start, page[0]), min(gap.end, page[1]))


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
        span = Range(span.end - DEFAULT_SPAN, span.end)
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
    stored_until = await context.closed.stored_until(context.reads, market, until)
    rows = await context.reads.rows("minutes", base=MINUTE, start=start, end=until, **place)
    traded = {
        minute: MinuteTrades(count, uid or seq, last or last_seq) for minute, count, seq, uid, last_seq, last in rows
    }
    heard = await context.reads.rows("coverage", **place, **nanoseconds)
    gaps = [
        LedgerGap(first, last, start, end, cause, GapState(state))
        for first, last, start, end, cause, state in await context.reads.rows("gaps", **place, **nanoseconds)
    ]
    holes: list[Hole] = []
    if is_numbered(market) and minutes:
        [(earlier, later)] = await context.reads.rows("neighbours", start=start, end=until, **place)
        holes = await _holes(context, market, start, until, between=(earlier, later))
        heard.append(_proven(start, until, traded, earlier=earlier, later=later))
    coverage = Spans(heard)
    following = until if until < end else None
    body = {
        "exchange": market.exchange,
        "symbol": symbol,
        "canonical": market.symbol,
        **({"quote_alias": market.quote_alias} if market.quote_alias else {}),
        "minutes": judge_minutes(minutes, traded, coverage, gaps, holes, stored_until),
        "missing_ids": [(hole.first, hole.last) for hole in holes],
        "next_cursor": None if following is None else encode_cursor(BarCursor(following)),
    }
    return json_response(body, response.headers)


async def _holes(context: Resources, market: Market, start: int, end: int, *, between: tuple[int, int]) -> list[Hole]:
    """Holes that reach into [start, end), those between a trade before it and one after it included."""
    found = await missing_ids(context.reads, market.exchange, [market.symbol], *between)
    return [
        hole
        for hole in found.get(market.symbol, [])
        if hole.before >= start * NANOSECONDS and hole.after < end * NANOSECONDS
    ]


def _proven(start: int, end: int, traded: Mapping[int, MinuteTrades], *, earlier: int, later: int) -> tuple[int, int]:
    """What consecutive ids vouch for (ns), whoever was connected: between the first trade and the last nothing is
    missing but the holes. `earlier` and `later` lie outside [start, end) where the tape has trades there."""
    first = start if earlier < start else min(traded, default=end) + MINUTE
    last = end if later > end else max(traded, default=start)
    return (first * NANOSECONDS, max(first, last) * NANOSECONDS)
