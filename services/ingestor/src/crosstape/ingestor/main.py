"""Wiring: settings to dialect to the parts of the ingestor. Nothing but `__main__` imports this."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import aiohttp
import structlog
from starlette.applications import Starlette

from crosstape.common.bus.producer import Producer
from crosstape.common.errors import ExchangeError
from crosstape.common.market.instrument import Instrument
from crosstape.common.runtime.health import Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.settings import read_settings
from crosstape.common.symbols import SymbolTable, exchange_id
from crosstape.common.waiting import unless_stopped
from crosstape.common.web.operations import operations_routes
from crosstape.exchanges import DIALECTS, dialect_of
from crosstape.exchanges.ccxt_generic import CcxtExchange, open_exchange
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.assembly import COVERAGE_SECONDS, Ingestor, Part
from crosstape.ingestor.feed import backoff
from crosstape.ingestor.generic import GenericFeed, generic_check, resume
from crosstape.ingestor.ingest import report_coverage, tell_last_trade_age
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.settings import IngestorSettings
from crosstape.ingestor.watermarks import Tape

log = structlog.get_logger(__name__)

HTTP_SECONDS = 20


async def build(settings: IngestorSettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The process's app (health and metrics) and its one piece of work."""
    health = Health(needs=("feed",), stopping=stop)
    return Starlette(routes=operations_routes(health)), [partial(ingest, settings, health)]


async def ingest(settings: IngestorSettings, health: Health, stop: asyncio.Event) -> None:
    """Read the exchange until `stop`; then close the sockets, and return once the bus has everything.

    Raises PlatformError when the exchange or a symbol is unknown.
    """
    if exchange_id(settings.exchange) not in DIALECTS:
        await ingest_generic(settings, health, stop)
        return
    dialect = dialect_of(settings.exchange)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HTTP_SECONDS)) as session:
        rest = ExchangeRest(dialect, settings.exchange_origin or None, session)
        listed = await unless_stopped(stop, _listed(dialect.exchange, rest))
        if listed is None:
            return
        ingestor = Ingestor(settings, dialect, rest, session, _chosen(settings, listed))
        health.watch("feed", ingestor.feed_check)
        async with ingestor.producer:
            await _run(ingestor.sockets(), ingestor.others(), ingestor.drain, stop)


async def ingest_generic(settings: IngestorSettings, health: Health, stop: asyncio.Event) -> None:
    """The same for an exchange that only ccxt knows."""
    exchange = open_exchange(exchange_id(settings.exchange))
    try:
        listed = await unless_stopped(stop, _listed(exchange.exchange, exchange))
        if listed is None:
            return
        timeout = aiohttp.ClientTimeout(total=HTTP_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, Producer(settings.bus) as producer:
            tape = Tape(session, settings.history_url, settings.internal_tokens("ingestor"), exchange.exchange)
            publisher = Publisher(exchange.exchange, producer, on_pressure=lambda is_pressed: None)
            feeds = [GenericFeed(exchange, instrument, publisher) for instrument in _chosen(settings, listed)]
            markets = {feed.market.symbol: feed.market for feed in feeds}
            tell_last_trade_age(exchange.exchange, markets)
            health.watch("feed", lambda: generic_check(feeds))
            others = [
                publisher.run(),
                publisher.run_ledger(),
                report_coverage(publisher, markets, COVERAGE_SECONDS),
                resume(feeds, tape),
                *(feed.repair() for feed in feeds),
            ]
            await _run([feed.run() for feed in feeds], others, publisher.drain, stop)
    finally:
        await exchange.close()


async def _run(
    sources: Sequence[Part], others: Sequence[Part], drain: Callable[[], Awaitable[None]], stop: asyncio.Event
) -> None:
    """Do all parts until `stop`; then end the `sources`, drain, and end the others."""
    async with asyncio.TaskGroup() as group:
        going_on = [group.create_task(part) for part in others]
        reading = [group.create_task(part) for part in sources]
        await stop.wait()
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
        await drain()
        for task in going_on:
            task.cancel()


def _chosen(settings: IngestorSettings, listed: list[Instrument]) -> list[Instrument]:
    table = SymbolTable(exchange_id(settings.exchange), listed)
    chosen = list(dict.fromkeys(table.resolve(symbol).instrument for symbol in settings.symbols))
    log.info("ingesting", exchange=table.exchange, symbols=[instrument.symbol for instrument in chosen])
    return chosen


async def _listed(name: str, exchange: ExchangeRest | CcxtExchange) -> list[Instrument]:
    failures = 0
    while True:
        try:
            return await exchange.markets()
        except ExchangeError as error:
            failures += 1
            log.warning("markets_unavailable", exchange=name, error=error.message)
            await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))


def main() -> None:
    """Entry point of the process."""
    settings = read_settings(IngestorSettings)
    run_service("ingestor", settings, partial(build, settings))
