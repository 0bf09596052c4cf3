"""REST readers: what the gateway answers, how soon, and what it must never answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import aiohttp

PAUSE_SECONDS = 0.2
TIMEOUT_SECONDS = 60.0
ALLOWED = (200, 429, 502, 503, 504)
"""While a service is away its routes say so (502 to 504); nothing else may ever come of these requests."""

ROUTES = (
    "/api/v1/ohlcv/{exchange}/{symbol}?limit=100",
    "/api/v1/trades/{exchange}/{symbol}?limit=100",
    "/api/v1/completeness/{exchange}/{symbol}",
    "/api/v1/book/{exchange}/{symbol}?depth=25",
    "/{exchange}/symbols",
    "/exchanges",
)


@dataclass
class Reader:
    """Asks one route after the other of one market after the other. `latencies` are seconds of good answers."""

    markets: Sequence[tuple[str, str]]
    seed: int
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    unreachable: int = 0
    wrong: list[str] = field(default_factory=list)

    async def run(self, gateway: str, api_key: str) -> None:
        """Ask until cancelled."""
        random = Random(self.seed)
        headers = {"Authorization": f"Bearer {api_key}"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            while True:
                exchange, symbol = random.choice(self.markets)
                await self._ask(session, gateway + random.choice(ROUTES).format(exchange=exchange, symbol=symbol))
                await asyncio.sleep(PAUSE_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, url: str) -> None:
        began = time.monotonic()
        try:
            async with session.get(url) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError):
            self.unreachable += 1
            return
        self.statuses[response.status] += 1
        if response.status == 200:
            self.latencies.append(time.monotonic() - began)
        elif response.status not in ALLOWED:
            self.wrong.append(f"{url} answered {response.status}: {body[:300].decode('utf-8', 'replace')}")
