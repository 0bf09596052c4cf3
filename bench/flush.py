"""(D) The flush of every second at a steady 50,000 trades/s, over the end of a minute, with 100 and 1,000 markets.

Every second the trades of that second, as they stand on the bus, go through the sink's own writer while its closing
runs beside it as in production (in the same process, each with its own store): seconds and minutes that ended are
recomputed and stored meanwhile. The time of a flush is from the records in hand (still encoded) to their rows stored.
"By second of the minute": the median flush of seconds 0 to 9, in which the minute before is closed, against the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import uvloop
from msgspec import Struct

from bench import tape
from bench.measure import Row, fact, limit, percentile, quantity
from bench.store import fresh_folder, stores
from crosstape.history.sink.closing import Closing
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.sink.writer import Writer

RATE = 50_000
SECONDS = 75
MARKETS = (100, 1_000)
WARM_UP = 3
LONGEST_P99 = 100.0
CLOSING_SECONDS = 10


class Flush(Struct, frozen=True):
    """One flush: at which second of the minute, and how long it took in ms."""

    second: int
    milliseconds: float


def measure() -> list[Row]:
    """A run for each number of markets."""
    runs = {count: uvloop.run(_run(count)) for count in MARKETS}
    rows: list[Row] = []
    for count, flushes in runs.items():
        times = [flush.milliseconds for flush in flushes]
        rows.append(fact(f"flush of 1 s at {RATE // 1000} k trades/s, {count} markets, p50", median(times), " ms"))
        rows.append(
            limit(
                f"flush of 1 s at {RATE // 1000} k trades/s, {count} markets, p99", percentile(times, 99), LONGEST_P99
            )
        )
        rows.append(_flatness(count, flushes))
    few, many = (median(flush.milliseconds for flush in flushes) for flushes in runs.values())
    what = f"flush, {MARKETS[1]} markets against {MARKETS[0]} (p50)"
    rows.append(
        Row(what, quantity(many, " ms"), "", quantity(few, " ms"), f"{many / few:.2f}×", "≤ 1.5×", many <= 1.5 * few)
    )
    return rows


def _flatness(count: int, flushes: Sequence[Flush]) -> Row:
    closing = [flush.milliseconds for flush in flushes if flush.second < CLOSING_SECONDS]
    others = [flush.milliseconds for flush in flushes if flush.second >= CLOSING_SECONDS]
    what = f"flush, {count} markets, seconds 0–9 of the minute against the others (p50)"
    if not closing or not others:
        return Row(what, "", "", "", "")
    ours, theirs = median(closing), median(others)
    is_met = ours <= 1.5 * theirs
    return Row(what, quantity(ours, " ms"), "", quantity(theirs, " ms"), f"{ours / theirs:.2f}×", "≤ 1.5×", is_met)


async def _run(count: int) -> list[Flush]:
    folder = fresh_folder(f"flush-{count}")
    names = tape.symbols(count)
    touched = TouchedMinutes(grace=1.0, quiet=1.0)
    bus: Any = tape.Deaf()
    stop = asyncio.Event()
    flushes: list[Flush] = []
    async with stores(f"chdb://{folder / 'data'}") as (inserts, closings), asyncio.TaskGroup() as group:
        writer = Writer(inserts, bus, touched)
        group.create_task(Closing(closings, bus, touched, lambda: tape.EVERYTHING).run(stop))
        began = time.time_ns() // tape.NANOSECONDS + 2
        for second in range(WARM_UP + SECONDS):
            opened = (began + second) * tape.NANOSECONDS
            values = tape.records(names, second * RATE, RATE, opened, 1.0)
            # The trades of a second are all there when the next one begins.
            await asyncio.sleep(max(0.0, (opened + tape.NANOSECONDS - time.time_ns()) / tape.NANOSECONDS))
            arrived, started = time.time(), time.perf_counter()
            await writer.write(tape.batch(values))
            touched.reached = arrived
            if second >= WARM_UP:
                flushes.append(Flush((began + second + 1) % 60, (time.perf_counter() - started) * 1000))
        stop.set()
    return flushes
