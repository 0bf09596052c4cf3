"""The audit: every stored bar recomputed from the tape and compared byte for byte, days hashed, ids looked through."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Response
from msgspec import Struct
from starlette.responses import StreamingResponse

from crosstape.history.api.markets import Market
from crosstape.history.api.missing import MINUTE, is_numbered, missing_ids
from crosstape.history.api.parameters import SpanParameters, time_range
from crosstape.history.api.resources import Context
from crosstape.history.store import Store

router = APIRouter(prefix="/internal", include_in_schema=False)

HOUR = 3_600
CLOSING_SECONDS = 5.0
"""A minute may be waiting to be closed again: what differs is looked at twice."""
MOST_MISMATCHES = 1_000


class Mismatch(Struct, frozen=True):
    """A bar that is not what its trades say; `stored` or `tape` is None where there is no such bar."""

    interval: int
    open_time: int
    stored: str | None
    tape: str | None


Lines = dict[tuple[int, int], str]
"""(open time, interval) -> canonical line."""


@router.get("/verify/{exchange}/{symbol:path}")
async def verify(
    context: Context, response: Response, exchange: str, symbol: str, asked: Annotated[SpanParameters, Query()]
) -> Response:
    span = time_range(asked.start, asked.end, response, unix=True, date=True)
    market = await context.markets.resolve(exchange, symbol)
    start, end = span.seconds
    [(first, closed_until)] = await context.exports.rows("bar_span", exchange=market.exchange, symbol=market.symbol)
    start = max(start - start % MINUTE, first)
    end = min(-(-end // MINUTE) * MINUTE, closed_until)
    return StreamingResponse(_audit(context.exports, market, start, end), media_type="application/x-ndjson")


async def _audit(store: Store, market: Market, start: int, end: int) -> AsyncIterator[bytes]:
    mismatches: list[Mismatch] = []
    days: dict[str, Any] = {}
    bars = 0
    for hour in range(start, end, HOUR):
        until = min(hour + HOUR, end)
        stored, tape = await _both(store, market, hour, until)
        if stored != tape:
            await asyncio.sleep(CLOSING_SECONDS)
            stored, tape = await _both(store, market, hour, until)
        bars += len(tape)
        mismatches += _differences(stored, tape)
        for (open_time, interval), line in stored.items():
            if interval == MINUTE:
                day = dt.datetime.fromtimestamp(open_time, dt.UTC).date().isoformat()
                days.setdefault(day, hashlib.sha256()).update(f"{line}\n".encode())
        yield msgspec.json.encode({"checked_until": until, "bars": bars}) + b"\n"
    holes = []
    if is_numbered(market) and start < end:
        found = await missing_ids(store, market.exchange, [market.symbol], start, end)
        holes = [(hole.first, hole.last) for hole in found.get(market.symbol, [])]
    report = {
        "result": "mismatch" if mismatches else "ok",
        "bars": bars,
        "mismatches": mismatches[:MOST_MISMATCHES],
        "missing_ids": holes,
        "sha256": {day: digest.hexdigest() for day, digest in days.items()},
    }
    yield msgspec.json.encode(report) + b"\n"


async def _both(store: Store, market: Market, start: int, end: int) -> tuple[Lines, Lines]:
    place = {"exchange": market.exchange, "symbol": market.symbol, "start": start, "end": end}
    stored = await store.rows("stored_lines", **place)
    tape = await store.rows("tape_lines", **place)
    return _by_bar(stored), _by_bar(tape)


def _by_bar(rows: list[tuple[Any, ...]]) -> Lines:
    return {(open_time, interval): line for interval, open_time, line in rows}


def _differences(stored: Lines, tape: Lines) -> list[Mismatch]:
    return [
        Mismatch(interval, open_time, stored.get((open_time, interval)), tape.get((open_time, interval)))
        for open_time, interval in sorted(stored.keys() | tape.keys())
        if stored.get((open_time, interval)) != tape.get((open_time, interval))
    ]
