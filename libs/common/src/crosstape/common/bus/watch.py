"""Watch: whether the broker still takes us. aiokafka tries for ever, and its readers see nothing come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiokafka.errors import KafkaError

from crosstape.common.bus.connection import BusSettings, wait_for_broker

log = structlog.get_logger(__name__)

WATCH_SECONDS = 1.0
ANSWER_SECONDS = 5.0
"""aiokafka asks without end for what a broker that lost its topics cannot answer."""


class Watch:
    """Calls `ask`, which asks the broker something, every second until it is ended. A broker that takes us no more
    (BrokerRefused) ends it before."""

    def __init__(self, settings: BusSettings, ask: Callable[[], Awaitable[object]]):
        self._task = asyncio.create_task(self._watch(settings, ask))

    def raise_failure(self) -> None:
        """Raise what ended it, if anything did."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def end(self) -> None:
        """Ask no more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _watch(self, settings: BusSettings, ask: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await ask()
            except (KafkaError, TimeoutError) as error:
                log.info("broker_away", error=type(error).__name__)
                await wait_for_broker(settings)
