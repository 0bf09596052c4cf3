"""Recorded frames of a real exchange through the whole platform give bars that an independent truth knows."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.stack import Stack, get, running, until
from tests.e2e.tape import audit, bar_facts, stored_bars
from tests.engines.plugin import Broker

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
TRUTH = RECORDINGS / "truth" / "binance-spot-btcusdt-20240808.csv"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not TRUTH.is_file(), reason="../shared/recordings is not here"),
    pytest.mark.timeout(400),
]


async def test_recorded_binance_trades_become_the_bars_of_the_truth_to_the_last_digit(
    platform_broker: Broker, tmp_path: Path
) -> None:
    with TRUTH.open() as file:
        truth = [
            (
                int(row["minute_utc_s"]),
                int(row["trades"]),
                *(Decimal(row[name]) for name in ("open", "high", "low", "close", "volume", "volume_delta")),
            )
            for row in csv.DictReader(file)
        ]
    stack = Stack(platform_broker, tmp_path)
    options = ("--recordings", str(RECORDINGS / "binance"), "--times", "recorded", "--speed", "max")
    simulator = stack.simulator("replay", *options)
    ingestor = stack.ingestor("ingestor", simulator, "binance", ["BTC-USDT", "ETH-USDT", "ETH-USDT.P"])
    facts: list[object] = []
    async with running(stack.listing, stack.history, simulator), running(ingestor), aiohttp.ClientSession() as session:

        async def is_true() -> bool:
            bars = await stored_bars(session, stack.history.url, "binance", "btcusdt")
            facts[:] = bar_facts(bars)
            return facts == truth and all(bar["status"] != "provisional" for bar in bars)

        await until(is_true, seconds=180, describe=lambda: facts)
        report = await audit(session, stack.history.url, "binance", "btcusdt", start="2024-08-08T00:00:00Z")
        ledger = await get(
            session,
            f"{stack.history.url}/api/v1/completeness/binance/btcusdt",
            start="2024-08-08T23:54:00Z",
            end="2024-08-09T00:01:00Z",
        )
    assert report["result"] == "ok"
    assert ledger["missing_ids"] == []
    assert [minute["status"] for minute in ledger["minutes"][1:-1]] == ["complete"] * 5
