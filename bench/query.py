"""(E) 1,000 bars out of 100 million trades, through the real API process, and what a page costs.

The tape is made inside ClickHouse: 100 markets of a million trades each, one every 200 ms (300 a minute, 55 hours),
hour after hour as a tape grows, into the real schema. The bars of the first two markets are made by the sink's own
closing. Then, in turns, because one process owns the embedded store:
- bare: clickhouse-connect in a process of its own: the API's own statement; and the same bars from raw trades (FINAL,
  plain aggregates, the leanest statement we know for it);
- REST: `python -m crosstape.history` (role api), one keep-alive connection over loopback, one request at a time.
Times are medians of many requests, the ratio is of each round. `TRADES` (100,000,000) makes a smaller tape of
fewer markets.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import msgspec
import pyarrow as pa

from bench import tape
from bench.measure import OURS, Row, compare, fact
from bench.store import fresh_folder, stores
from crosstape.cli import probe
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command, Process
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import API_GATEWAY, HISTORY
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument
from crosstape.history.api.bars import BarQuery, ClosedBars, oldest_bars
from crosstape.history.api.cursor import BarCursor, TradeCursor, encode_cursor
from crosstape.history.api.markets import Market
from crosstape.history.sink.closing import Closing
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.store import Store

ROUNDS = 3
REQUESTS = 60
DEADLINE = 60.0
TRADES = int(os.environ.get("TRADES", "100_000_000"))
PER_MARKET = 1_000_000
MARKETS = max(1, TRADES // PER_MARKET)
CLOSED_MARKETS = min(2, MARKETS)
PER_MINUTE = 300
BARS = 1_000
PAGE = 1_000
SECRET = "known to this benchmark and therefore no secret at all"  # noqa: S105
START = 1_763_002_800
"""2025-11-13T03:00:00Z"""

_FILL = """
INSERT INTO trades (exchange, symbol, trade_seq, trade_uid, time, price, quantity, side, time_received, source)
SELECT
    'binance',
    concat('S', leftPad(toString(intDiv(number, {share})), 4, '0'), '-USDT'),
    {first} + number % {share} AS seq,
    '',
    fromUnixTimestamp64Nano(toInt64({start} * 1000000000 + seq * {step}), 'UTC'),
    toDecimal128(6100000 + cityHash64(number, {first}) % 9973, 2) / 100,
    toDecimal128(1 + cityHash64(number, {first}, 1) % 99999, 5) / 100000,
    if(cityHash64(number, 2) % 3 = 0, -1, 1),
    fromUnixTimestamp64Nano(toInt64({start} * 1000000000 + seq * {step} + 3000000), 'UTC'),
    1
FROM numbers({rows})
"""
_RAW = """
SELECT
    toStartOfMinute(time) AS minute,
    argMin(price, trade_seq), max(price), min(price), argMax(price, trade_seq),
    sum(quantity), sumIf(quantity, side = 1) - sumIf(quantity, side = -1), count()
FROM trades FINAL
WHERE exchange = 'binance' AND symbol = '{symbol}'
    AND time >= toDateTime64({start}, 9, 'UTC') AND time < toDateTime64({end}, 9, 'UTC')
