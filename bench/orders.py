"""(F) When slices start: open orders that between them have thousands of slices due each second, on this machine.

The real process (`python -m crosstape.twap_engine`, embedded database, every transaction on disk) beside the broker it
reads from and everything of this benchmark: 20 markets whose books change ten times a second, `ORDERS` (5,000) orders
of one slice a second, posted over HTTP in lists of 100. A slice's lateness is from its deadline to the moment in which
it looks at the book, as its row says; measured are the slices of 20 s, from a moment after the last order was accepted.
Events go to Kafka all the while; the last line says how far they were behind at the end.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from aiohttp import web

from bench.broker import broker
from bench.measure import Row, fact, limit, percentile
from bench.store import fresh_folder
from crosstape.cli import probe
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command, Process
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import BOOKS, market_key
from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller, Principal, Role, Scope
from crosstape.common.identity.services import API_GATEWAY, TWAP_ENGINE
from crosstape.common.market.book import BookUpdate
from crosstape.common.market.instrument import Instrument

ORDERS = int(os.environ.get("ORDERS", "5_000"))
SECONDS = 20
SETTLE_SECONDS = 3
MARKETS = 20
LIST = 100
OF_AN_ACCOUNT = 1_000
"""As many as may be open at once."""
EXCHANGE = "bench"
"""One that no dialect knows, so that its books need no exchange's sequence numbers."""
SECRET = "known to this benchmark and therefore no secret at all"  # noqa: S105


def measure() -> list[Row]:
    """Accept, wait, read the rows."""
    return uvloop.run(_measure(fresh_folder("orders")))


async def _measure(folder: Path) -> list[Row]:
    async with broker() as bus, _history() as history_url, _service(folder, bus, history_url) as origin:
        books = asyncio.create_task(_change_books(bus))
        try:
            await _wait_ready(origin)
            started = time.perf_counter()
            await _accept(origin)
            accepting = time.perf_counter() - started
            await asyncio.sleep(SETTLE_SECONDS)
            begin = time.time_ns()
            await asyncio.sleep(SECONDS)
        finally:
            books.cancel()
        rows = _rows(folder, begin, begin + (SECONDS - 1) * 1_000_000_000)
        backlog = _count(folder, "SELECT count(*) FROM outbox")
    late = [(started - due) / 1e6 for due, started, _ in rows]
    filled = sum(Decimal(filled) > 0 for _, _, filled in rows)
    what = f"{ORDERS} open orders, slices of 1 s: start after the deadline"
    return [
        fact(f"{what}, p50", percentile(late, 50), " ms"),
        limit(f"{what}, p99", percentile(late, 99), 250),
        fact(f"{what}, the latest", max(late), " ms"),
        fact("slices that ran", len(rows) / (SECONDS - 1), "/s"),
        fact("of them filled", filled / len(rows) * 100, " %"),
        fact("orders accepted over HTTP meanwhile", ORDERS / accepting, "/s"),
        fact("events that waited for Kafka at the end (rows)", backlog, ""),
    ]


def _symbols() -> list[str]:
    return [f"S{number:02d}-USDT" for number in range(MARKETS)]


@asynccontextmanager
async def _history() -> AsyncIterator[str]:
    """What the engine asks of history: the market lists."""
    listed = [
        Instrument(EXCHANGE, f"{base}{quote}", base, quote, lot_size="0.00001")
        for base, quote in (symbol.split("-") for symbol in _symbols())
    ]

    async def exchanges(request: web.Request) -> web.Response:
        return web.json_response({"exchanges": [EXCHANGE]})

    async def instruments(request: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode({"instruments": listed}), content_type="application/json")

    app = web.Application()
    app.router.add_get("/exchanges", exchanges)
    app.router.add_get(f"/internal/instruments/{EXCHANGE}", instruments)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, 0).start()
    try:
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _service(folder: Path, bus: BusSettings, history_url: str) -> AsyncIterator[str]:
    port = free_port()
    environment = {
        "CROSSTAPE_PORT": str(port),
        "CROSSTAPE_KAFKA_BOOTSTRAP": bus.bootstrap,
        "CROSSTAPE_ORDERS_DATABASE_URL": f"sqlite:///{folder / 'orders.db'}",
        "CROSSTAPE_HISTORY_URL": history_url,
        "CROSSTAPE_INTERNAL_SECRET": SECRET,
        "CROSSTAPE_LOG_LEVEL": "WARNING",
    }
    argv = (sys.executable, "-m", "crosstape.twap_engine")
    command = Command("twap-engine", argv, probe.http(LOOPBACK, port, "/livez"), environment)
    process = Process(command, folder / "twap-engine.log")
    process.start()
    try:
        await process.wait_ready(60)
        yield f"http://{LOOPBACK}:{port}"
    finally:
        await process.stop(15)


async def _wait_ready(origin: str) -> None:
    async with aiohttp.ClientSession(origin) as session, asyncio.timeout(60):
        while True:
            async with session.get("/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.1)


async def _change_books(bus: BusSettings) -> None:
    """A snapshot of each market, then a few levels of each ten times a second."""
    chance = random.Random(1)

    def levels(first: int, step: int, count: int) -> list[tuple[str, str]]:
        return [(f"{(first + step * n) / 100:.2f}", f"{chance.uniform(5, 500):.4f}") for n in range(count)]

    async with Producer(bus) as producer:
        is_snapshot, depth = True, 500
        while True:
            for symbol in _symbols():
                bids, asks = levels(9_999, -1, depth), levels(10_001, 1, depth)
                now = time.time_ns()
                book = BookUpdate(EXCHANGE, symbol, is_snapshot, bids, asks, now, now, stream="bench.1")
                await producer.send(BOOKS, market_key(EXCHANGE, symbol), book)
            is_snapshot, depth = False, 5
            await asyncio.sleep(0.1)


async def _accept(origin: str) -> None:
    tokens = InternalTokens(API_GATEWAY, [SECRET])
    order = {"side": "buy", "total_quantity": 1, "limit_price": 110, "duration": 600, "interval": 1}
    async with aiohttp.ClientSession(origin) as session:
        for first in range(0, ORDERS, LIST):
            names = [_symbols()[n % MARKETS] for n in range(first, min(first + LIST, ORDERS))]
            caller = Caller(API_GATEWAY, _account(first // OF_AN_ACCOUNT), LOOPBACK)
            headers = {HEADER: tokens.mint(TWAP_ENGINE, caller)}
            body = [order | {"symbol": name} for name in names]
            async with session.post("/orders/twap", json=body, headers=headers) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"not accepted: {answer.status} {await answer.text()}")


def _account(number: int) -> Principal:
    return Principal(
        user_id=f"bench-{number}",
        username=f"bench-{number}",
        role=Role.USER,
        scopes=frozenset({Scope.ORDERS_WRITE}),
        credentials_version=1,
        expires_at=0,
    )


def _rows(folder: Path, begin: int, end: int) -> list[tuple[int, int, str]]:
    with sqlite3.connect(folder / "orders.db", timeout=30) as connection:
        found = connection.execute("SELECT due, started, filled FROM slices WHERE due BETWEEN ? AND ?", (begin, end))
        return list(found)


def _count(folder: Path, query: str) -> int:
    with sqlite3.connect(folder / "orders.db", timeout=30) as connection:
        return int(connection.execute(query).fetchone()[0])
