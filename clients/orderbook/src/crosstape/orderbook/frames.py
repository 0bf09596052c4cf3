"""Frames: the aggregation, followed over the SDK, as often as it is to be drawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from crosstape.client import AsyncClient
from crosstape.orderbook.aggregation import Aggregation

REFRESH_SECONDS = 0.2


async def frames(client: AsyncClient, aggregation: Aggregation, depth: int) -> AsyncGenerator[None, None]:
    """Yields whenever `aggregation` is to be drawn: something changed, and the last time is long enough ago.

    Raises what the SDK raises: ConnectionFailed, ApiError.
    """
    loop = asyncio.get_running_loop()
    interval_ms = int(REFRESH_SECONDS * 1000)
    async with client.books() as feed:
        for exchange in aggregation.exchanges:
            await feed.subscribe(exchange, aggregation.symbol, depth=depth, interval_ms=interval_ms)
        due = loop.time() + REFRESH_SECONDS
        while True:
            aggregation.apply(await anext(feed))
            try:
                async with asyncio.timeout_at(due):
                    while True:
                        aggregation.apply(await anext(feed))
            except TimeoutError:
                yield
            due = loop.time() + REFRESH_SECONDS
