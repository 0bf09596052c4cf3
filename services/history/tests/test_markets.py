"""Market lists: kept fresh through an outage of the database, and nothing spent on exchanges that somebody invented."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

import pytest

from crosstape.common.errors import (
    DatabaseConnectionError,
    DatabaseTimeout,
    ExchangeError,
    ExchangeNotFound,
    SymbolNotFound,
)
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.testing.builders import make_trade
from crosstape.history.api import markets as module
from crosstape.history.api.markets import Markets
from crosstape.history.store import Store
from services.history.tests.harness import FakeExchanges, Sink, new_symbol

TIMEOUT = 30.0


async def test_a_list_that_is_due_while_the_database_is_away_is_refreshed_once_it_is_back(
    store: Store, exchanges: FakeExchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TICK_SECONDS", "RETRY_SECONDS", "REFRESH_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    markets = Markets(["binance"], exchanges.markets, store)
    await markets.instruments("binance")
    has_failed = asyncio.Event()

    async def away(*query: object, **parameters: object) -> Any:
        has_failed.set()
        raise DatabaseConnectionError("away")

    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        refreshing = group.create_task(markets.refresh())
        with monkeypatch.context() as outage:
            outage.setattr(store, "rows", away)
            await has_failed.wait()
            assert await markets.instruments("binance")
        listed = Instrument("binance", "NEWUSDT", "NEW", "USDT")
        exchanges.lists["binance"].append(listed)
        while listed not in await markets.instruments("binance"):
            await asyncio.sleep(0.01)
        refreshing.cancel()


async def test_an_exchange_that_takes_longer_than_a_caller_waits_is_known_a_while_later(
    store: Store, exchanges: FakeExchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TICK_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)

    async def slow(exchange: str, seconds: float) -> list[Instrument]:
        if seconds < 30:
            raise ExchangeError(f"{exchange} did not answer within {seconds:g} s.")
        return exchanges.lists["binance"]

    markets = Markets(["gate"], slow, store)
    with pytest.raises(ExchangeError):
        await markets.instruments("gate")
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        refreshing = group.create_task(markets.refresh())
        listed = None
        while listed is None:
            with contextlib.suppress(ExchangeError):
                listed = await markets.instruments("gate")
            await asyncio.sleep(0.01)
        refreshing.cancel()


async def test_an_invented_exchange_costs_no_query_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(exchange: str, seconds: float) -> list[Instrument]:
        raise ExchangeNotFound("No such exchange.")

    async def asked(*query: object, **parameters: object) -> Any:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(store, "rows", asked)
    markets = Markets(["binance"], none, store)
    for number in range(3):
        with pytest.raises(ExchangeNotFound):
            await markets.instruments(f"invented{number}")
    assert not markets._looks


async def test_a_symbol_without_its_exchange_is_the_one_market_that_has_it(
    store: Store, exchanges: FakeExchanges, symbol: str
) -> None:
    quoted = {"east": "USDT", "north": "USD", "west": "USDT"}
    exchanges.lists = {name: [Instrument(name, f"SOL{quote}", "SOL", quote)] for name, quote in quoted.items()}
    perpetual = Instrument("west", "SOL-USDT-SWAP", "SOL", "USDT", Kind.PERPETUAL)
    exchanges.lists["west"].append(perpetual)
    markets = Markets(list(quoted), exchanges.markets, store)
    assert (await markets.resolve_anywhere("solusdt.p")).instrument == perpetual
    found = await markets.resolve_anywhere("SOL-USD")
    assert (found.exchange, found.quote_alias) == ("north", None), "USDT stands in for USD where there is none"
    for several in ("SOLUSDT", "SOL/USDT"):
        with pytest.raises(SymbolNotFound) as told:
            await markets.resolve_anywhere(several)
        assert told.value.details == {"suggestions": ["EAST:SOLUSDT", "WEST:SOLUSDT"]}
    for suggested in ("EAST:SOLUSDT", "WEST:SOLUSDT", "WEST:SOLUSDT.P"):
        assert (await markets.resolve_anywhere(suggested)).exchange == suggested.partition(":")[0].lower()


async def test_a_symbol_that_no_exchange_has_is_told_the_nearest_of_each(
    store: Store, exchanges: FakeExchanges
) -> None:
    exchanges.lists = {
        name: [Instrument(name, f"SOL{quote}", "SOL", quote) for quote in ("USDT", "USDC", "EUR", "BTC")]
        for name in ("east", "west")
    }
    markets = Markets(["east", "west"], exchanges.markets, store)
    with pytest.raises(SymbolNotFound) as told:
        await markets.resolve_anywhere("SOLUSDD")
    suggestions = told.value.details["suggestions"]
    assert {suggestion.partition(":")[0] for suggestion in suggestions[:2]} == {"EAST", "WEST"}
    assert 2 < len(suggestions) <= 5
    for suggestion in suggestions:
        assert (await markets.resolve_anywhere(suggestion)).instrument.base == "SOL"


async def test_while_a_list_is_lacking_nobody_says_that_one_exchange_alone_has_a_symbol(
    store: Store, exchanges: FakeExchanges, symbol: str
) -> None:
    markets = Markets(["binance", "listless"], exchanges.markets, store)
    with pytest.raises(ExchangeError):
        await markets.resolve_anywhere(symbol)


async def test_callers_that_come_together_ask_the_exchange_once(store: Store, exchanges: FakeExchanges) -> None:
    asked = []

    async def fetch(exchange: str, seconds: float) -> list[Instrument]:
        asked.append(exchange)
        await asyncio.sleep(0)
        return exchanges.lists["binance"]

    markets = Markets(["toy"], fetch, store)
    lists = await asyncio.gather(*(markets.instruments("toy") for _ in range(5)))
    assert asked == ["toy"]
    assert len({id(found) for found in lists}) == 1


async def test_while_the_database_is_away_callers_ask_the_exchange_one_after_another(store: Store) -> None:
    asking: list[str] = []

    async def fetch(exchange: str, seconds: float) -> list[Instrument]:
        asking.append(exchange)
        assert len(asking) == 1
        for _ in range(3):
            await asyncio.sleep(0)
        asking.remove(exchange)
        raise DatabaseTimeout("too slow")

    markets = Markets(["binance"], fetch, store)

    async def ask() -> None:
        with pytest.raises(DatabaseTimeout):
            await markets.instruments("toy")

    async def ask_twice() -> None:
        for _ in range(2):
            await ask()

    await asyncio.gather(ask_twice(), ask(), ask())
    assert not markets._looks


async def test_an_exchange_that_hangs_holds_up_no_other_s_list_and_one_that_is_not_ours_is_forgotten(
    store: Store, exchanges: FakeExchanges, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TICK_SECONDS", "RETRY_SECONDS", "REFRESH_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    asked: Counter[str] = Counter()

    async def fetch(exchange: str, seconds: float) -> list[Instrument]:
        asked[exchange] += 1
        if exchange == "dead" and seconds > 30:
            await asyncio.Event().wait()
        if exchange in ("dead", "gone"):
            raise ExchangeError(f"{exchange} did not answer within {seconds:g} s.")
        return exchanges.lists["binance"]

    markets = Markets(["binance", "dead"], fetch, store)
    for foreign in ("gone", "gate"):
        with contextlib.suppress(ExchangeError):
            await markets.instruments(foreign)
    for ours in ("binance", "dead"):
        with contextlib.suppress(ExchangeError):
            await markets.instruments(ours)
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as group:
        refreshing = group.create_task(markets.refresh())
        while asked["binance"] < 5 or {"gone", "gate"} & {*markets._known}:
            await asyncio.sleep(0.01)
        refreshing.cancel()
    assert asked["gone"] == 2, "once for the caller, once for as long as it takes"
    assert asked["gate"] == 1


async def test_callers_of_an_unknown_symbol_refresh_a_stale_list_once(
    store: Store, exchanges: FakeExchanges, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH_SECONDS", 0.0)
    markets = Markets(["binance"], exchanges.markets, store)
    await markets.instruments("binance")
    monkeypatch.setattr(module, "REFRESH_SECONDS", 3_600.0)
    asked = []

    async def fetch(exchange: str, seconds: float) -> list[Instrument]:
        asked.append(exchange)
        await asyncio.sleep(0)
        return exchanges.lists["binance"]

    monkeypatch.setattr(markets, "_fetch", fetch)
    found = await asyncio.gather(*(markets.resolve("binance", "NOSUCH-USDT") for _ in range(5)), return_exceptions=True)
    assert [type(error) for error in found] == [SymbolNotFound] * 5
    assert asked == ["binance"]


async def test_a_delisted_market_whose_name_holds_the_perpetuals_ending_can_be_read(store: Store, sink: Sink) -> None:
    base = new_symbol().partition("-")[0]
    symbols = [f"{base}.PAY-USD", f"{base}-USD.P"]
    await sink.insert([make_trade(1, exchange="delisting", symbol=symbol) for symbol in symbols])
    await sink.close_all()

    async def fetch(exchange: str, seconds: float) -> list[Instrument]:
        return []

    markets = Markets(["delisting"], fetch, store)
    found = [(await markets.resolve("delisting", symbol)).instrument for symbol in symbols]
    assert [(one.symbol, one.base, one.quote, one.kind) for one in found] == [
        (symbols[0], f"{base}.PAY", "USD", Kind.SPOT),
        (symbols[1], base, "USD", Kind.PERPETUAL),
    ]
