"""One module and one table row make an exchange: a venue that only this folder knows, through the whole platform."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.stack import Service, get, running, until
from tests.e2e.tape import Row, bar_facts, bars_of, repaired, stored_bars, stored_trades
from tests.engines.plugin import Broker
from tests.toy.dialect import PAGE
from tests.toy.venue import Venue

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
SPELLINGS = ("LLAMA-GOLD", "llama~gold", "LLAMA/GOLD", "llamagold", "TOY:LLAMAGOLD")


def service(name: str, module: str, environment: Mapping[str, str], directory: Path) -> Service:
    """A service as it is, but for the row."""
    return Service(name, "tests.toy.service", (module,), {"PYTHONPATH": str(ROOT), **environment}, directory)


async def test_a_venue_of_one_module_and_one_row_has_a_tape_a_ledger_and_bars(
    platform_broker: Broker, tmp_path: Path
) -> None:
    async with Venue() as venue, aiohttp.ClientSession() as session:
        shared = {"CROSSTAPE_KAFKA_BOOTSTRAP": platform_broker.bootstrap, "CROSSTAPE_EXCHANGE_ORIGIN": venue.origin}
        store = {"CROSSTAPE_CLICKHOUSE_URL": f"chdb://{tmp_path / 'clickhouse'}"}
        history = service("history", "crosstape.history", shared | store, tmp_path)
        reading = {"CROSSTAPE_EXCHANGE": "toy", "CROSSTAPE_SYMBOLS": "llama/gold", "CROSSTAPE_HISTORY_URL": history.url}
        ingestor = service("ingestor", "crosstape.ingestor", shared | reading, tmp_path)
        async with running(history, ingestor):
            await until(listens(venue), describe=lambda: "nobody subscribed")
            await venue.trade(40)
            await venue.trade(1, is_told=False)  # 41
            await venue.trade(1)
            await stored(session, history, venue)

            await venue.hang_up()
            await venue.trade(70)
            await until(listens(venue), describe=lambda: "nobody came back")
            await stored(session, history, venue)
            await venue.trade(5)
            tape = await stored(session, history, venue)

            ledger = await told_repaired(session, history, ingestor)
            assert ledger["missing_ids"] == []
            assert {43, 43 + PAGE} <= set(venue.asked_from), "what the outage hid did not come from history by id"
            assert "toy" in (await get(session, f"{history.url}/exchanges"))["exchanges"]
            await one_live_book(session, ingestor)
            for spelling in SPELLINGS:
                await told_bars(session, history, spelling, bars_of("toy", "LLAMA-GOLD", tape))


def listens(venue: Venue) -> Any:
    async def has_listener() -> bool:
        return venue.has_listener

    return has_listener


async def stored(session: aiohttp.ClientSession, history: Service, venue: Venue) -> dict[str, Row]:
    """The tape, once it is what the venue traded; fails when it does not become that."""
    truth = {str(deal.number): Row(deal.time_ms * 1_000, deal.price, deal.quantity, deal.side) for deal in venue.deals}
    tape: dict[str, Row] = {}

    async def is_the_truth() -> bool:
        tape.update(await stored_trades(session, history.url, "toy", "LLAMA-GOLD"))
        return tape == truth

    await until(is_the_truth, describe=lambda: f"{len(tape)} of {len(truth)} trades: {tape}")
    return tape


async def told_repaired(session: aiohttp.ClientSession, history: Service, ingestor: Service) -> dict[str, Any]:
    """The ledger, once both repairs were told to it: of the trade that was left out, and of the lost connection. Their
    minutes are over too late for a test to see what they are called."""
    causes: dict[str, int] = {}

    async def tells() -> bool:
        causes.update(await repaired(session, ingestor.url))
        return bool(causes.get("sequence") and causes.get("disconnect"))

    await until(tells, describe=lambda: causes)
    ledger: dict[str, Any] = await get(session, f"{history.url}/api/v1/completeness/toy/llama~gold")
    return ledger


async def told_bars(session: aiohttp.ClientSession, history: Service, spelling: str, expected: list[Any]) -> None:
    """Return once the market's bars are `expected`: a closed minute is recomputed soon after a late trade."""
    found: list[Any] = []

    async def are_equal() -> bool:
        found[:] = bar_facts(await stored_bars(session, history.url, "toy", spelling))
        return found == expected

    await until(are_equal, describe=lambda: f"{spelling}: {found}, not {expected}")


async def one_live_book(session: aiohttp.ClientSession, ingestor: Service) -> None:
    """Return once the ingestor has verified its book and keeps it."""
    checks: dict[str, Any] = {}

    async def is_live() -> bool:
        checks.update((await get(session, f"{ingestor.url}/readyz"))["checks"])
        return bool(checks["feed"]["live_books"] == 1)

    await until(is_live, describe=lambda: checks)