GROUP BY minute
ORDER BY minute
"""


def measure() -> list[Row]:
    """Build, then take turns."""
    return asyncio.run(_measure(fresh_folder("query")))


async def _measure(folder: Path) -> list[Row]:
    build = json.loads(await _worker("build", folder))
    rounds: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        found = json.loads(await _worker("bare", folder))
        async with _service(folder) as origin:
            found |= await _requests(origin)
        for name, value in found.items():
            rounds.setdefault(name, []).append(value)
    size = f"{TRADES / 1e6:g} M trades"
    what = f"{BARS} bars (1m) from {size}"
    return [
        fact(f"{size}: generated and inserted", build["insert"], " s"),
        fact(f"{size}: bars of {CLOSED_MARKETS} markets recomputed and stored", build["close"], " s"),
        compare(f"{what}, bare query", rounds, "from raw trades", ours="bare", most=1 / 5, unit=" ms"),
        compare(f"{what}, REST", {**rounds, OURS: rounds["rest"]}, "bare", most=2, unit=" ms"),
        compare(f"{what}, REST", {**rounds, OURS: rounds["rest"]}, "from raw trades", unit=" ms"),
        compare(
            "REST, last page of 100 bars against the first",
            rounds,
            "bars page 1",
            ours="bars page N",
            most=1.5,
            unit=" ms",
        ),
        compare(
            f"REST, last page of {PAGE} trades against the first",
            rounds,
            "trades page 1",
            ours="trades page N",
            most=1.5,
            unit=" ms",
        ),
    ]


async def _worker(task: str, folder: Path) -> bytes:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.query",
        task,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{task} failed: exit code {process.returncode}")
    return output.splitlines()[-1]


def _url(folder: Path) -> str:
    return f"chdb://{folder / 'data'}"


def _last_minute() -> int:
    """The open of the tape's last full minute."""
    return START + (PER_MARKET // PER_MINUTE - 1) * 60


async def _build(folder: Path) -> dict[str, float]:
    """The tape, the market list, the bars."""
    names = tape.symbols(MARKETS)
    per_hour = PER_MINUTE * 60
    async with stores(_url(folder)) as (inserts, closings):
        started = time.perf_counter()
        for first in range(0, PER_MARKET, per_hour):
            share = min(per_hour, PER_MARKET - first)
            await inserts.execute(
                _FILL.format(
                    share=share,
                    first=first,
                    start=START,
                    step=60 * tape.NANOSECONDS // PER_MINUTE,
                    rows=share * MARKETS,
                )
            )
        inserted = time.perf_counter()
        listed = msgspec.json.encode([_instrument(name) for name in names]).decode()
        await inserts.insert("instruments", pa.table({"exchange": ["binance"], "instruments": [listed]}))
        touched = TouchedMinutes(grace=0, quiet=0)
        touched.reached = math.inf
        for name in names[:CLOSED_MARKETS]:
            for minute in range(START, _last_minute() + 60, 60):
                touched.touch(("binance", name, minute), PER_MINUTE, 0.0, minute)
        bus: Any = tape.Deaf()
        await tape.close_all(Closing(closings, bus, touched, lambda: tape.EVERYTHING))
        return {"insert": inserted - started, "close": time.perf_counter() - inserted}


def _instrument(symbol: str) -> Instrument:
    base, quote = symbol.split("-")
    return Instrument("binance", f"{base}{quote}", base, quote)


def _bars() -> tuple[int, int]:
    """The range of the bars asked for: in the middle of the tape."""
    middle = START + (_last_minute() - START) // 2 // 60 * 60
    first = max(START, middle - BARS // 2 * 60)
    return first, min(first + BARS * 60, _last_minute() + 60)


async def _bare(folder: Path) -> dict[str, float]:
    """In this process: the API's statement, and the aggregation of raw trades."""
    store = Store(_url(folder), threads=1, deadline=DEADLINE)
    start, end = _bars()
    symbol = tape.symbols(1)[0]
    query = BarQuery(Market("binance", _instrument(symbol)), Interval.M1, start, end)
    raw = _RAW.format(symbol=symbol, start=start, end=end)
    closed = ClosedBars()

    async def finished() -> int:
        return len(await oldest_bars(store, query, closed, limit=BARS))

    async def from_raw() -> int:
        body = await store._run(lambda client: client.raw_query(raw, fmt="JSONEachRow"))
        return body.count(b"\n")

    wanted = (end - start) // 60
    try:
        return {
            "bare": await _median(finished, wanted),
            "from raw trades": await _median(from_raw, wanted),
        }
    finally:
        await store.close()


async def _median(work: Callable[[], Awaitable[int]], wanted: int) -> float:
    times = []
    for number in range(REQUESTS + 5):
        started = time.perf_counter()
        count = await work()
        if number >= 5:
            times.append((time.perf_counter() - started) * 1000)
        if count != wanted:
            raise RuntimeError(f"{count} rows instead of {wanted}")
    return median(times)


@asynccontextmanager
async def _service(folder: Path) -> Any:
    port = free_port()
    environment = {
        "CROSSTAPE_ROLE": "api",
        "CROSSTAPE_PORT": str(port),
        "CROSSTAPE_CLICKHOUSE_URL": _url(folder),
        "CROSSTAPE_EXCHANGE_ORIGIN": f"http://{LOOPBACK}:9",
        "CROSSTAPE_EXCHANGES": "binance",
        "CROSSTAPE_INTERNAL_SECRET": SECRET,
        "CROSSTAPE_LOG_LEVEL": "ERROR",
    }
    command = Command(
        "history", (sys.executable, "-m", "crosstape.history"), probe.http(LOOPBACK, port, "/readyz"), environment
    )
    process = Process(command, folder / "history.log")
    process.start()
    try:
        await process.wait_ready(60)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        await process.stop(15)


async def _requests(origin: str) -> dict[str, float]:
    symbol = tape.symbols(1)[0]
    start, end = _bars()
    bars, trades = f"/api/v1/ohlcv/binance/{symbol}", f"/api/v1/trades/binance/{symbol}"
    tape_end = _last_minute() + 60
    tokens = InternalTokens(API_GATEWAY, [SECRET])
    async with aiohttp.ClientSession(origin) as session:

        def asking(path: str, key: str, **parameters: Any) -> Callable[[], Awaitable[int]]:
            async def ask() -> int:
                headers = tokens.own(HISTORY)  # as the gateway shows it
                async with session.get(path, params=parameters, headers=headers) as answer:
                    body = await answer.read()
                    if answer.status != 200:
                        raise RuntimeError(f"{path}: {answer.status} {body[:300]!r}")
                return body.count(key.encode())

            return ask

        whole = {"interval": "1m", "start": START, "end": tape_end, "limit": 100}
        last_bar = encode_cursor(BarCursor(tape_end - 101 * 60))
        last_trade = encode_cursor(TradeCursor(PER_MARKET // PER_MINUTE * PER_MINUTE - PAGE - 1, ""))
        span = {"start": START, "end": tape_end, "limit": PAGE}
        bar_key, trade_key = '"volume_delta"', '"trade_id"'
        return {
            "rest": await _median(
                asking(bars, bar_key, interval="1m", start=start, end=end, limit=BARS), (end - start) // 60
            ),
            "bars page 1": await _median(asking(bars, bar_key, **whole), 100),
            "bars page N": await _median(asking(bars, bar_key, **whole, cursor=last_bar), 100),
            "trades page 1": await _median(asking(trades, trade_key, **span), PAGE),
            "trades page N": await _median(asking(trades, trade_key, **span, cursor=last_trade), PAGE),
        }


def main(task: str, folder: Path) -> None:
    """One part of the work in this process; the last line it prints is what it measured."""
    print(json.dumps(asyncio.run({"build": _build, "bare": _bare}[task](folder))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
