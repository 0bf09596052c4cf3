"""(I) The whole demo at 2,500 trades/s for `MINUTES` (10): five exchanges of 20 fast markets each, simulators included.

`crosstape demo --rate 2500` as it comes, nobody subscribed. It warms up for five minutes and a half: so long does the
hub fill what it keeps for clients that come back. Then it is asked once a second how far behind its sink is; the trades
that it stores are counted over the whole time. Memory is each process's own pages and its share of those it has with
others; "flat" is what the soak calls so.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from bench.measure import Row, fact, limit, percentile, quantity
from bench.store import fresh_folder
from tests.soak.demo import Demo
from tests.soak.gauges import Gauges
from tests.soak.judge import CEILINGS, MIB, memory_growth

RATE, LEAST_STORED = 2_500, 2_000
WARM_UP_SECONDS = 330.0
SECONDS = 60.0 * float(os.environ.get("MINUTES", "10"))
LONGEST_LAG = 2.0


def measure() -> list[Row]:
    """Start, warm up, watch."""
    return asyncio.run(_measure(fresh_folder("volume")))


async def _measure(folder: Path) -> list[Row]:
    demo, gauges = Demo(folder, ["--rate", str(RATE)]), Gauges()
    try:
        await demo.start()
        await asyncio.sleep(WARM_UP_SECONDS)
        async with aiohttp.ClientSession() as session:
            before, started = await _stored(session, demo), time.monotonic()
            while (passed := time.monotonic() - started) < SECONDS:
                demo.weigh()
                await gauges.sample(session, demo)
                await asyncio.sleep(1.0 - passed % 1.0)
            stored = (await _stored(session, demo) - before) / (time.monotonic() - started)
    finally:
        await demo.stop()
    what = f"{SECONDS / 60:g} minutes at {RATE:,} trades/s"
    rows = [
        Row(f"{what}: stored", quantity(stored, "/s"), "", "", "", f"≥ {LEAST_STORED:,}/s", stored >= LEAST_STORED),
        fact(f"{what}: sink lag, p50", percentile(gauges.lags, 50), " s"),
        limit(f"{what}: sink lag, p99", percentile(gauges.lags, 99), LONGEST_LAG, " s"),
        fact(f"{what}: sink lag, the longest", max(gauges.lags), " s"),
    ]
    for name, grown in memory_growth(demo.sizes).items():
        if grown is None:
            continue
        size = f"{grown.typical / MIB:.0f} MiB, {grown.fitted / MIB:+.1f} in {grown.seconds:.0f} s"
        ceiling = CEILINGS.get(name, 0.0)
        goal = f"flat, or ≤ {ceiling / MIB:.0f} MiB" if ceiling else "flat"
        rows.append(Row(f"{what}: memory of {name}", size, "", "", "", goal, grown.is_flat(ceiling)))
    return rows


async def _stored(session: aiohttp.ClientSession, demo: Demo) -> float:
    """How many trades the sink has stored so far."""
    async with session.get(f"{demo.run.history_url}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "crosstape_history_rows_total" and sample.labels["table"] == "trades"
    )
