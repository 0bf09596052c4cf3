"""What the tests put in place of the bus and the exchanges, and how they ask the app."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI
from msgspec import Struct
from opentelemetry.trace import SpanContext

from crosstape.common import tracing
from crosstape.common.bus.consumer import Share
from crosstape.common.bus.topics import TRADES
from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import Bar, Interval
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import Source, Trade, batch_trades
from crosstape.exchanges.dialect import Kline, Klines
from crosstape.history.sink.closing import Closing
from crosstape.history.sink.rows import trade_rows
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.sink.writer import Writer
from crosstape.history.store import Store

EVERYTHING = Share(TRADES.partitions, range(TRADES.partitions))

_numbers = itertools.count()


class Told:
    """A producer that keeps what it is told, and the spans in which it was."""

    def __init__(self) -> None:
        self.records: list[tuple[str, bytes, object]] = []
        self.contexts: list[SpanContext | None] = []

    async def deliver(self, topic: object, key: bytes, record: object) -> None:
        self.records.append((topic.name, key, record))
        self.contexts.append(tracing.active())

    def bars(self) -> list[Bar]:
        return [bar for name, _, bars in self.records if name == "bars" for bar in bars]


class Sink:
    """A writer and a closing on the test's store, without a bus; minutes are due at once. It owns a `share` of the
    partitions, all if none is told."""

    def __init__(self, store: Store, share: Share = EVERYTHING):
        self.told = Told()
        self.store = store
        self.touched = TouchedMinutes(grace=0, quiet=0)
        self.touched.reached = math.inf
        self.closing = Closing(store, self.told, self.touched, lambda: share)
        self.writer = Writer(store, self.told, self.touched)

    async def insert(self, trades: list[Trade], source: Source = Source.STREAM) -> None:
        markets: dict[tuple[str, str], list[Trade]] = {}
        for trade in trades:
            markets.setdefault((trade.exchange, trade.symbol), []).append(trade)
        batches = [batch_trades(market, source) for market in markets.values()]
        await self.writer.store_trades(trade_rows(batches, time.time_ns()))

    async def close_all(self) -> None:
        while await self.closing.step():
            pass


def new_symbol() -> str:
    """A market no other test writes to."""
    return f"T{next(_numbers)}-USDT"


class FakeExchanges:
    """Exchanges whose candles are made up from their times, and which count how often they were asked. They have
    `offered` lengths, and where they have a `reach` no candle that opens before `oldest` (ms). What they are asked for
    beyond `fails_after` times fails."""

    def __init__(self) -> None:
        self.asked: list[tuple[Interval, int, int]] = []
        self.lists: dict[str, list[Instrument]] = {}
        self.offered: list[Interval] = [Interval.M1, Interval.H1, Interval.D1]
        self.reach: int | None = None
        self.oldest = 0
        self.fails_after: int | None = None

    async def markets(self, exchange: str, seconds: float) -> list[Instrument]:
        if exchange not in self.lists:
            raise ExchangeError(f"{exchange} is away")
        return self.lists[exchange]

    async def intervals(self, exchange: str) -> Sequence[Interval]:
        return self.offered

    def klines_reach(self, exchange: str) -> int | None:
        return self.reach

    async def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> Klines:
        self.asked.append((interval, start, end))
        if self.fails_after is not None and len(self.asked) > self.fails_after:
            raise ExchangeError(f"{instrument.exchange} is away")
        step = interval.seconds * 1000
        since = max(start, self.oldest)
        opened = range(-(-since // step) * step, end, step)
        rows = [Kline(t, str(t // step), str(t // step + 2), "0.50", "1.10", "10.000") for t in opened]
        return Klines(rows, since)


class Answer(Struct):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def get(app: FastAPI, target: str, **headers: str) -> Answer:
    """GET `target` (path and query)."""
    parts = urlsplit(target)
    answer = Answer(0, {}, b"")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    has_asked = False

    async def receive() -> dict[str, Any]:
        nonlocal has_asked
        if has_asked:
            await asyncio.Event().wait()
        has_asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer
