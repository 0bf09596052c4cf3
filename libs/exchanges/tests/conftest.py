"""Recordings of real frames, where they are present, an exchange on the loopback, and instruments to talk about."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crosstape.common.market.instrument import Instrument, Kind
from crosstape.exchanges import DIALECTS, rest
from crosstape.exchanges.rest import ExchangeRest

SNAPSHOT = '{"lastUpdateId":1,"bids":[["1","2"]],"asks":[["2","1"]]}'
Answer = Callable[[web.Request, int], web.StreamResponse]

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "recordings"


class Line(msgspec.Struct):
    """One line of a recording; `t` in ns."""

    t: int | None
    dir: str
    src: str
    frame: str = ""

    @property
    def body(self) -> bytes:
        return self.frame.encode()


Recording = Callable[[str], list[Line]]


@cache
def _read(name: str) -> list[Line]:
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz") as file:
        return msgspec.json.decode(b"[" + b",".join(file.read().splitlines()) + b"]", type=list[Line])


@pytest.fixture(scope="session")
def recording() -> Iterator[Recording]:
    """Reads a recording by name. Skips the test where there is none."""

    def read(name: str) -> list[Line]:
        if not (RECORDINGS / f"{name}.jsonl.gz").exists():
            pytest.skip(f"no recording {name} beside the repository: ../shared/recordings is absent")
        return _read(name)

    yield read
    _read.cache_clear()


@pytest.fixture(scope="session")
def truth() -> Callable[[str], list[dict[str, str]]]:
    """Reads a table of what a recording must come to, as rows."""

    def read(name: str) -> list[dict[str, str]]:
        path = RECORDINGS / "truth" / f"{name}.csv"
        if not path.exists():
            pytest.skip(f"no truth {name} beside the repository: ../shared/recordings is absent")
        header, *rows = (line.split(",") for line in path.read_text().splitlines())
        return [dict(zip(header, row, strict=True)) for row in rows]

    return read


@pytest.fixture
def spot() -> Instrument:
    return Instrument("binance", "BTCUSDT", "BTC", "USDT")


@pytest.fixture
def perpetual() -> Instrument:
    return Instrument("binance", "ETHUSDT", "ETH", "USDT", Kind.PERPETUAL)


class Exchange:
    """A server mounted as the simulator mounts an exchange; `answer` gets the request and its number."""

    def __init__(self):
        self.requests: list[web.Request] = []
        self.answer: Answer = lambda request, number: web.Response(text=SNAPSHOT)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        return self.answer(request, len(self.requests))


class Clock:
    """Time that only waiting makes go on, s."""

    Lock = asyncio.Lock

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
async def client(exchange: Exchange) -> AsyncIterator[Callable[..., ExchangeRest]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:

        def make(name="binance", **options) -> ExchangeRest:
            return ExchangeRest(DIALECTS[name], str(server.make_url("/")), session, **options)

        yield make


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """What `rest` waits by, at once."""
    made = Clock()
    monkeypatch.setattr(rest, "time", made)
    monkeypatch.setattr(rest, "asyncio", made)
    return made
