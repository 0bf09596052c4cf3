"""Seed 1's candles: the exchange's own, each range fetched once and kept. Only closed ones are kept."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Sequence
from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Response
from msgspec.structs import astuple
from pydantic import Field

from crosstape.common.errors import ExchangeError, ValidationFailed
from crosstape.common.market.bar import Interval
from crosstape.common.time import UserTime, parse_time
from crosstape.exchanges.dialect import Kline
from crosstape.exchanges.times import MILLISECOND
from crosstape.history.api import examples
from crosstape.history.api.answers import tell_quote_alias
from crosstape.history.api.markets import Market
from crosstape.history.api.parameters import Numbers, Parameters
from crosstape.history.api.resources import Context, Resources
from crosstape.history.api.spans import Span, Spans
from crosstape.history.columns import PRICE
from crosstape.history.exchanges import REQUEST_SECONDS

router = APIRouter(tags=["klines"])

MOST_KLINES = 20_000
DEFAULT_KLINES = 500
KLINES_AT_ONCE = 500
"""How many are asked for and kept together, up to twice as many at the end: Kraken's whole reach lies in that."""
DAY_SECONDS = 86_400
GRACE_MS = 10_000
"""How long after its end a candle may still change: clocks differ, and exchanges publish late."""
MILLISECONDS = pa.timestamp("ms", "UTC")


class _Asked(Parameters):
    start_date: str | None = Field(
        None,
        description=f"first open time: 2025-01-01, or ISO 8601; the newest {DEFAULT_KLINES} if left out; Kraken gives "
        "the newest 720 candles of each length, and an earlier start is 422",
        max_length=64,
    )
    end_date: str | None = Field(
        None, description="end, exclusive; a bare date includes its day; now if left out", max_length=64
    )
    interval: Interval = Field(Interval.D1, description="length of a candle")
    numbers: Numbers = "number"


@router.get(
    "/klines/{exchange}/{symbol:path}", summary="The exchange's own candles, of any time", responses=examples.KLINES
)
async def klines(
    context: Context, response: Response, exchange: str, symbol: str, asked: Annotated[_Asked, Query()]
) -> Response:
    now = time.time_ns() // MILLISECOND
    deadline = asyncio.get_running_loop().time() + REQUEST_SECONDS
    market = await context.markets.resolve_any(exchange, symbol)
    source = source_interval(asked.interval, await context.exchanges.intervals(market.exchange))
    reach = context.exchanges.klines_reach(market.exchange)
    start, end = kline_range(asked, source, reach, now, response)
    if (end - start) // (source.seconds * 1000) > MOST_KLINES:
        raise ValidationFailed(
            f"the range holds more than {MOST_KLINES} candles of {source}.",
            {"parameter": "end_date", "max_candles": MOST_KLINES},
        )
    if source is not asked.interval:
        start, end = _whole_bars(asked.interval, start, end)
        end = min(end, now)
    place = _place(market, source)
    held = Spans(await context.reads.rows("kline_ranges", **place, start=start, end=end))
    not_kept: list[Kline] = []
    try:
        async with asyncio.timeout_at(deadline):
            for lacking in held.lacking(start, end):
                not_kept += await _ask(context, market, source, held, lacking, now)
    except TimeoutError as error:
        raise ExchangeError(
            f"{market.exchange} did not give all of these candles within {REQUEST_SECONDS:g} s. Ask again: those that "
            "it gave are kept."
        ) from error
    tell_quote_alias(market, response)
    not_kept = [kline for kline in not_kept if kline.open_time < end]
    # Another request may keep them meanwhile: nothing that is told beside the store is read from it as well.
    span = {"start": start, "end": not_kept[0].open_time if not_kept else end}
    rolled = {} if source is asked.interval else {"seconds": asked.interval.seconds}
    lines = await context.reads.json_lines(
        "rolled_klines" if rolled else "klines",
        quote_decimals=asked.numbers == "string",
        not_kept=[astuple(kline) for kline in not_kept],
        **place,
        **span,
        **rolled,
    )
    return Response(b"[" + b",".join(lines) + b"]", headers=dict(response.headers), media_type="application/json")


def source_interval(wanted: Interval, offered: Sequence[Interval]) -> Interval:
    """The candles that answer for `wanted`: themselves, or the longest shorter ones that fill them exactly.

    Raises ValidationFailed, which names what the exchange has.
    """
    if wanted in offered:
        return wanted
    parts = [
        interval
        for interval in offered
        if interval.seconds < wanted.seconds
        and wanted.seconds % interval.seconds == 0
        and (interval.seconds <= DAY_SECONDS if wanted in (Interval.W1, Interval.MO1) else True)
    ]
    if not parts:
        raise ValidationFailed(
            f"the exchange has no candles of {wanted}; it has {', '.join(offered)}.",
            {"parameter": "interval", "intervals": list(offered)},
        )
    return max(parts, key=lambda interval: interval.seconds)


def kline_range(asked: _Asked, source: Interval, reach: int | None, now: int, response: Response) -> Span:
    """The open times [start, end) in ms that are asked for; without a start as many as may be asked of `source`, and of
    those that end now no more than the exchange's `reach`. Raises InvalidTimeFormat, ValidationFailed.
    """
    first = None if asked.start_date is None else parse_time(asked.start_date, date=True, parameter="start_date")
    last = None if asked.end_date is None else parse_time(asked.end_date, date=True, parameter="end_date")
    if any(moment is not None and moment.is_legacy for moment in (first, last)):
        response.headers["Deprecation"] = "true"
    until = now if last is None else _milliseconds(last) + (DAY_SECONDS * 1000 if last.is_date else 0)
    end = min(until, now)
    if first is None:
        span = min(DEFAULT_KLINES * asked.interval.seconds, MOST_KLINES * source.seconds) * 1000
        # Two fewer than it has: the open one, and one that opens meanwhile.
        oldest = 0 if reach is None else now - (reach - 2) * source.seconds * 1000
        return max(0, end - span, oldest if oldest < end else 0), end
    start = _milliseconds(first)
    if last is not None and until <= start and _milliseconds(last) < start:
        raise ValidationFailed("end_date must not be before start_date.", {"parameter": "end_date"})
    return start, max(start, end)


def _milliseconds(moment: UserTime) -> int:
    return -(-moment.nanoseconds // MILLISECOND)


def _whole_bars(interval: Interval, start: int, end: int) -> Span:
    """The whole bars of `interval` that open in [start, end) ms: from the first one's open to the last one's close."""
    first = interval.open_time(start // 1000)
    if first * 1000 < start:
        first = interval.close_time(first)
    last = interval.close_time(interval.open_time((end - 1) // 1000))
    return first * 1000, max(first, last) * 1000


async def _ask(
    context: Resources, market: Market, interval: Interval, held: Spans, lacking: Span, now: int
) -> list[Kline]:
    """Ask the exchange for [start, end) ms part by part, so that nobody asks again for what came before a failure. What
    is settled is kept, what is not is returned (and may open after the end).

    Raises ExchangeError, and ValidationFailed where the exchange no longer gives what is asked for.
    """
    start, end = lacking
    newest = context.newest.find(_key(market, interval), start)
    if newest is not None:
        return newest
    step = KLINES_AT_ONCE * interval.seconds * 1000
    # The last part is the longer one: what comes before it has been settled for long.
    for first in range(start, end - 2 * step, step):
        start = first + step
        await _ask_part(context, market, interval, held, (first, start), now)
        held = Spans([*held, (first, start)])
    return await _ask_part(context, market, interval, held, (start, end), now)


async def _ask_part(
    context: Resources, market: Market, interval: Interval, held: Spans, part: Span, now: int
) -> list[Kline]:
    start, end = part
    place = _place(market, interval)
    reaches_now = end > settled_until(interval, [], now)  # then all of the newest, as who asks next may want more
    found = await context.exchanges.klines(market.instrument, interval, start, now if reaches_now else end)
    until = settled_until(interval, found.rows, now)
    settled = [kline for kline in found.rows if kline.open_time < until]
    not_settled = found.rows[len(settled) :]
    if settled:
        await context.reads.insert("klines", _rows(settled, place))
    since = found.complete_from
    if (held_until := min(end, until)) > since:
        # The range before it grows, instead of one more beside it with each candle.
        begun = next((first for first, last in held if last == since), since)
        times = {"start": [begun], "end": [held_until]}
        columns = {name: pa.array(values, pa.int64()).cast(MILLISECONDS) for name, values in times.items()}
        await context.reads.insert("kline_ranges", pa.table({name: [value] for name, value in place.items()} | columns))
    if reaches_now:
        context.newest.remember(_key(market, interval), max(since, until), not_settled)
    if since > start:
        raise _out_of_reach(market.exchange, interval, since)
    return not_settled


def _place(market: Market, interval: Interval) -> dict[str, str]:
    return {"exchange": market.exchange, "symbol": market.symbol, "interval": interval.value}


def _key(market: Market, interval: Interval) -> tuple[str, ...]:
    return tuple(_place(market, interval).values())


def settled_until(interval: Interval, klines: Sequence[Kline], now: int) -> int:
    """The open time (ms) before which no candle of the exchange can change any more.

    `klines` are those that it told: some exchanges' weeks open on another day than ours.
    """
    ended = now - GRACE_MS
    changing = [k.open_time for k in klines if interval.close_time(k.open_time // 1000) * 1000 > ended]
    return min([interval.open_time(ended // 1000) * 1000, *changing])


def _out_of_reach(exchange: str, interval: Interval, since: int) -> ValidationFailed:
    first = dt.datetime.fromtimestamp(since / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ValidationFailed(
        f"{exchange} gives candles of {interval} from {first} on, and no older ones. Ask from there on, or for a "
        "longer interval; what was recorded here is at /api/v1/ohlcv.",
        {"parameter": "start_date", "first": first},
    )


def _rows(klines: Sequence[Kline], place: dict[str, str]) -> pa.Table:
    columns: dict[str, Any] = {name: pa.array([value] * len(klines)) for name, value in place.items()}
    columns["open_time"] = pa.array([kline.open_time for kline in klines], pa.int64()).cast(MILLISECONDS)
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = pa.array([getattr(kline, name) for kline in klines], pa.string()).cast(PRICE)
    return pa.table(columns)
