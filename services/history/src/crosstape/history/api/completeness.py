"""Completeness: the ledger, minute by minute. What could not be repaired stays visible here."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from msgspec import Struct

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.ledger import GapState
from crosstape.history.api import examples
from crosstape.history.api.answers import json_response
from crosstape.history.api.bars import traded_lately
from crosstape.history.api.cursor import BarCursor, bar_cursor, encode_cursor
from crosstape.history.api.ledger import Ledger, lost, read_ledger
from crosstape.history.api.missing import MINUTE, is_numbered
from crosstape.history.api.parameters import PageParameters, Range, check_days, time_range
from crosstape.history.api.resources import Context
from crosstape.history.api.schemas import MinuteState
from crosstape.history.api.spans import Span, Spans

router = APIRouter(tags=["completeness"])

MOST_DAYS = 31
DEFAULT_SPAN = 3_600 * NANOSECONDS
"""Without a start: the last hour."""


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
    traded: Mapping[int, MinuteTrades],
    ledger: Ledger,
    stored_until: int,
    lately: Collection[int],
) -> list[Minute]:
    """The state of each of `minutes` (Unix s): pure.

    What was heard in a minute that ends after `stored_until` (Unix s) may not be stored yet; trades of one that got
    some `lately` may be in no bar yet. A gap that was repaired leaves its cause, and says nothing of the rest of its
    minute: that may be still to come, or was before anybody listened.
    """
    coverage = Spans(ledger.heard)
    fetched = ((gap.start, gap.end + 1) for gap in ledger.gaps if gap.state is GapState.REPAIRED)
    held = Spans([*ledger.heard, *fetched])
    gone: dict[int, str] = {}
    mended: dict[int, str] = {}
    for begun, until, why in lost(ledger, coverage):
        gone |= dict.fromkeys(_touched(begun, until, minutes), why)
    for gap in ledger.gaps:
        if gap.state is not GapState.ABSENT:
            mended |= dict.fromkeys(_touched(gap.start, gap.end, minutes), gap.cause)
    judged = []
    for minute in minutes:
        seen = traded.get(minute)
        end = minute + MINUTE
        is_known = end <= stored_until and held.covers(minute * NANOSECONDS, end * NANOSECONDS)
        if minute in gone:
            status, cause = MinuteState.GAP, gone[minute]
        elif not is_known or (seen is None and minute in lately):
            status, cause = MinuteState.UNKNOWN, None
        elif minute in mended:
            status, cause = MinuteState.REPAIRED, mended[minute]
        else:
            status, cause = (MinuteState.COMPLETE if seen else MinuteState.QUIET), None
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
    stored_until = await context.closed.stored_until(context.reads, market, until)
    rows = await context.reads.rows(
        "minutes", base=MINUTE, start=start, end=until, exchange=market.exchange, symbol=market.symbol
    )
    traded = {
        minute: MinuteTrades(count, uid or seq, last or last_seq) for minute, count, seq, uid, last_seq, last in rows
    }
    ledger = await read_ledger(context.reads, market, start, until)
    if is_numbered(market):
        ledger = msgspec.structs.replace(ledger, heard=[*ledger.heard, _proven(start, until, traded, ledger.between)])
    lately = {*await traded_lately(context.reads, market, MINUTE, start, until)}
    following = until if until < end else None
    body = {
        "exchange": market.exchange,
        "symbol": symbol,
        "canonical": market.symbol,
        **({"quote_alias": market.quote_alias} if market.quote_alias else {}),
        "minutes": judge_minutes(minutes, traded, ledger, stored_until, lately),
        "missing_ids": [(hole.first, hole.last) for hole in ledger.holes],
        "next_cursor": None if following is None else encode_cursor(BarCursor(following)),
    }
    return json_response(body, response.headers)


def _proven(start: int, end: int, traded: Mapping[int, MinuteTrades], between: Span) -> Span:
    """What consecutive ids vouch for (ns), whoever was connected: between the first trade and the last nothing is
    missing but the holes. `between` lies outside [start, end) where the tape has trades there."""
    earlier, later = between
    first = start if earlier < start else min(traded, default=end) + MINUTE
    last = end if later > end else max(traded, default=start)
    return (first * NANOSECONDS, max(first, last) * NANOSECONDS)
