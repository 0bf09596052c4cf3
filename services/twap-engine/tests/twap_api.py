"""The API in this process, behind a stand-in for the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI
from twap_world import Replica, TestClock

from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller, Principal, Role, Scope
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.runtime.health import Health
from crosstape.common.testing.builders import symbol_tables
from crosstape.common.testing.identity import INTERNAL_SECRET
from crosstape.twap_engine.api.app import create_app
from crosstape.twap_engine.api.resources import Resources
from crosstape.twap_engine.markets import Directory
from libs.common.tests.asgi import Answer, request

LISTED = {
    "binance": [
        Instrument("binance", "BTCUSDT", "BTC", "USDT", tick_size="0.01", lot_size="0.00001"),
        Instrument("binance", "ETHUSDT", "ETH", "USDT", tick_size="0.01", lot_size="0.0001"),
        Instrument("binance", "BTCUSDT", "BTC", "USDT", Kind.PERPETUAL, tick_size="0.1", lot_size="0.001"),
    ],
    "kraken": [Instrument("kraken", "XBTUSD", "BTC", "USD", lot_size="0.00000001", aliases=("XBT/USD",))],
}


def user(name: str, *scopes: Scope, role: Role = Role.USER) -> Principal:
    return Principal(
        user_id=f"id-of-{name}",
        username=name,
        role=role,
        scopes=frozenset(scopes or (Scope.ORDERS_READ, Scope.ORDERS_WRITE)),
        credentials_version=1,
        expires_at=0,
    )


ALICE, BOB = user("alice"), user("bob")
ADMIN = user("root", Scope.ORDERS_READ, Scope.ORDERS_WRITE, Scope.ADMIN, role=Role.ADMIN)


@dataclass
class Orders:
    """The API and the replica behind it."""

    app: FastAPI
    replica: Replica
    clock: TestClock
    tokens: InternalTokens

    async def ask(
        self, method: str, path: str, body: Any = None, *, by: Principal | None = ALICE, query: str = ""
    ) -> Answer:
        caller = Caller("api-gateway", by, "203.0.113.7")
        content = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {HEADER: self.tokens.mint("twap-engine", caller), "Content-Type": "application/json"}
        return await request(self.app, method, path, content, headers, query.encode())

    async def pass_time(self, seconds: float, tick: float = 0.25) -> None:
        for _ in range(int(seconds / tick)):
            self.clock.advance(tick)
            await self.replica.work()


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[Orders]:
    """The API on one database."""
    clock = TestClock()
    replica = Replica(url, clock)
    directory = Directory(symbol_tables(LISTED))
    await replica.work()
    resources = Resources(replica.database, replica.engine, replica.executor, replica.books, directory, clock, Health())
    app = create_app(resources, InternalTokens("twap-engine", [INTERNAL_SECRET]))
    yield Orders(app, replica, clock, InternalTokens("api-gateway", [INTERNAL_SECRET]))
    await replica.close()
