"""Promises 1 to 4 under faults: after the feed goes quiet the tape is the truth, or the ledger names what it lacks.

Each seed: two exchanges, two markets each, faults on the wire, and kill -9 of ingestor, history or broker while trades
flow. One broker and one store live through all seeds; `CROSSTAPE_FAULT_SEEDS` gives another number of them.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.stack import Service, Stack, get, running, until
from tests.e2e.tape import Difference, bar_facts, bars_of, compare, stored_bars, stored_trades, true_trades
from tests.e2e.weather import Weather, weather
from tests.engines.plugin import Broker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900), pytest.mark.asyncio(loop_scope="module")]

SEEDS = int(os.environ.get("CROSSTAPE_FAULT_SEEDS", "25"))
SECONDS = 3.0
SETTLE_SECONDS = 60.0

_happened: Counter[str] = Counter()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(module_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    stack = Stack(module_broker, tmp_path_factory.mktemp("faults"))
    async with running(stack.listing, stack.history):
        yield stack


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_tape_is_the_truth_or_the_ledger_names_what_it_lacks(stack: Stack, seed: int) -> None:
    today = weather(seed, seconds=SECONDS)
    options = ["--seed", str(seed), "--rate", "400", "--exchanges", ",".join(today.exchanges)]
    simulator = stack.simulator(f"sim-{seed}", *options)
    ingestors = _ingestors(stack, simulator, today)
    async with running(simulator), running(*ingestors), aiohttp.ClientSession() as session:
        await session.post(f"{simulator.url}/_faults", json=_rates(today.faults))
        await _live_through(today, stack, ingestors)
        await session.post(f"{simulator.url}/_truth/pause")
        stats = await get(session, f"{simulator.url}/_truth/stats")
        _happened.update(stats["faults"])
        await session.post(f"{simulator.url}/_faults", json={})
        markets = _read_markets(await get(session, f"{simulator.url}/_truth/markets"), today)
        for market in markets:
            await _settles(session, stack, simulator, market)


async def test_the_faults_really_happened() -> None:
    if SEEDS < 25:
        pytest.skip("too few seeds to meet every fault")
    expected = {"drop", "skip", "duplicate", "reorder", "corrupt", "ingestor", "history", "broker"}
    assert expected <= {kind for kind, count in _happened.items() if count}, _happened


def _ingestors(stack: Stack, simulator: Service, today: Weather) -> list[Service]:
    copies = 2 if today.is_redundant else 1
    return [
        stack.ingestor(f"ingestor-{today.seed}-{exchange}-{copy}", simulator, exchange, _symbols(exchange, today))
        for exchange in today.exchanges
        for copy in range(copies)
    ]


def _quote(exchange: str) -> str:
    return "USD" if exchange in ("kraken", "coinbasepro") else "USDT"


def _symbols(exchange: str, today: Weather) -> list[str]:
    return [f"{base}-{_quote(exchange)}" for base in today.bases[exchange]]


def _rates(faults: str) -> dict[str, float]:
    return {kind: float(rate) for kind, _, rate in (part.partition("=") for part in faults.split(",") if part)}


def _read_markets(markets: list[dict[str, Any]], today: Weather) -> list[dict[str, Any]]:
    return [
        market
        for market in markets
        if market["kind"] == "spot"
        and market["base"] in today.bases.get(market["exchange"], [])
        and market["quote"] == _quote(market["exchange"])
    ]


async def _live_through(today: Weather, stack: Stack, ingestors: list[Service]) -> None:
    clock = 0.0
    for moment, victim in today.kills:
        await asyncio.sleep(moment - clock)
        clock = moment
        _happened[victim] += 1
        if victim == "broker":
            stack.broker.kill()
            await stack.broker.restart()
        else:
            service = ingestors[0] if victim == "ingestor" else stack.history
            await service.kill()
            await service.start()
    await asyncio.sleep(SECONDS - clock)


async def _settles(session: aiohttp.ClientSession, stack: Stack, simulator: Service, market: dict[str, Any]) -> None:
    exchange, symbol = market["exchange"], f"{market['base']}-{market['quote']}"
    truth = await true_trades(session, simulator.url, market)
    since = str(min(row.time for row in truth.values()) // 1_000_000)
    difference = Difference()
    bars: list[object] = []
    folded: list[object] = []

    async def is_settled() -> bool:
        nonlocal difference
        tape = await stored_trades(session, stack.history.url, exchange, symbol)
        ledger = await get(session, f"{stack.history.url}/api/v1/completeness/{exchange}/{symbol}", start=since)
        difference = compare(tape, truth, ledger)
        bars[:] = bar_facts(await stored_bars(session, stack.history.url, exchange, symbol))
        folded[:] = bars_of(exchange, symbol, tape)
        return difference.is_settled and bars == folded

    await until(
        is_settled,
        seconds=SETTLE_SECONDS,
        every=0.5,
        describe=lambda: (
            f"{exchange} {symbol} differs from the truth: {difference}; its bars are {bars}, of its tape {folded}"
        ),
    )
