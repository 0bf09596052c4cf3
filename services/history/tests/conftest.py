"""One embedded store for the whole run: chDB opens one path per process. Tests keep apart by market."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from fastapi import FastAPI

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.market.instrument import Instrument
from crosstape.common.runtime.health import Health
from crosstape.common.testing.identity import INTERNAL_SECRET, own_headers
from crosstape.history.api.app import create_app
from crosstape.history.api.markets import Markets
from crosstape.history.api.newest_klines import NewestKlines
from crosstape.history.api.resources import Resources
from crosstape.history.migrate import migrate
from crosstape.history.store import Store
from services.history.tests.harness import Answer, FakeExchanges, Sink, get, new_symbol

Client = Callable[..., Awaitable[Answer]]


@pytest.fixture(scope="session")
def store_url(clickhouse_url: str) -> str:
    return clickhouse_url


@pytest.fixture(scope="session")
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url, threads=2, deadline=15.0)
    asyncio.run(migrate(opened))
    yield opened
    asyncio.run(opened.close())


@pytest.fixture
def sink(store: Store) -> Sink:
    return Sink(store)


@pytest.fixture
def symbol() -> str:
    return new_symbol()


@pytest.fixture
def exchanges(symbol: str) -> FakeExchanges:
    """binance lists BTC-USDT and the test's own market."""
    fake = FakeExchanges()
    base = symbol.partition("-")[0]
    fake.lists["binance"] = [
        Instrument("binance", "BTCUSDT", "BTC", "USDT"),
        Instrument("binance", f"{base}USDT", base, "USDT"),
    ]
    return fake


@pytest.fixture
def app(store: Store, exchanges: FakeExchanges) -> FastAPI:
    markets = Markets(["binance", "kraken", "okx", "bybit"], exchanges.markets, store)
    has_tables = asyncio.Event()
    has_tables.set()
    newest = NewestKlines(lambda: 0.0)  # they stay new, however long a test takes
    resources = Resources(store, store, store, markets, exchanges, Health(), has_tables, newest=newest)
    return create_app(resources, InternalTokens("history", [INTERNAL_SECRET]))


@pytest.fixture
def client(app: FastAPI) -> Client:
    async def ask(target: str, **headers: str) -> Answer:
        return await get(app, target, **own_headers("history"), **headers)

    return ask
