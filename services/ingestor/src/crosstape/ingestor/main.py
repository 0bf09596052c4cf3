"""Wiring: settings to dialect to the parts of the ingestor. Nothing but `__main__` imports this."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import aiohttp
import structlog
from pydantic import ValidationError
from starlette.applications import Starlette

from crosstape.common.errors import ExchangeError, PlatformError
from crosstape.common.market.instrument import Instrument
from crosstape.common.runtime.health import Health
from crosstape.common.runtime.lifecycle import Work, run_service, unless_stopped
from crosstape.common.symbols import SymbolTable
from crosstape.common.web.operations import operations_routes
from crosstape.exchanges import dialect_of
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.assembly import Ingestor
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.settings import IngestorSettings

log = structlog.get_logger(__name__)

HTTP_SECONDS = 20


async def build(settings: IngestorSettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The process's app (health and metrics) and its one piece of work."""
    health = Health(needs=("feed",))
    return Starlette(routes=operations_routes(health)), [partial(ingest, settings, health)]


async def ingest(settings: IngestorSettings, health: Health, stop: asyncio.Event) -> None:
    """Read the exchange until `stop`; then close the sockets, and return once the bus has everything.

    Raises PlatformError when the exchange or a symbol is unknown.
    """
    dialect = dialect_of(settings.exchange)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HTTP_SECONDS)) as session:
        rest = ExchangeRest(dialect, settings.exchange_origin or None, session)
        listed = await unless_stopped(stop, _markets(rest))
        if listed is None:
            return
        table = SymbolTable(dialect.exchange, listed)
        instruments = list(dict.fromkeys(table.resolve(symbol).instrument for symbol in settings.symbols))
        ingestor = Ingestor(settings, dialect, rest, session, instruments)
        health.watch("feed", ingestor.feed_check)
        log.info("ingesting", exchange=dialect.exchange, symbols=[instrument.symbol for instrument in instruments])
        async with ingestor.producer, asyncio.TaskGroup() as group:
            others = [group.create_task(part) for part in ingestor.others()]
            sockets = [group.create_task(part) for part in ingestor.sockets()]
            await stop.wait()
            for task in sockets:
                task.cancel()
            await asyncio.wait(sockets)
            await ingestor.drain()
            for task in others:
                task.cancel()


async def _markets(rest: ExchangeRest) -> list[Instrument]:
    failures = 0
    while True:
        try:
            return await rest.markets()
        except ExchangeError as error:
            failures += 1
            log.warning("markets_unavailable", error=error.message)
            await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))


def main() -> None:
    """Entry point of the process."""
    try:
        settings = IngestorSettings()
        dialect_of(settings.exchange)
    except (ValidationError, PlatformError) as error:
        sys.exit(f"ingestor: {error}")
    run_service("ingestor", settings, partial(build, settings))
