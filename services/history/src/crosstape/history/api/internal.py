"""What the platform's own services ask: markets, where the tape ends and what it lacks, and how store and feeds are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Annotated

from fastapi import APIRouter, Query, Response
from msgspec import Raw, Struct

from crosstape.common.errors import DatabaseError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.history.api.answers import json_response
from crosstape.history.api.markets import Market
from crosstape.history.api.missing import is_numbered, missing_ids, newest_trades, open_from
from crosstape.history.api.resources import Context, Resources
from crosstape.history.api.spans import Span, Spans

router = APIRouter(prefix="/internal", include_in_schema=False)

HOUR = 3_600
SILENT_MS = 60_000
"""A feed of which nothing came for this long counts as down: it says every few seconds that it is connected."""


class Watermark(Struct, frozen=True):
    """One market's newest stored trade (time in ns, not later than its own), and the holes below it: the first and the
    last missing id, and the times (ns) of the trades before and after them."""

    symbol: str
    newest_trade_id: int | str
    newest_time: int
    holes: list[tuple[int, int, int, int]]


@router.get("/instruments/{exchange}")
async def instruments(context: Context, exchange: str) -> Response:
    return json_response({"instruments": await context.markets.instruments(context.markets.exchange(exchange))})


@router.get("/closed_minutes/{exchange}")
async def closed_minutes(
    context: Context,
    exchange: str,
    symbols: Annotated[list[str], Query(max_length=100)],
    since: Annotated[int, Query(ge=0, lt=2**32)],
) -> Response:
    exchange = context.markets.exchange(exchange)
    lines = await context.exports.json_lines(
        "closed_minutes", quote_decimals=True, exchange=exchange, symbols=symbols, since=since
    )
    return json_response({"bars": [Raw(line) for line in lines]})


@router.get("/watermarks/{exchange}")
async def watermarks(context: Context, exchange: str, hours: Annotated[int, Query(ge=1, le=24 * 31)] = 6) -> Response:
    exchange = context.markets.exchange(exchange)
    known = await context.markets.instruments(exchange)
    numbered = {instrument.symbol: is_numbered(Market(exchange, instrument)) for instrument in known}
    symbols = [symbol for (symbol,) in await context.exports.rows("tape_symbols", exchange=exchange)]
    marks = await _watermarks(context, exchange, symbols, [s for s in symbols if numbered.get(s)], hours)
    newest = {mark.symbol: mark.newest_time for mark in marks}
    unnumbered = [symbol for symbol in {*newest, *numbered} if not numbered.get(symbol)]
    since = time.time_ns() - hours * HOUR * NANOSECONDS
    return json_response(
        {
            "markets": marks,
            "uncovered": await _uncovered(context, exchange, unnumbered, newest, since),
            "lost_on_bus": _by_symbol(await context.exports.rows("lost_on_bus", exchange=exchange, symbols=unnumbered)),
        }
    )


async def _watermarks(
    context: Resources, exchange: str, symbols: list[str], numbered: list[str], hours: int
) -> list[Watermark]:
    store = context.exports
    newest = await newest_trades(store, exchange, symbols)
    marks = {
        symbol: (market.closed_uid or market.closed_seq, (market.closed_until - 60) * NANOSECONDS)
        for symbol, market in newest.items()
    }
    end = int(time.time()) + 1
    for symbol, _, last, uid, newest_time in await store.rows(
        "open_ids", exchange=exchange, symbols=symbols, start=open_from(newest), end=end
    ):
        if newest_time >= marks.get(symbol, (0, 0))[1]:
            marks[symbol] = (uid or last, newest_time)
    start = max((time_of for _, time_of in marks.values()), default=0) // NANOSECONDS - hours * HOUR
    holes = await missing_ids(store, exchange, numbered, max(0, start), end) if numbered else {}
    return [
        Watermark(symbol, *marks[symbol], [(h.first, h.last, h.after, h.before) for h in holes.get(symbol, [])])
        for symbol in symbols
        if symbol in marks
    ]


async def _uncovered(
    context: Resources, exchange: str, symbols: list[str], newest: Mapping[str, int], since: int
) -> dict[str, list[Span]]:
    """Of each market, what of the time (ns) from its first coverage after `since` until now nobody vouched for, nor
    gave up; without any coverage that is the time since its newest trade."""
    now = time.time_ns()
    vouched = _by_symbol(await context.exports.rows("vouched", exchange=exchange, symbols=symbols, since=since))
    begun = {**newest, **{symbol: min(start for start, _ in spans) for symbol, spans in vouched.items()}}
    return {symbol: Spans(vouched.get(symbol, ())).lacking(begun[symbol], now) for symbol in symbols if symbol in begun}


def _by_symbol(rows: Iterable[tuple[str, int, int]]) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = {}
    for symbol, start, end in rows:
        spans.setdefault(symbol, []).append((start, end))
    return spans


@router.get("/status")
async def status(context: Context) -> Response:
    try:
        took = round(await context.probes.ping(), 2)
    except DatabaseError:
        return json_response({"database": {"status": "down"}, "feeds": {}})
    try:
        ages = dict(await context.probes.rows("feeds"))
    except DatabaseError:  # it is there, and too busy to tell how they are
        ages = {}
    feeds = {
        exchange: {
            "status": "up" if ages.get(exchange, SILENT_MS) < SILENT_MS else "down",
            "last_event_age_ms": ages.get(exchange),
        }
        for exchange in context.markets.exchanges
    }
    return json_response({"database": {"status": "up", "response_time_ms": took}, "feeds": feeds})
