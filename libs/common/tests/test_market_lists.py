"""Market lists in front of a real, scripted history."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from crosstape.common import market_lists
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.market.instrument import Instrument
from crosstape.common.market_lists import MarketLists
from crosstape.common.testing.identity import INTERNAL_SECRET
from libs.common.tests.listing import FakeHistory

pytestmark = pytest.mark.integration

PATIENCE = 10.0


@pytest.fixture
def history() -> FakeHistory:
    return FakeHistory({name: [Instrument(name, "BTCUSDT", "BTC", "USDT")] for name in ("binance", "kraken", "okx")})


@pytest.fixture
async def lists(history: FakeHistory, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MarketLists]:
    monkeypatch.setattr(market_lists, "RETRY_SECONDS", 0.02)
    async with history.serving() as origin, aiohttp.ClientSession() as session:
        yield MarketLists(origin, session, InternalTokens("tests", [INTERNAL_SECRET]))


class Running:
    """`lists` while they are kept."""

    def __init__(self, lists: MarketLists):
        self._lists = lists
        self._stop = asyncio.Event()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._lists.run(self._stop))

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await self._task

    async def until(self, known: set[str]) -> None:
        async with asyncio.timeout(PATIENCE):
            while {*self._lists.tables.exchanges} - {*self._lists.tables.missing} != known:
                await asyncio.sleep(0.01)


async def test_a_list_that_was_away_comes_later_and_the_others_are_not_asked_again(
    lists: MarketLists, history: FakeHistory
) -> None:
    history.away = {"okx"}
    async with (running := Running(lists)):
        await running.until({"binance", "kraken"})
        assert lists.tables.missing == ["okx"]
        history.away.clear()
        await running.until({"binance", "kraken", "okx"})
    assert history.asked.count("binance") == history.asked.count("kraken") == 1 < history.asked.count("okx")


async def test_one_exchange_that_is_slow_keeps_no_other_waiting(lists: MarketLists, history: FakeHistory) -> None:
    history.held["binance"] = asyncio.Event()
    async with (running := Running(lists)):
        await running.until({"kraken", "okx"})
        history.held["binance"].set()
        await running.until({"binance", "kraken", "okx"})


async def test_history_that_starts_later_is_asked_until_it_answers(lists: MarketLists, history: FakeHistory) -> None:
    history.away = {"*"}
    async with (running := Running(lists)):
        async with asyncio.timeout(PATIENCE):
            while len(history.asked) < 3:
                await asyncio.sleep(0.01)
        assert not lists.tables.is_known
        history.away.clear()
        await running.until({"binance", "kraken", "okx"})


async def test_what_is_known_of_a_list_outlives_its_absence(lists: MarketLists, history: FakeHistory) -> None:
    await lists.refresh()
    history.away = {"*", "kraken"}
    history.lists["binance"] = []
    await lists.refresh()
    assert lists.tables.is_whole
    assert lists.tables.table("kraken").instruments and not lists.tables.table("binance").instruments
